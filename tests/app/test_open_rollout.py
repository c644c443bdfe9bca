"""The record of a rollout: what is kept of it at its end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from ionetctl.app.open_rollout import Records
from ionetctl.app.verify_journals import State, verify_journals
from ionetctl.core.errors import TrustError
from ionetctl.core.events import Envelope, RolloutFinished, RolloutResumed, RolloutStarted, Warned
from ionetctl.core.settings import Settings
from ionetctl.history.catalog import Catalog
from ionetctl.history.journal import Journal, check_journal, find_journal
from ionetctl.rollout.options import RolloutOptions
from ionetctl.rollout.signals import StoppingSignals
from ionetctl.rollout.stop import Stop
from tests.history.test_journal import closed
from tests.support.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ionetctl.app.open_rollout import Record


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A state directory of the test's own."""
    made = Settings.load({"HOME": str(tmp_path), "IONETCTL_STATE_DIR": str(tmp_path / "state")})
    made.prepare_state()
    return made


async def begin(record: Record) -> None:
    event = RolloutStarted(
        rollout=record.rollout,
        inventory="site.yaml",
        inventory_digest="d",
        owner="a@b",
        version="1",
        hosts=(),
    )
    await record.emit(event)


async def test_end_of_the_journal_is_kept(settings: Settings) -> None:
    """The catalog has the journal's last digest, also of a rollout that ended by an error."""
    clock = ManualClock()
    records = Records(settings, clock, StoppingSignals(Stop()))
    for is_failing in (False, True):
        with pytest.raises(KeyError) if is_failing else contextlib.nullcontext():
            async with records.open(RolloutOptions("site.yaml"), (), ()) as record:
                await begin(record)
                await record.emit(RolloutFinished(exit_code=0))
                if is_failing:
                    raise KeyError
        journal = find_journal(settings.rollouts_dir, record.rollout)
        with Catalog.open(settings.catalog_path, clock) as catalog:
            kept = catalog.rollout(record.rollout).journal_digest
        assert kept is not None
        assert check_journal(journal.path).digest == kept


async def ended_rollout(settings: Settings) -> Path:
    """The journal of a rollout that ended, and of whose end the catalog has the digest."""
    records = Records(settings, ManualClock(), StoppingSignals(Stop()))
    async with records.open(RolloutOptions("site.yaml"), (), ()) as record:
        await begin(record)
        for number in range(3):
            await record.emit(Warned(code="w", message=str(number)))
        await record.emit(RolloutFinished(exit_code=0))
    return settings.rollouts_dir / f"{record.rollout}.ndjson"


async def resume(settings: Settings, journal: Path) -> None:
    """Go on with a rollout for one event."""
    records = Records(settings, ManualClock(), StoppingSignals(Stop()))
    options = RolloutOptions("site.yaml", resume=True, rollout=journal.stem)
    async with records.open(options, (), ()) as record:
        await record.emit(RolloutResumed(owner="a@b", done=0))


def rewritten(text: bytes) -> bytes:
    """The journal with another owner, all of its digests computed anew."""
    forged = b""
    for line in text.replace(b"a@b", b"c@b").splitlines(keepends=True):
        forged = closed(forged) if b'"type":"digest"' in line else forged + line
    return forged


def disowned(text: bytes) -> bytes:
    """The journal without its chain."""
    lines = [line for line in text.splitlines(keepends=True) if b'"type":"digest"' not in line]
    return b"".join(lines).replace(b'"chain":"sha256"', b'"chain":null')


def without_header(text: bytes) -> bytes:
    """The journal as one of version 0.1."""
    return b"".join(disowned(text).splitlines(keepends=True)[1:])


def without_its_end(text: bytes) -> bytes:
    """The journal without its last line, which has the last digest."""
    return b"".join(text.splitlines(keepends=True)[:-1])


@pytest.mark.parametrize(
    "change", [rewritten, disowned, without_header, without_its_end, lambda text: text[:-9]]
)
async def test_journal_that_is_not_the_catalogs_is_not_resumed(
    settings: Settings, change: Callable[[bytes], bytes]
) -> None:
    """It is refused and left as it is, and the digest that shows it stays in the catalog."""
    journal = await ended_rollout(settings)
    forged = change(journal.read_bytes())
    journal.write_bytes(forged)
    with pytest.raises(TrustError) as caught:
        await resume(settings, journal)
    assert caught.value.code == "journal_changed"
    assert "restore it" in caught.value.hint
    assert journal.read_bytes() == forged
    assert [found.state for found in verify_journals(settings)] == [State.CHANGED]


async def test_journal_with_fewer_events_than_the_catalog_is_not_resumed(settings: Settings) -> None:
    """Its process was killed, so no digest of its end is kept; a rebuilt catalog takes the journal as it is."""
    journal = await ended_rollout(settings)
    settings.catalog_path.unlink()
    text = journal.read_bytes()
    with Catalog.open(settings.catalog_path, ManualClock(), [find_journal(settings.rollouts_dir, None)]):
        pass
    digests = [place for place, line in enumerate(text.splitlines()) if b'"type":"digest"' in line]
    journal.write_bytes(b"".join(text.splitlines(keepends=True)[: digests[-2] + 1]))
    with pytest.raises(TrustError) as caught:
        await resume(settings, journal)
    assert (caught.value.code, "rollouts rebuild" in caught.value.hint) == ("journal_changed", True)
    with Catalog.rebuild(settings.catalog_path, ManualClock(), [find_journal(settings.rollouts_dir, None)]):
        pass
    await resume(settings, journal)
    assert [found.state for found in verify_journals(settings)] == [State.WHOLE]


async def test_journal_that_goes_on_after_the_kept_digest_is_resumed(settings: Settings) -> None:
    """As a process that was killed leaves it, between journal and catalog."""
    journal = await ended_rollout(settings)
    [before] = verify_journals(settings)
    killed = Journal.resume(settings.rollouts_dir, journal.stem)
    event = RolloutResumed(owner="a@b", done=0)
    await killed.take([Envelope(before.events + 1, "2026-11-23T01:00:00.000Z", event)])
    killed.close_now()
    await resume(settings, journal)
    [found] = verify_journals(settings)
    assert (found.state, found.events) == (State.WHOLE, before.events + 2)
    with Catalog.open(settings.catalog_path, ManualClock()) as catalog:
        assert catalog.rollout(journal.stem).journal_digest == found.digest != before.digest


async def test_journal_of_another_rollout_is_not_resumed(settings: Settings) -> None:
    """It was put in the place of one that was killed, with a header of its own, or none."""
    journal = await ended_rollout(settings)
    text = journal.read_bytes()
    for name, foreign in (("20261123T020000-bbbbbb", text), ("20261123T030000-cccccc", without_header(text))):
        other = journal.with_name(f"{name}.ndjson")
        other.write_bytes(foreign)
        with pytest.raises(TrustError) as caught:
            await resume(settings, other)
        assert caught.value.message.endswith(f"it is the journal of {journal.stem}")
