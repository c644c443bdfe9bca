"""One command's channel: its output within its limits, its deadlines, and whether more may be sent.

asyncssh calls it as bytes arrive, so nothing here waits. It knows the command's limits, the marker that its output begins
with, and sudo's dialogue; it must not know hosts or connections. The first failure aborts the channel and is the one that the caller gets.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import asyncssh

from ionetctl.core.errors import HostFailedError, HostUnreachableError
from ionetctl.core.sanitize import harmless
from ionetctl.ssh.asyncssh_internals import write_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ionetctl.core.ports import Command
    from ionetctl.ssh.commands.start_marker import StartMarker
    from ionetctl.ssh.commands.sudo import SudoDialogue
    from ionetctl.ssh.settings import TransportSettings

    Gate = Callable[[bytes], bytes | None]

LINE_BYTES: Final = 4096


class Exchange(asyncssh.SSHClientSession[bytes]):
    """asyncssh's callbacks for one channel; ``ended`` is done when nothing more will arrive."""

    def __init__(
        self,
        command: Command,
        on_line: Callable[[bytes], None] | None,
        start: StartMarker,
        sudo: SudoDialogue | None,
        settings: TransportSettings,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._command = command
        self._on_line = on_line
        self._sudo = sudo
        self._sudo_timeout_s = settings.sudo_timeout_s
        self._exit_grace_s = settings.exit_grace_s
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._partial = b""
        self._timer: asyncio.TimerHandle | None = None
        self._started_at = self._last_byte_at = self._loop.time()
        self._deadline = self._started_at + command.timeout_s
        self._last_output_at: float | None = None
        self._exited_at: float | None = None
        self._is_waiting = False
        self._writable: asyncio.Future[None] | None = None
        # What each output passes before it is the command's: each gate holds bytes back until its marker has come.
        openers = (start,) if sudo is None else (start, sudo)
        self._stdout_gates: list[Gate] = [opener.take_stdout for opener in openers]
        self._stderr_gates: list[Gate] = [opener.take_stderr for opener in openers]
        self._discarded_bytes = 0
        self.opened = asyncio.Event()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.exit_status: int | None = None
        self.failure: Exception | None = None
        self.lost: Exception | None = None
        self.has_eof = False

    # --- called by asyncssh ------------------------------------------------------------------------------------------

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """The channel is open; the command has not been requested yet."""
        self._channel = chan

    def session_started(self) -> None:
        """The host accepted the command."""
        self._note_activity()
        self._check_time()
        if self._sudo is None:
            self.opened.set()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Bytes arrived, of standard error where ``datatype`` is so, else of standard output."""
        self._note_activity()
        self._last_output_at = self._last_byte_at
        if self.failure is not None:
            return
        try:
            if datatype == asyncssh.EXTENDED_DATA_STDERR:
                self._take_stderr(data)
            else:
                self._take_stdout(data)
        except Exception as error:  # noqa: BLE001  (asyncssh would end the connection with it; the caller gets it instead)
            self.fail(error)

    def eof_received(self) -> bool:
        """The output has ended; standard input stays open, as a command may go on reading."""
        self.has_eof = True
        return True

    def exit_status_received(self, status: int) -> None:
        """The command ended; output may still arrive."""
        self.exit_status = status
        self._exited_at = self._loop.time()
        self._check_time()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002, FBT001  (asyncssh's signature)
        """A signal ended the command."""
        hint = "out of memory, a shutdown, or a kill by hand: see the host's journal"
        self.fail(
            HostFailedError("killed_by_signal", f"the command was ended by SIG{harmless(signal, 16)}", hint)
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel was closed, or its connection lost."""
        self.lost = exc
        self._finish()

    def pause_writing(self) -> None:
        """The limit of unacknowledged bytes is reached."""
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """The host acknowledged what was sent."""
        self._note_activity()
        if self._writable is not None:
            _set_done(self._writable)
            self._writable = None

    # --- called by the session ---------------------------------------------------------------------------------------

    def write(self, data: memoryview) -> bool:
        """Send bytes; false when the host has closed the channel."""
        if self._channel is None or self._channel.is_closing():
            return False
        self._note_activity()
        write_view(self._channel, data)
        return True

    @property
    def is_full(self) -> bool:
        """Whether the limit of unacknowledged bytes is reached."""
        return self._writable is not None

    async def writable(self) -> None:
        """Return when more may be sent."""
        if self._writable is not None:
            await self._writable

    def write_eof(self) -> None:
        """Close the command's standard input, where it is still open."""
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write_eof()

    def fail(self, error: Exception) -> None:
        """End with ``error``, unless it has ended already."""
        if not self.ended.done():
            self.failure = error
            self.close()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While the command waits for ionetctl no time passes for its deadlines."""
        began = self._loop.time()
        self._is_waiting = True
        try:
            yield
        finally:
            self._is_waiting = False
            self._deadline += self._loop.time() - began
            self._note_activity()
            self._check_time()

    def close(self) -> None:
        """Abort the channel, where it has not ended, and stop all timers.

        A sudo that waits for a password is ended first: the end of its input is an attempt that fails, too, for modules that
        lock accounts (tried with pam_faillock: of one wrong password sudo 1.9.13 makes two, sudo-rs 0.2.5 three). Source:
        RFC 4254, 6.9; OpenSSH takes signals since 7.9.
        """
        if not self.ended.done():
            self._finish()
            if self._channel is not None:
                if self._sudo is not None and not self.opened.is_set():
                    self._channel.kill()
                self._channel.abort()

    @property
    def is_started(self) -> bool:
        """Whether the command itself began, on the host and as the user it is for."""
        return not self._stdout_gates

    @property
    def is_complete(self) -> bool:
        """Whether the command ran to its end and all of its output arrived."""
        return self.exit_status is not None and (self.lost is None or self.has_eof)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _take_stdout(self, data: bytes) -> None:
        passed = _pass(self._stdout_gates, data)
        if passed is None:
            self._discard(data)
            return
        self.opened.set()
        self._keep(self.stdout, passed, "output")
        if self._on_line is not None:
            self._split(passed, self._on_line)

    def _take_stderr(self, data: bytes) -> None:
        passed = _pass(self._stderr_gates, data)
        if passed is not None:
            self._keep(self.stderr, passed, "error output")
            return
        self._discard(data)
        if self._sudo is not None:
            self._reply(self._sudo)

    def _reply(self, sudo: SudoDialogue) -> None:
        reply = sudo.take_reply()
        if reply is not None:
            self.write(memoryview(reply))

    def _discard(self, data: bytes) -> None:
        """Count output of the login or sudo from before the command runs: it is limited like the command's."""
        self._discarded_bytes += len(data)
        self._check_size(self._discarded_bytes, "login's output")

    def _keep(self, buffer: bytearray, data: bytes, name: str) -> None:
        self._check_size(len(buffer) + len(data), f"command's {name}")
        buffer += data

    def _check_size(self, size_bytes: int, name: str) -> None:
        if size_bytes > self._command.limit_bytes:
            message = f"the {name} passed its limit of {self._command.limit_bytes} bytes"
            raise HostFailedError(
                "output_limit", message, "something on the host prints without end; look by hand"
            )

    def _split(self, data: bytes, on_line: Callable[[bytes], None]) -> None:
        *whole, rest = data.split(b"\n")
        for part in whole:
            line, self._partial = (self._partial + part)[:LINE_BYTES], b""
            on_line(line)
        self._partial = (self._partial + rest)[:LINE_BYTES]

    def _note_activity(self) -> None:
        self._last_byte_at = self._loop.time()

    def _check_time(self) -> None:
        """End a command that is over time, or call again when its next deadline is due."""
        if self._timer is not None:
            self._timer.cancel()
        if self.ended.done() or (self._is_waiting and self._exited_at is None):
            return
        now, due = self._loop.time(), self._due()
        if now < due:
            self._timer = self._loop.call_at(due, self._check_time)
        elif self._exited_at is not None:
            self.close()
        else:
            self.fail(self._overdue(now))

    def _due(self) -> float:
        if self._exited_at is not None:
            return min(self._deadline, max(self._exited_at, self._last_byte_at) + self._exit_grace_s)
        due = min(self._deadline, self._last_byte_at + self._command.idle_s)
        return due if self.opened.is_set() else min(due, self._started_at + self._sudo_timeout_s)

    def _overdue(self, now: float) -> Exception:
        is_sudo_late = not self.opened.is_set() and now >= self._started_at + self._sudo_timeout_s
        if self._sudo is not None and is_sudo_late:
            return self._sudo.no_answer(self._sudo_timeout_s)
        hint = "the host may hang or be overloaded: look by hand; --timeout allows more time"
        if now < self._deadline:
            what = f"neither wrote nor read a byte for {self._command.idle_s:g} s"
        elif self._is_sending(now):
            message = f"the command was still sending when its {self._command.timeout_s:g} s were over"
            return HostFailedError("step_timeout", message, hint)
        else:
            what = f"did not end within {self._command.timeout_s:g} s"
        return HostUnreachableError("step_timeout", f"the command {what}", hint, transient=True)

    def _is_sending(self, now: float) -> bool:
        """Whether the host was heard lately: one that answers byte by byte is reachable, and would do so again."""
        lately_s = min(self._command.idle_s, self._command.timeout_s / 2)
        return self._last_output_at is not None and now - self._last_output_at < lately_s

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
        _set_done(self.ended)


def _pass(gates: list[Gate], data: bytes) -> bytes | None:
    """What of ``data`` is beyond all gates, ``None`` while one is closed; a gate that opens is removed."""
    while gates:
        rest = gates[0](data)
        if rest is None:
            return None
        del gates[0]
        data = rest
    return data


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
