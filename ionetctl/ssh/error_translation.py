"""Exceptions of asyncssh, the resolver and sockets, translated to ``HostError``: the only place that does so.

A table by type has a row for each; the most specific base class of an exception that has a row counts, and a test checks
that every exception that asyncssh exports has one. Texts that came from a host are sanitized here.
"""

from __future__ import annotations

import errno
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncssh

from ionetctl.core.errors import HostError, HostFailedError, HostTrustError, HostUnreachableError
from ionetctl.core.sanitize import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

REASON_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Fault:
    """The error for one kind of exception; ``message`` may contain ``{where}`` and ``{reason}``."""

    kind: type[HostError]
    code: str
    message: str
    hint: str
    is_transient: bool = False

    def error(self, where: str, reason: str) -> HostError:
        """The error for something that happened at ``where``."""
        message = self.message.format(where=where, reason=harmless(reason, REASON_CHARS) or "no reason given")
        return self.kind(self.code, message, self.hint, transient=self.is_transient)


REFUSED: Final = Fault(
    HostUnreachableError,
    "connect_refused",
    "{where} refuses the connection: {reason}",
    "is sshd running there, on that port? (ssh: {port: …})",
    is_transient=True,
)
TIMED_OUT: Final = Fault(
    HostUnreachableError,
    "connect_timeout",
    "{where} did not answer: {reason}",
    "is the host switched on, and does a firewall let SSH through? --timeout allows more time",
    is_transient=True,
)
DNS: Final = Fault(
    HostUnreachableError,
    "dns_failure",
    "the name of {where} does not resolve: {reason}",
    "correct the address in the inventory, or the resolver",
    is_transient=True,
)
NETWORK: Final = Fault(
    HostUnreachableError,
    "network_unreachable",
    "there is no way to {where}: {reason}",
    "check routes and firewalls, or reach the host by a jump host (ssh: {jump: …})",
    is_transient=True,
)
LOST: Final = Fault(
    HostUnreachableError,
    "connection_lost",
    "the connection to {where} was lost: {reason}",
    "the host rebooted, its network dropped, or its sshd turns connections away (MaxStartups); run again",
    is_transient=True,
)
FILE_LIMIT: Final = Fault(
    HostUnreachableError,
    "too_many_open_files",
    "cannot open a connection to {where}: {reason}",
    "raise this machine's limit (ulimit -n) or lower --concurrency",
    is_transient=True,
)
PROTOCOL: Final = Fault(
    HostUnreachableError,
    "ssh_protocol",
    "{where} does not speak SSH as it should: {reason}",
    "is that port really sshd's? `ssh -v` to the host shows more",
)
NO_COMMON: Final = Fault(
    HostFailedError,
    "no_common_algorithm",
    "{where} and ionetctl have no algorithm in common: {reason}",
    "update the host's SSH server; broken algorithms (SHA-1, CBC, DSA) are not offered",
)
AUTH: Final = Fault(
    HostFailedError,
    "auth_failed",
    "{where} refuses the login: {reason}",
    "try `ssh` by hand with the same user and key; see ssh: {user, identity, password} in the inventory; "
    "sshd also refuses an account whose shell does not exist",
)
TRUST: Final = Fault(
    HostTrustError,
    "host_key_unknown",
    "the host key of {where} cannot be verified: {reason}",
    "pin the key in the inventory (ssh: {host_key: …})",
)
SESSION: Final = Fault(
    HostFailedError,
    "session_refused",
    "{where} does not let commands run: {reason}",
    "check the account's shell, ForceCommand and MaxSessions in its sshd_config",
)
LOCAL: Final = Fault(
    HostFailedError,
    "ssh_configuration",
    "the connection to {where} cannot be set up: {reason}",
    "check ssh: in the inventory, the key files and ~/.ssh/config",
)

BY_TYPE: Final[Mapping[type[BaseException], Fault]] = {
    asyncssh.PermissionDenied: AUTH,
    asyncssh.IllegalUserName: AUTH,
    asyncssh.PasswordChangeRequired: AUTH,
    asyncssh.ConnectionLost: LOST,
    asyncssh.ServiceNotAvailable: LOST,
    asyncssh.HostKeyNotVerifiable: TRUST,
    asyncssh.KeyExchangeFailed: NO_COMMON,
    asyncssh.ProtocolError: PROTOCOL,
    asyncssh.ProtocolNotSupported: PROTOCOL,
    asyncssh.MACError: PROTOCOL,
    asyncssh.CompressionError: PROTOCOL,
    asyncssh.DisconnectError: LOST,
    asyncssh.ChannelOpenError: SESSION,
    asyncssh.ChannelListenError: SESSION,
    asyncssh.TimeoutError: TIMED_OUT,
    asyncssh.ProcessError: SESSION,
    asyncssh.SFTPError: PROTOCOL,
    asyncssh.BreakReceived: PROTOCOL,
    asyncssh.SignalReceived: PROTOCOL,
    asyncssh.TerminalSizeChanged: PROTOCOL,
    asyncssh.ConfigParseError: LOCAL,
    asyncssh.KeyEncryptionError: LOCAL,
    asyncssh.KeyExportError: LOCAL,
    asyncssh.KeyGenerationError: LOCAL,
    asyncssh.KeyImportError: LOCAL,
    socket.gaierror: DNS,
    UnicodeError: DNS,
    TimeoutError: TIMED_OUT,
    ConnectionRefusedError: REFUSED,
    ConnectionError: LOST,
    EOFError: LOST,
    OSError: NETWORK,
}
_BY_ERRNO: Final[Mapping[int, Fault]] = {
    errno.ECONNREFUSED: REFUSED,
    errno.ETIMEDOUT: TIMED_OUT,
    errno.ECONNRESET: LOST,
    errno.EPIPE: LOST,
    errno.EMFILE: FILE_LIMIT,
    errno.ENFILE: FILE_LIMIT,
}
_ERRNO: Final = re.compile(r"\[errno ([0-9]{1,5})\]", re.IGNORECASE)
_TUNNEL_REASONS: Final = (
    ("refused", REFUSED),
    ("timed out", TIMED_OUT),
    ("name or service", DNS),
    ("resolve", DNS),
    ("no route", NETWORK),
    ("unreachable", NETWORK),
    ("closed", LOST),
)


def fault_of(error: BaseException) -> Fault:
    """The row of the table for ``error``; an exception without one is a violation of the protocol by the server."""
    if isinstance(error, OSError) and not isinstance(error, (socket.gaierror, TimeoutError)):
        return _BY_ERRNO.get(_errno(error), _by_type(error))
    return _by_type(error)


def host_error(error: BaseException, where: str) -> HostError:
    """``error`` as a ``HostError`` about ``where`` (``user@host:port``)."""
    return fault_of(error).error(where, _reason(error))


def jump_lost(jump: str) -> HostUnreachableError:
    """The error for a host behind a jump host whose connection ended."""
    message = f"the connection to jump host {jump} was lost"
    hint = "is it switched on, and its sshd running? Once it is back, run again"
    return HostUnreachableError("jump_failed", message, hint, transient=True)


def tunnel_error(error: asyncssh.ChannelOpenError, where: str, jump: str) -> HostError:
    """The error for a jump host that could not connect to ``where``, by its text: RFC 4254, 5.1 has one code for all."""
    reason = f"{error.reason} (through {jump})"
    if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
        return HostUnreachableError(
            "jump_failed",
            f"jump host {jump} does not forward to {where}: {harmless(error.reason, REASON_CHARS)}",
            "its sshd_config must allow it: AllowTcpForwarding yes, and PermitOpen if it is set",
        )
    return _tunnel_fault(error.reason.lower()).error(where, reason)


def _tunnel_fault(reason: str) -> Fault:
    found = _ERRNO.search(reason)
    if found is not None and int(found[1]) in _BY_ERRNO:
        return _BY_ERRNO[int(found[1])]
    return next((fault for phrase, fault in _TUNNEL_REASONS if phrase in reason), NETWORK)


def _by_type(error: BaseException) -> Fault:
    return next((BY_TYPE[kind] for kind in type(error).__mro__ if kind in BY_TYPE), PROTOCOL)


def _errno(error: OSError) -> int:
    """The error's number; asyncio reports the errors of several addresses in the text of one."""
    if error.errno is not None:
        return error.errno
    found = _ERRNO.search(str(error))
    return int(found[1]) if found else 0


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncssh.Error):
        return error.reason
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
