"""What ionetctl uses of asyncssh beyond its documentation: the only module that may.

A release of asyncssh may change any of it without notice. Checked with 2.24.1; ``pyproject.toml`` admits no later minor
version, and ``tests/ssh/test_asyncssh_internals.py`` checks names, signatures and behaviour (2.21.0 has them all, too).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from asyncssh.config import SSHClientConfig
from asyncssh.pattern import WildcardPatternList

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import asyncssh


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """The options of OpenSSH configuration files that hold for one host (``asyncssh.config.SSHClientConfig``).

    asyncssh offers its parser only as a part of ``connect``, which ionetctl calls with every option settled.
    An option set to ``none`` is not absent: it reads as ``None`` or as no values, whatever the default.
    """

    _config: SSHClientConfig

    @classmethod
    def load(
        cls, paths: Sequence[str], local_user: str, address: str, user: str | None, port: int | None
    ) -> ClientOptions:
        """The options for ``address``, under a user and a port where they are decided already.

        Raises ``asyncssh.ConfigParseError``, ``OSError`` and ``ValueError``.
        """
        options = (local_user, user or (), address, port or ())
        loaded = SSHClientConfig.load(None, paths, False, False, False, *options)
        return cls(cast("SSHClientConfig", loaded))  # annotated as its base class

    def text(self, option: str, default: str | None = None) -> str | None:
        """The value of an option that takes a single value."""
        value = self._config.get(option, default)
        return value if isinstance(value, str) else None

    def texts(self, option: str) -> tuple[str, ...] | None:
        """The values of an option that takes several; ``None`` where it is absent."""
        values = self._config.get(option)
        return tuple(str(value) for value in values) if isinstance(values, list) else None

    def number(self, option: str, default: int) -> int:
        """The value of a numeric option."""
        value = self._config.get(option)
        return value if isinstance(value, int) else default

    def is_set(self, option: str) -> bool:
        """Whether an option that takes ``yes`` or ``no`` is ``yes``."""
        return self._config.get(option) is True


def host_line_matcher(patterns: str) -> Callable[[str], bool]:
    """A function that returns whether a name matches the patterns of a ``Host`` line (``asyncssh.pattern.WildcardPatternList``).

    The parser's own class, so that the result is the parser's.
    """
    return WildcardPatternList(",".join(patterns.split())).matches


def key_data(key: asyncssh.SSHKey) -> bytes:
    """A public key in OpenSSH's binary form (``SSHKey.public_data``), by which keys of all kinds are compared."""
    return key.public_data


def pair_key_data(pair: asyncssh.SSHKeyPair) -> bytes:
    """The same of a key pair, without its certificate (``SSHKeyPair.key_public_data``)."""
    return pair.key_public_data


def certified_key_data(certificate: asyncssh.SSHCertificate) -> bytes:
    """The same of the key that a certificate is for (``SSHCertificate.key``)."""
    return certificate.key.public_data


def has_certificate(pair: asyncssh.SSHKeyPair) -> bool:
    """Whether a key pair, such as an agent's, has a certificate (``SSHKeyPair.has_cert``)."""
    return pair.has_cert


def copy_of_pair(pair: asyncssh.SSHKeyPair) -> asyncssh.SSHKeyPair:
    """A key pair for one connection: asyncssh keeps the negotiated algorithm and the certificate in the pair itself."""
    return copy.copy(pair)


def write_view(channel: asyncssh.SSHClientChannel[bytes], data: memoryview) -> None:
    """Write without making ``bytes`` first: ``SSHChannel.write`` copies any buffer once, though annotated ``bytes``."""
    channel.write(cast("bytes", data))


def send_window(channel: asyncssh.SSHClientChannel[bytes]) -> int:
    """How many bytes the peer lets us send now (``SSHChannel._send_window``; RFC 4254, 5.2)."""
    window: int = channel._send_window  # noqa: SLF001  (this module's purpose)
    return window


def shrink_send_window(channel: asyncssh.SSHClientChannel[bytes], limit_bytes: int) -> None:
    """Use no more than ``limit_bytes`` of the window that the peer has granted.

    What the peer has taken it grants again, and that is added to what is left: so less is in flight for good.
    """
    channel._send_window = min(send_window(channel), limit_bytes)  # noqa: SLF001  (likewise)
