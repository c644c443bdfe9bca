"""What an apply and a preparation have in common: when something is sent, and what ends a dialogue."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import HostFailedError, HostUnreachableError
from ionetctl.core.model.names import Digest, RolloutId
from ionetctl.core.ports import Completed
from ionetctl.host import apply_dialogue, prepare
from ionetctl.host.dialogue import DialogueKind, HostDialogue, last_error_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BLOCKS = (b"a" * 512, b"b" * 512)
DIGEST = Digest("d" * 64)
OTHER = Digest("e" * 64)
ROLLOUT = RolloutId("r-1")


class Archive:
    """A file of two blocks."""

    packed_digests = (DIGEST,)
    fence = 0

    def size_bytes(self, present: Mapping[Digest, int]) -> int:
        return 1024 - present.get(DIGEST, 0)

    def blocks(self, present: Mapping[Digest, int]) -> Iterator[bytes]:
        yield from BLOCKS[present.get(DIGEST, 0) // 512 :]


def ready_dialogue(kind: DialogueKind) -> HostDialogue:
    dialogue = HostDialogue(kind, "abcdef", Archive(), ROLLOUT)
    dialogue.take_line(b"ready\tabcdef")
    return dialogue


async def test_closed_input_stops_the_archive() -> None:
    """A host that has failed is not sent the rest, however much that is."""
    dialogue = ready_dialogue(apply_dialogue.KIND)
    stdin = dialogue.stdin()
    first = await anext(stdin)
    dialogue.close_input()
    assert (first, [block async for block in stdin]) == (b"1024\n", [])


async def test_nothing_is_sent_to_a_host_that_never_was_ready() -> None:
    """Its input just ends."""
    dialogue = HostDialogue(apply_dialogue.KIND, "abcdef", Archive(), ROLLOUT)
    dialogue.close_input()
    assert [block async for block in dialogue.stdin()] == []


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ([], [b"1024\n", *BLOCKS]),
        ([(DIGEST, 512)], [b"512\n", BLOCKS[1]]),
        ([(OTHER, 512)], [b"1024\n", *BLOCKS]),
        ([(DIGEST, 512), (DIGEST, 1024)], [b"512\n", BLOCKS[1]]),
    ],
)
async def test_what_lies_on_the_host_is_not_sent(
    reported: list[tuple[Digest, int]], expected: list[bytes]
) -> None:
    """What the host reports before it is ready is left out, if it was asked for; a second report of it counts for nothing."""
    dialogue = HostDialogue(prepare.KIND, "abcdef", Archive(), ROLLOUT)
    for digest, size in reported:
        dialogue.take_line(f"have\t{digest}\t{size}".encode())
    dialogue.take_line(b"ready\tabcdef")
    assert [block async for block in dialogue.stdin()] == expected
    assert dialogue.is_resumed is (DIGEST in dict(reported))


async def test_answers_follow_the_archive() -> None:
    """Each as a line, up to the end of the input."""
    dialogue = ready_dialogue(apply_dialogue.KIND)
    stdin = dialogue.stdin()
    archive = [await anext(stdin) for _ in range(3)]
    dialogue.answer("confirmed")
    answer = await anext(stdin)
    dialogue.close_input()
    assert (archive, answer, [rest async for rest in stdin]) == (
        [b"1024\n", *BLOCKS],
        b"confirmed\n",
        [],
    )


async def test_input_ends_with_the_archive_where_no_answer_is_awaited() -> None:
    """A preparation reads to the end of its input."""
    assert [block async for block in ready_dialogue(prepare.KIND).stdin()] == [
        b"1024\n",
        *BLOCKS,
    ]


@pytest.mark.parametrize("kind", [apply_dialogue.KIND, prepare.KIND], ids=lambda kind: kind.title)
async def test_malformed_report_ends_every_dialogue(kind: DialogueKind) -> None:
    """Reports before it are still read."""
    dialogue = ready_dialogue(kind)
    dialogue.take_line(b"step\t../odd")
    await dialogue.next_report()
    with pytest.raises(HostFailedError) as caught:
        await dialogue.next_report()
    assert caught.value.code == "report_malformed"


async def test_end_is_raised_to_whoever_waits() -> None:
    """As it came."""
    lost = HostUnreachableError("connection_lost", "it went away", transient=True)
    dialogue = HostDialogue(apply_dialogue.KIND, "abcdef", Archive(), ROLLOUT)
    dialogue.end(lost)
    with pytest.raises(HostUnreachableError) as caught:
        await dialogue.next_report()
    assert caught.value is lost


def test_failure_without_a_hint_has_that_of_its_kind() -> None:
    """A code that only the host's script knows is passed on."""
    kind = replace(prepare.KIND, hints={"prepare_failed": "any", "package_held": "release it"})
    failures = [kind.failure(code, "x", ROLLOUT) for code in ("package_held", "unheard_of")]
    assert [(error.code, error.hint) for error in failures] == [
        ("package_held", "release it"),
        ("unheard_of", "any"),
    ]


def test_last_error_line_is_bounded() -> None:
    """A host may write as much as it likes, and is quoted briefly."""
    assert len(last_error_line(Completed(1, b"", b"x" * 10_000))) == 200


@pytest.mark.parametrize("kind", [apply_dialogue.KIND, prepare.KIND], ids=lambda kind: kind.title)
@pytest.mark.parametrize("code", ["locked", "changed"])
def test_own_rollout_on_the_host_may_pass(kind: DialogueKind, code: str) -> None:
    """An earlier attempt's dialogue is no other rollout's, whose id only begins like its own."""
    own, other = (kind.failure(code, f"{name} ops@ctl now", ROLLOUT) for name in ("r-1", "r-12"))
    assert (own.code, own.transient, int(own.exit_code)) == ("apply_still_running", True, 4)
    assert (other.code, other.transient, int(other.exit_code)) == (f"host_{code}", False, 7)
