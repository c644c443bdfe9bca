"""Commands on one host over an authenticated connection: the ``Session`` port.

It sends standard input within flow control, runs commands as root by sudo where the login is not root's, and returns or
raises how a command ended. It knows nothing of how the connection was made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, cast

from ionetctl.core.errors import HostError, HostFailedError
from ionetctl.core.ports import Completed
from ionetctl.ssh.asyncssh_internals import send_window, shrink_send_window
from ionetctl.ssh.commands.channel import Exchange
from ionetctl.ssh.commands.quoting import command_line
from ionetctl.ssh.commands.start_marker import StartMarker
from ionetctl.ssh.commands.sudo import CANNOT_EXECUTE, NEEDS_PASSWORD, SudoDialogue
from ionetctl.ssh.error_translation import LOST, SESSION, host_error
from ionetctl.ssh.limits.transfers import TransferSlot

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable

    import asyncssh

    from ionetctl.core.model.login_key import AccountLogin
    from ionetctl.core.ports import Command
    from ionetctl.ssh.limits.transfers import Transfers
    from ionetctl.ssh.settings import TransportSettings

BLOCK_BYTES: Final = 64 * 1024
SMALL_BYTES: Final = 4 * BLOCK_BYTES
"""Standard input up to this size does not wait for the transfers of other hosts."""


@dataclass(slots=True)
class SshSession:
    """One connection. ``is_root`` is true for a login as root; ``transfers`` is shared by all hosts.

    ``explain_loss`` returns the error to raise for a lost connection, where it goes through a jump host.
    """

    connection: asyncssh.SSHClientConnection = field(repr=False)
    where: str
    settings: TransportSettings
    transfers: Transfers = field(repr=False)
    is_root: bool
    become_password: Callable[[], str] | None = field(default=None, repr=False)
    explain_loss: Callable[[HostError], HostError] | None = field(default=None, repr=False)
    _asks: bool = False

    @property
    def host_key(self) -> str | None:
        """See ``ports.Session.host_key``."""
        key = self.connection.get_server_host_key()
        return None if key is None else key.get_fingerprint()

    @property
    def login(self) -> AccountLogin:
        """See ``ports.Session.login``."""
        return cast("AccountLogin", self.connection.get_extra_info("login"))

    async def run(
        self,
        command: Command,
        stdin: bytes | AsyncIterable[bytes | memoryview] = b"",
        on_line: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """The completed command; see ``ports.Session.run``.

        Time spent waiting for other hosts' transfers does not count against the command's deadlines.
        """
        if self.is_root or not command.as_root:
            return await self._execute(command, stdin, on_line, None)
        if not self._asks:
            quiet = SudoDialogue(asks=False)
            try:
                return await self._execute(command, stdin, on_line, quiet)
            except HostFailedError as error:
                is_vain = error.code == NEEDS_PASSWORD and self.become_password is None
                if is_vain or not quiet.is_refused:
                    raise
                self._asks = True
        return await self._execute(
            command, stdin, on_line, SudoDialogue(asks=True, password=self.become_password)
        )

    async def _execute(
        self,
        command: Command,
        stdin: bytes | AsyncIterable[bytes | memoryview],
        on_line: Callable[[bytes], None] | None,
        sudo: SudoDialogue | None,
    ) -> Completed:
        start = StartMarker()
        argv = command.argv if sudo is None else sudo.wrap(command.argv)
        command = replace(command, argv=start.wrap(argv))
        exchange = Exchange(command, on_line, start, sudo, self.settings)
        await self._open(command, exchange)
        try:
            async with asyncio.TaskGroup() as group:
                feeder = group.create_task(self._feed(exchange, stdin))
                await exchange.ended
                feeder.cancel()
        finally:
            exchange.close()
        return self._completed(exchange, start, sudo)

    async def _open(self, command: Command, exchange: Exchange) -> None:
        try:
            line = command_line(command.argv)
        except ValueError as error:  # the host may have named what stands in it
            raise SESSION.error(self.where, str(error)) from error
        try:
            async with asyncio.timeout(min(command.timeout_s, command.idle_s)):
                channel, _ = await self.connection.create_session(
                    lambda: exchange, line, encoding=None, request_pty=False, env=None
                )
        except Exception as error:
            if self.connection.is_closed():
                raise self._explained(LOST.error(self.where, str(error))) from error
            raise host_error(error, self.where) from error
        limit_in_flight(channel, self._version, self.settings.in_flight_bytes)

    @property
    def _version(self) -> str:
        return str(self.connection.get_extra_info("server_version", ""))

    async def _feed(self, exchange: Exchange, stdin: bytes | AsyncIterable[bytes | memoryview]) -> None:
        """Send standard input once the command runs. An exception of the iterable ends the command and is raised by it."""
        await exchange.opened.wait()
        try:
            if isinstance(stdin, bytes):
                await self._feed_blocks(exchange, _single_block(stdin))
            else:
                await self._feed_blocks(exchange, stdin)
            exchange.write_eof()
        except Exception as error:  # noqa: BLE001  (any exception of the caller's iterable is raised to the caller)
            exchange.fail(error)

    async def _feed_blocks(self, exchange: Exchange, stdin: AsyncIterable[bytes | memoryview]) -> None:
        slot = TransferSlot(self.transfers)
        sent_bytes = 0
        async with _closing(stdin) as blocks, slot:
            async for block in blocks:
                slot.keep()
                for piece in _pieces(block):
                    sent_bytes += len(piece)
                    if sent_bytes <= SMALL_BYTES:
                        self.transfers.uplink.spend(len(piece))
                    elif not slot.is_free:
                        with exchange.waiting():
                            await slot.take(len(piece))
                    if not exchange.write(piece):
                        return
                    if exchange.is_full:
                        with slot.in_doubt():
                            await exchange.writable()
                slot.release_soon()

    def _completed(self, exchange: Exchange, start: StartMarker, sudo: SudoDialogue | None) -> Completed:
        if exchange.failure is not None:
            raise self._with_host(exchange.failure)
        if not exchange.is_complete or exchange.exit_status is None:
            if exchange.lost:
                raise self._explained(host_error(exchange.lost, self.where))
            raise self._explained(LOST.error(self.where, "it closed without an exit status"))
        if not start.has_arrived:
            said = f"its login shell ended with status {exchange.exit_status}, and said: {start.last_line()}"
            raise SESSION.error(self.where, said)
        if sudo is not None and not exchange.is_started:
            raise self._with_host(sudo.refusal(exchange.exit_status))
        if sudo is not None and exchange.exit_status == CANNOT_EXECUTE and not exchange.stdout:
            raise self._with_host(sudo.not_executed(exchange.stderr))
        return Completed(exchange.exit_status, bytes(exchange.stdout), bytes(exchange.stderr))

    def _explained(self, error: HostError) -> HostError:
        return error if self.explain_loss is None else self.explain_loss(error)

    def _with_host(self, error: Exception) -> Exception:
        """``error`` with the host named in its message, where it is a ``HostError``."""
        if not isinstance(error, HostError):
            return error
        message = f"{self.where}: {error.message}"
        return type(error)(error.code, message, error.hint, transient=error.transient)


def limit_in_flight(channel: asyncssh.SSHClientChannel[bytes], server_version: str, limit_bytes: int) -> None:
    """Let no more than ``limit_bytes`` be unacknowledged on a channel.

    The peer grants a window once (2 MiB) and then grants again what it has taken. OpenSSH does so after 96 KiB at the
    latest; others (asyncssh) only when half of their window is used, so they need at least that much.
    """
    least = 0 if "OpenSSH" in server_version else send_window(channel) // 2 + BLOCK_BYTES
    shrink_send_window(channel, max(limit_bytes, least))
    channel.set_write_buffer_limits(high=0, low=0)


def _pieces(block: bytes | memoryview) -> list[memoryview]:
    view = memoryview(block).cast("B")
    return [view[at : at + BLOCK_BYTES] for at in range(0, len(view), BLOCK_BYTES)]


async def _single_block(content: bytes) -> AsyncIterator[bytes]:
    yield content


@asynccontextmanager
async def _closing(
    blocks: AsyncIterable[bytes | memoryview],
) -> AsyncIterator[AsyncIterable[bytes | memoryview]]:
    """``blocks``, closed at the end where it is a generator."""
    if isinstance(blocks, AsyncGenerator):
        async with aclosing(blocks):
            yield blocks
    else:
        yield blocks
