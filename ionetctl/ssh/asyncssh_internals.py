"""What ionetctl uses of asyncssh beyond its documentation: the only module that may.

A release of asyncssh may change any of it without notice. Checked with 2.24.1; ``pyproject.toml`` admits no later minor
version, and ``tests/ssh/test_asyncssh_internals.py`` checks names, signatures and behaviour (2.21.0 has them all, too).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final, cast

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Callable

MSG_IGNORE: Final = 2
"""RFC 4253, 12."""
NAMELESS: Final = "Certificate without principals"
WEAKLY_SIGNED: Final = "Certificate signed by a weak algorithm"
"""The reasons, beside asyncssh's own, for which a host certificate is refused."""
_CA_ALGORITHMS: Final = frozenset(
    {
        b"ssh-ed25519",
        b"sk-ssh-ed25519@openssh.com",
        b"ecdsa-sha2-nistp256",
        b"ecdsa-sha2-nistp384",
        b"ecdsa-sha2-nistp521",
        b"sk-ecdsa-sha2-nistp256@openssh.com",
        b"rsa-sha2-256",
        b"rsa-sha2-512",
    }
)
"""OpenSSH's CASignatureAlgorithms: neither SHA-1 (``ssh-rsa``) nor DSA."""


def key_data(key: asyncssh.SSHKey) -> bytes:
    """A public key in OpenSSH's binary form (``SSHKey.public_data``), by which keys of all kinds are compared."""
    return key.public_data


def pair_key_data(pair: asyncssh.SSHKeyPair) -> bytes:
    """The same of a key pair, without its certificate (``SSHKeyPair.key_public_data``)."""
    return pair.key_public_data


def pair_data(pair: asyncssh.SSHKeyPair) -> bytes:
    """The same with its certificate, if it has one (``SSHKeyPair.public_data``)."""
    return pair.public_data


def certified_key_data(certificate: asyncssh.SSHCertificate) -> bytes:
    """The same of the key that a certificate is for (``SSHCertificate.key``)."""
    return certificate.key.public_data


def ca_algorithm(certificate: Any) -> bytes:  # noqa: ANN401  (SSHOpenSSHCertificate, not exported)
    """The algorithm by which a CA signed a certificate; empty where its key is not encoded as asyncssh would.

    A certificate ends with the CA's key and the signature, which begins with its algorithm (OpenSSH's PROTOCOL.certkeys).
    """
    key = certificate.signing_key.public_data
    _, _, signature = certificate.public_data.rpartition(len(key).to_bytes(4, "big") + key)
    return bytes(signature[8 : 8 + int.from_bytes(signature[4:8], "big")])


def has_certificate(pair: asyncssh.SSHKeyPair) -> bool:
    """Whether a key pair, such as an agent's, has a certificate (``SSHKeyPair.has_cert``)."""
    return pair.has_cert


def copy_of_pair(pair: asyncssh.SSHKeyPair) -> asyncssh.SSHKeyPair:
    """A key pair for one connection: asyncssh keeps the negotiated algorithm and the certificate in the pair itself."""
    return copy.copy(pair)


def noting_signatures(pair: asyncssh.SSHKeyPair, note: Callable[[], None]) -> asyncssh.SSHKeyPair:
    """The pair, with ``note`` called before it signs, which is what a client does once a server has accepted its key.

    (``SSHConnection._send_userauth_request``: an agent's pair has ``sign_async``, others ``sign``.)
    """
    name = "sign_async" if hasattr(pair, "sign_async") else "sign"
    sign = getattr(pair, name)

    def noted(data: bytes) -> Any:  # noqa: ANN401  (a signature, or what is awaited for one)
        note()
        return sign(data)

    setattr(pair, name, noted)
    return pair


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


def tighten(connection: asyncssh.SSHClientConnection) -> None:
    """Have a new connection cost fewer packets and timers, and refuse host certificates that name no host or can be forged.

    - The packets to be ignored that asyncssh puts before every encrypted one are not sent (``SSHConnection.send_packet``). They protect
      ciphers in CBC mode (RFC 4251, 9.3.1), which are not offered, and are half of all packets and system calls.
    - Keepalive is timed from the last packet without a new timer for each (``SSHConnection._reset_keepalive_timer``).
    - A certificate without principals is accepted by asyncssh for every host, and one that was signed with SHA-1
      (``SSHConnection._validate_openssh_host_certificate``).
    """
    connection.__class__ = _Tightened


class _Tightened(asyncssh.SSHClientConnection):
    _heard_at: float | None = None

    def _validate_openssh_host_certificate(
        self,
        host: str,
        addr: str,
        port: int,
        cert: Any,  # noqa: ANN401  (not exported)
    ) -> asyncssh.SSHKey:
        key = super()._validate_openssh_host_certificate(host, addr, port, cert)
        if not cert.principals:
            raise ValueError(NAMELESS)
        if ca_algorithm(cert) not in _CA_ALGORITHMS:
            raise ValueError(WEAKLY_SIGNED)
        return key

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:  # noqa: ANN401  (not exported)
        if pkttype != MSG_IGNORE:
            super().send_packet(pkttype, *args, handler=handler)

    def _reset_keepalive_timer(self) -> None:
        self._heard_at = self._loop.time()

    def _keepalive_timer_callback(self) -> None:
        quiet_s = self._loop.time() - (self._heard_at or 0)
        if quiet_s < self._keepalive_interval:
            left_s = self._keepalive_interval - quiet_s
            self._keepalive_timer = self._loop.call_later(left_s, self._keepalive_timer_callback)
        else:
            super()._keepalive_timer_callback()
