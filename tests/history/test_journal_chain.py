"""The journal's chain of digests: what breaks it, and what does not."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import ConfigurationError, IonetctlError
from ionetctl.core.model.names import Digest
from ionetctl.history.journal import ChainCheck, Change, Journal, check_journal, read_journal
from tests.history.test_journal import CHAINED, HEADER, ROLLOUT, closed, envelope, lines, written

if TYPE_CHECKING:
    from pathlib import Path

OTHER = CHAINED.replace(ROLLOUT.encode(), b"20261123T011226-zzzzzz")
THREE_WRITES = closed(closed(closed(CHAINED + lines(1, 2)) + lines(3, 3)) + lines(4, 6))
"""Lines 1 to 10: the header, two events, a digest, one event, a digest, three events, a digest."""


def digest_of(text: bytes) -> Digest:
    return Digest(hashlib.sha256(text).hexdigest())


def moved(text: bytes, first: int, to: int) -> bytes:
    """``text`` with line ``first`` behind line ``to``."""
    rows = text.splitlines(keepends=True)
    rows.insert(to - 1, rows.pop(first - 1))
    return b"".join(rows)


def without(text: bytes, *numbers: int) -> bytes:
    return b"".join(
        line for number, line in enumerate(text.splitlines(keepends=True), start=1) if number not in numbers
    )


async def test_every_write_ends_with_its_digest(tmp_path: Path) -> None:
    """Its digest is of all bytes before the line: ``head`` and ``sha256sum`` compute it too."""
    journal = Journal.create(tmp_path, ROLLOUT)
    digests = [journal.digest]
    for first, last in ((1, 2), (3, 3), (4, 6)):
        await journal.take([envelope(seq) for seq in range(first, last + 1)])
    await journal.take([])
    digests.append(journal.digest)
    await journal.close()
    digest = digest_of(without(THREE_WRITES, 10))
    assert (journal.path.read_bytes(), digests) == (THREE_WRITES, [None, digest])
    assert check_journal(journal.path, {digest}) == ChainCheck(
        is_chained=True, events=6, digest=digest, has_expected=True
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(THREE_WRITES, id="whole"),
        pytest.param(THREE_WRITES[:-1], id="line-break-missing"),
        pytest.param(THREE_WRITES[:-30], id="half-a-digest"),
        pytest.param(without(THREE_WRITES, 10), id="no-digest"),
        pytest.param(without(THREE_WRITES, 9, 10), id="half-a-write"),
        pytest.param(without(THREE_WRITES, 9, 10) + lines(6, 6)[:20], id="half-an-event"),
        pytest.param(CHAINED, id="header"),
        pytest.param(CHAINED + lines(1, 1)[:9], id="half-of-the-first-event"),
    ],
)
async def test_interrupted_write_is_no_change(tmp_path: Path, text: bytes) -> None:
    """What power failure leaves is whole, and stays so once the rollout went on."""
    path = written(tmp_path, text)
    events = len(list(read_journal(path)))
    found = check_journal(path)
    assert (found.change, found.is_chained, found.events) == (None, True, events)
    journal = Journal.resume(tmp_path, ROLLOUT)
    await journal.take([envelope(events + 1)])
    await journal.close()
    found = check_journal(path)
    assert (found.change, found.events, found.digest) == (None, events + 1, journal.digest)


CHANGED = [
    pytest.param(THREE_WRITES.replace(b'"attempt":1', b'"attempt":2', 1), Change(1, 4, ""), id="edited"),
    pytest.param(THREE_WRITES.replace(b'"seq":6', b'"seq":6 '), Change(7, 10, ""), id="a-blank-more"),
    pytest.param(without(THREE_WRITES, 5), Change(5, 5, ""), id="event-taken-out-of-its-write"),
    pytest.param(without(THREE_WRITES, 6), Change(5, 9, ""), id="digest-taken-out"),
    pytest.param(without(THREE_WRITES, 5, 6), Change(5, 5, ""), id="write-taken-out"),
    pytest.param(moved(THREE_WRITES, 2, 3), Change(2, 2, ""), id="reordered"),
    pytest.param(moved(THREE_WRITES, 6, 4), Change(1, 4, ""), id="digests-reordered"),
    pytest.param(
        closed(OTHER + lines(1, 2)) + THREE_WRITES[len(closed(CHAINED + lines(1, 2))) :],
        Change(1, 1, ""),
        id="another-rollout's",
    ),
    pytest.param(
        CHAINED + closed(OTHER + lines(1, 2))[len(OTHER) :] + lines(3, 3), Change(1, 4, ""), id="spliced"
    ),
    pytest.param(THREE_WRITES.replace(lines(3, 3), b"{}\n"), Change(5, 5, ""), id="no-event"),
]

WITHOUT_CHAIN = [
    pytest.param(without(THREE_WRITES, 1), Change(1, 3, ""), id="no-header"),
    pytest.param(THREE_WRITES.replace(b'"sha256"}', b"null}", 1), Change(1, 4, ""), id="chain-disowned"),
    pytest.param(without(THREE_WRITES, 1, 2, 3), Change(1, 1, ""), id="begins-with-a-digest"),
]


@pytest.mark.parametrize(("text", "change"), [*CHANGED, *WITHOUT_CHAIN])
def test_change_is_found(tmp_path: Path, text: bytes, change: Change) -> None:
    """An event that cannot be there by its line, all others by the write that they were part of."""
    found = check_journal(written(tmp_path, text)).change
    assert found is not None
    assert (found.first_line, found.last_line) == (change.first_line, change.last_line), found


@pytest.mark.parametrize(("text", "_change"), CHANGED)
def test_changed_journal_is_not_resumed(tmp_path: Path, text: bytes, _change: Change) -> None:
    """The hosts that it calls done would be believed; and nothing of it is overwritten."""
    path = written(tmp_path, text)
    with pytest.raises(IonetctlError):
        Journal.resume(tmp_path, ROLLOUT)
    assert path.read_bytes() == text


def test_cut_end_needs_the_digest(tmp_path: Path) -> None:
    """A journal that ends with a whole write says nothing of those that followed; a digest kept elsewhere does."""
    kept = check_journal(written(tmp_path, THREE_WRITES)).digest
    cut = without(THREE_WRITES, 7, 8, 9, 10)
    assert check_journal(written(tmp_path, cut), {kept}) == ChainCheck(
        is_chained=True, events=3, digest=digest_of(without(THREE_WRITES, 6, 7, 8, 9, 10)), has_expected=False
    )


@pytest.mark.parametrize("header", [b"", HEADER])
def test_journal_without_a_chain_is_said_to_have_none(tmp_path: Path, header: bytes) -> None:
    """Those of older versions: only that its events are whole and in order can be said."""
    path = written(tmp_path, header + lines(1, 3))
    assert check_journal(path) == ChainCheck(is_chained=False, events=3, digest=Digest(""), has_expected=True)


def test_lines_that_a_later_version_adds_are_in_the_chain(tmp_path: Path) -> None:
    """The journal's own lines of a kind that is unknown here are digested as all others."""
    later = b'{"schema":"ionetctl.journal/1","type":"seal"}\n'
    found = check_journal(written(tmp_path, closed(CHAINED + lines(1, 1) + later)))
    assert (found.change, found.events) == (None, 1)


def test_other_algorithm_is_of_a_newer_version(tmp_path: Path) -> None:
    """Who cannot compute a chain neither checks it nor adds to it."""
    path = written(tmp_path, CHAINED.replace(b'"sha256"', b'"sha3"') + lines(1, 1) + b"{")
    before = path.read_bytes()
    for use in (lambda: check_journal(path), lambda: Journal.resume(tmp_path, ROLLOUT)):
        with pytest.raises(ConfigurationError) as caught:
            use()
        assert caught.value.code == "journal_newer"
    assert path.read_bytes() == before


def test_unreadable_journal(tmp_path: Path) -> None:
    """It is not called changed."""
    with pytest.raises(ConfigurationError) as caught:
        check_journal(tmp_path / "gone.ndjson")
    assert caught.value.code == "journal_unreadable"
