"""A host that pours out gigabytes: what is kept of it is what the command may print, wherever it comes."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any, cast

import asyncssh
import pytest

from ionetctl.core.errors import HostFailedError
from ionetctl.core.ports import Command
from ionetctl.ssh.commands.channel import LINE_BYTES, Exchange
from ionetctl.ssh.commands.start_marker import KEPT_BYTES, StartMarker
from ionetctl.ssh.commands.sudo import SudoDialogue
from ionetctl.ssh.settings import TransportSettings

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_BYTES = 1 << 20
BLOCK = bytes(32 << 10)
BLOCKS = (2 << 30) // len(BLOCK)
ROOM_BYTES = 3 * LIMIT_BYTES
"""A buffer that grows is there twice for a moment."""
STDERR = asyncssh.EXTENDED_DATA_STDERR


class Channel:
    """Stands for asyncssh's channel, of a host that goes on sending when it is told to stop."""

    aborted = 0

    def abort(self) -> None:
        self.aborted += 1

    def kill(self) -> None:
        """The host goes on all the same."""

    def is_closing(self) -> bool:
        return False


def exchange(
    *, with_sudo: bool = False, on_line: Callable[[bytes], None] | None = None
) -> tuple[Exchange, Channel, list[bytes]]:
    """A command's channel that is open, and the lines that a host prints before the command begins."""
    start = StartMarker()
    sudo = SudoDialogue(asks=True) if with_sudo else None
    command = Command(("cat",), 600, 600, LIMIT_BYTES)
    made, channel = Exchange(command, on_line, start, sudo, TransportSettings()), Channel()
    made.connection_made(cast("Any", channel))
    openers = (start, sudo._root) if sudo else (start,)
    return made, channel, [f"{opener._text}\n".encode() for opener in openers]


def pour(made: Exchange, block: bytes, kind: int | None) -> int:
    """Have the host print two gigabytes; the most memory that this took."""
    tracemalloc.start()
    try:
        for _ in range(BLOCKS):
            made.data_received(block, cast("Any", kind))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        made.close()


@pytest.mark.parametrize("kind", [None, STDERR], ids=["output", "error output"])
@pytest.mark.parametrize("block", [BLOCK, b"line\n" * 6000], ids=["no line", "lines"])
@pytest.mark.parametrize("has_begun", [True, False], ids=["the command's", "the login's"])
@pytest.mark.parametrize("with_sudo", [False, True], ids=["root", "sudo"])
async def test_two_gigabytes_take_no_more_than_the_limit(
    *, kind: int | None, block: bytes, has_begun: bool, with_sudo: bool
) -> None:
    """The command fails at its limit, and what comes after that is not kept at all."""
    made, channel, markers = exchange(with_sudo=with_sudo, on_line=lambda _: None)
    if has_begun:
        for marker in markers:
            made.data_received(marker, cast("Any", kind))
    peak = pour(made, block, kind)
    assert isinstance(made.failure, HostFailedError)
    assert (made.failure.code, channel.aborted, peak < ROOM_BYTES) == ("output_limit", 1, True)
    assert len(made.stdout) + len(made.stderr) <= LIMIT_BYTES


async def test_a_line_without_end_is_cut() -> None:
    """However many pieces it comes in, a line is as long as a line may be."""
    lines: list[bytes] = []
    made, _, (marker,) = exchange(on_line=lines.append)
    made.data_received(marker, None)
    for _ in range(LIMIT_BYTES // len(BLOCK) - 1):
        made.data_received(BLOCK, None)
    made.data_received(b"\nend\n", None)
    made.close()
    assert [len(line) for line in lines] == [LINE_BYTES, 3]


async def test_what_a_login_prints_is_kept_in_part() -> None:
    """Its end says what went wrong."""
    made, _, _ = exchange()
    start = made._stdout_gates[0].__self__  # type: ignore[attr-defined]
    for _ in range(8):
        made.data_received(BLOCK, None)
    made.data_received(b"no such shell", None)
    made.close()
    assert (len(start.stdout), bytes(start.stdout[-13:])) == (KEPT_BYTES, b"no such shell")
