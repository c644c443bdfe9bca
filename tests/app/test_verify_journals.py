"""What is said of journals that somebody, or a power failure, was at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ionetctl.app.open_rollout import Records
from ionetctl.app.verify_journals import State, verify_journals
from ionetctl.core.errors import IonetctlError, UsageError
from ionetctl.core.events import RolloutFinished, Warned
from ionetctl.core.settings import Settings
from ionetctl.history.catalog import Catalog
from ionetctl.history.journal import list_journals
from ionetctl.rollout.options import RolloutOptions
from ionetctl.rollout.signals import StoppingSignals
from ionetctl.rollout.stop import Stop
from tests.app.test_open_rollout import begin, settings, without_header
from tests.history.test_journal import closed
from tests.support.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["settings"]


async def make_rollout(settings: Settings, warnings: int = 3) -> Path:
    """The journal of a rollout that ended."""
    records = Records(settings, ManualClock(), StoppingSignals(Stop()))
    async with records.open(RolloutOptions("site.yaml"), (), ()) as record:
        await begin(record)
        for number in range(warnings):
            await record.emit(Warned(code="w", message=str(number)))
        await record.emit(RolloutFinished(exit_code=0))
    return settings.rollouts_dir / f"{record.rollout}.ndjson"


def states(settings: Settings) -> list[tuple[State, int]]:
    return [(found.state, int(found.exit_code)) for found in verify_journals(settings)]


def cut_last_write(text: bytes) -> bytes:
    whole = text.splitlines(keepends=True)
    digests = [number for number, line in enumerate(whole) if b'"type":"digest"' in line]
    return b"".join(whole[: digests[-2] + 1])


def without_chain(text: bytes) -> bytes:
    kept = [line for line in text.splitlines(keepends=True) if b'"type":"digest"' not in line]
    return b"".join(kept).replace(b'"chain":"sha256"', b'"chain":null')


@pytest.mark.parametrize(
    ("change", "state", "exit_code"),
    [
        (lambda text: text, State.WHOLE, 0),
        (lambda text: text.replace(b"a@b", b"c@b"), State.CHANGED, 6),
        (cut_last_write, State.CUT, 6),
        (without_chain, State.CHANGED, 6),
        (lambda text: text[:-9], State.CHANGED, 6),
        (lambda _: b"", State.CUT, 6),
        (lambda text: text.replace(b"journal/1", b"journal/2", 1), State.UNREADABLE, 3),
    ],
)
async def test_change_to_a_rollout_that_ended(
    settings: Settings, change: Callable[[bytes], bytes], state: State, exit_code: int
) -> None:
    """Nothing may be other than it was, to the last byte: its end was on disk before the catalog had its digest."""
    journal = await make_rollout(settings)
    journal.write_bytes(change(journal.read_bytes()))
    assert states(settings) == [(state, exit_code)]


async def test_journal_written_anew(settings: Settings) -> None:
    """One that has a right chain of its own has not the digest that was kept, by the catalog or elsewhere."""
    journal = await make_rollout(settings)
    kept = verify_journals(settings)[0].digest
    text = b""
    for line in journal.read_bytes().replace(b"a@b", b"c@b").splitlines(keepends=True):
        if b'"type":"digest"' in line:
            text = closed(text)
        else:
            text += line
    journal.write_bytes(text)
    assert states(settings) == [(State.CHANGED, 6)]
    settings.catalog_path.unlink()
    [forged] = verify_journals(settings, journal.stem)
    [compared] = verify_journals(settings, journal.stem, kept)
    [control] = verify_journals(settings, journal.stem, forged.digest)
    assert (forged.state, compared.state, control.state) == (State.WHOLE, State.CHANGED, State.WHOLE)


async def test_killed_rollout(settings: Settings) -> None:
    """With half a line at its end it is whole; without events that the catalog has it is cut."""
    journal = await make_rollout(settings)
    text = journal.read_bytes()
    events = verify_journals(settings)[0].events
    settings.catalog_path.unlink()
    journal.write_bytes(text[:-9])
    with Catalog.open(settings.catalog_path, ManualClock(), list_journals(settings.rollouts_dir)):
        pass
    [found] = verify_journals(settings)
    assert (found.state, found.events) == (State.WHOLE, events)
    journal.write_bytes(cut_last_write(text))
    [found] = verify_journals(settings)
    assert found.state is State.CUT
    assert found.problem is not None
    assert "power failure" in found.problem.hint


async def test_removed_journal(settings: Settings) -> None:
    """It is missing as long as the catalog knows its rollout; by its name too."""
    journal = await make_rollout(settings)
    other = await make_rollout(settings)
    journal.unlink()
    assert sorted(states(settings)) == [(State.MISSING, 6), (State.WHOLE, 0)]
    assert [found.state for found in verify_journals(settings, journal.stem)] == [State.MISSING]
    with Catalog.rebuild(settings.catalog_path, ManualClock(), list_journals(settings.rollouts_dir)):
        pass
    assert [found.journal.path for found in verify_journals(settings)] == [other]
    with pytest.raises(UsageError):
        verify_journals(settings, journal.stem)


def reordered(text: bytes) -> bytes:
    """Two events of one write have changed places, and their numbers."""
    lines = text.splitlines(keepends=True)
    place = next(place for place, line in enumerate(lines) if b'"seq":3,' in line)
    lines[place - 1 : place + 1] = (
        lines[place].replace(b'"seq":3', b'"seq":2'),
        lines[place - 1].replace(b'"seq":2', b'"seq":3'),
    )
    return b"".join(lines)


async def test_reordered_journal(settings: Settings) -> None:
    """Numbers that fit again do not help."""
    journal = await make_rollout(settings)
    journal.write_bytes(reordered(journal.read_bytes()))
    assert states(settings) == [(State.CHANGED, 6)]


@pytest.mark.parametrize("bare", [lambda text: text, without_header], ids=["whole", "as-of-version-0.1"])
async def test_exchanged_journals(settings: Settings, bare: Callable[[bytes], bytes]) -> None:
    """Each is of another rollout by its header and by its first event, also where the catalog was removed."""
    one, other = await make_rollout(settings), await make_rollout(settings, warnings=3)
    texts = one.read_bytes(), other.read_bytes()
    one.write_bytes(bare(texts[1]))
    other.write_bytes(bare(texts[0]))
    assert states(settings) == [(State.CHANGED, 6)] * 2
    settings.catalog_path.unlink()
    assert states(settings) == [(State.CHANGED, 6)] * 2


async def test_journal_that_is_not_of_this_catalog(settings: Settings, tmp_path: Path) -> None:
    """One of another machine is whole, but nothing here speaks for it, also once the catalog has read it; as of one that was rebuilt."""
    elsewhere = Settings.load({"HOME": str(tmp_path), "IONETCTL_STATE_DIR": str(tmp_path / "elsewhere")})
    elsewhere.prepare_state()
    foreign = await make_rollout(elsewhere)
    own = await make_rollout(settings)
    (settings.rollouts_dir / foreign.name).write_bytes(foreign.read_bytes())

    def kept() -> dict[str, tuple[State, bool]]:
        return {
            found.journal.rollout: (found.state, found.is_end_kept) for found in verify_journals(settings)
        }

    expected = {foreign.stem: (State.WHOLE, False), own.stem: (State.WHOLE, True)}
    assert kept() == expected
    with Catalog.open(settings.catalog_path, ManualClock(), list_journals(settings.rollouts_dir)):
        pass
    assert kept() == expected
    settings.catalog_path.unlink()
    assert kept()[own.stem] == (State.WHOLE, False)
    [told] = verify_journals(settings, own.stem, verify_journals(settings, own.stem)[0].digest)
    assert told.is_end_kept


async def test_journal_without_a_chain(settings: Settings) -> None:
    """One of an older version has none, which is no error; an event that cannot be there is."""
    journal = await make_rollout(settings)
    settings.catalog_path.unlink()
    text = without_chain(journal.read_bytes())
    journal.write_bytes(text)
    assert states(settings) == [(State.NO_CHAIN, 0)]
    journal.write_bytes(text.replace(b'"seq":3', b'"seq":4'))
    [found] = verify_journals(settings)
    assert found.change is not None
    assert (found.state, found.change.place) == (State.CHANGED, "at line 4")
    assert isinstance(found.problem, IonetctlError)


async def test_verifying_changes_nothing(settings: Settings) -> None:
    """What the catalog lacks of a journal is not folded by it."""
    journal = await make_rollout(settings)
    settings.catalog_path.unlink()
    before = journal.read_bytes()
    verify_journals(settings)
    with Catalog.open(settings.catalog_path, ManualClock()) as catalog:
        assert catalog.rollouts() == ()
    assert journal.read_bytes() == before
