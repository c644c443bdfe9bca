"""Host key checking: the inventory's pins, or else known_hosts with its CAs; strict in every case.

Nothing is sent to a host before its key was accepted here. asyncssh verifies that the host holds the private key and that
a host certificate is valid; this module decides which keys and CAs are accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncssh

from ionetctl.core.errors import ConfigurationError, HostTrustError
from ionetctl.core.sanitize import harmless
from ionetctl.ssh.host_keys.known_hosts import Known, known_as

if TYPE_CHECKING:
    from collections.abc import Iterable

FINGERPRINT_PREFIX: Final = "SHA256:"
_RSA: Final = ("rsa-sha2-512", "rsa-sha2-256")
KEY_ALGORITHMS: Final = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    *_RSA,
)
_CERT_SUFFIX: Final = "-cert-v01@openssh.com"


@dataclass(frozen=True, slots=True)
class Pins:
    """The inventory's ``host_key`` values of one host: whole keys, and fingerprints, which name no key type."""

    keys: tuple[asyncssh.SSHKey, ...] = ()
    fingerprints: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.keys or self.fingerprints)


def parse_pins(values: Iterable[str], host: str) -> Pins:
    """The pins in ``host_key`` values of the inventory.

    Raises ``ConfigurationError`` (``host_key_invalid``) for a value that is neither a public key nor a fingerprint.
    """
    keys, fingerprints = [], []
    for value in values:
        if value.startswith(FINGERPRINT_PREFIX):
            fingerprints.append(value.rstrip("="))
            continue
        try:
            keys.append(asyncssh.import_public_key(value))
        except asyncssh.KeyImportError as error:
            raise ConfigurationError(
                "host_key_invalid",
                f"{host}: host_key {harmless(value, 60)!r} is neither a public key nor a fingerprint",
                'write "ssh-ed25519 AAAA…" as `ssh-keyscan HOST` prints it, or "SHA256:…"',
            ) from error
    return Pins(tuple(keys), tuple(fingerprints))


@dataclass(slots=True)
class HostKeyCheck:
    """Checks the key that a host presents during one connection.

    ``excluded`` are signature algorithms of keys that the host presented and that are not the pinned fingerprint's;
    ``presented`` is the key that was refused or accepted, ``is_new`` is true where it was accepted on first use.
    """

    host: str
    port: int
    pins: Pins
    known: Known
    accept_new: bool = False
    excluded: tuple[str, ...] = ()
    presented: asyncssh.SSHKey | None = None
    is_new: bool = False

    @property
    def trusted(self) -> tuple[asyncssh.SSHKey, ...]:
        """The keys that are expected of this host."""
        return self.pins.keys if self.pins else self.known.keys

    @property
    def authorities(self) -> tuple[asyncssh.SSHKey, ...]:
        """The CAs whose certificates are accepted for this host: none where the inventory pins a key."""
        return () if self.pins else self.known.authorities

    def algorithms(self) -> list[str]:
        """Host key algorithms to offer: those of the expected keys first, so that the host presents one of them.

        The others follow, so that a changed key is reported as such and not as "no common algorithm".
        """
        expected = [name for key in self.trusted for name in signature_algorithms(key.get_algorithm())]
        plain = list(dict.fromkeys([*expected, *KEY_ALGORITHMS]))
        certified = [name + _CERT_SUFFIX for name in KEY_ALGORITHMS] if self.authorities else []
        return certified + [name for name in plain if name not in self.excluded]

    def accepts(self, key: asyncssh.SSHKey) -> bool:
        """Whether ``key`` is accepted for this host; remembers it in ``presented``."""
        self.presented = key
        if key in self.known.revoked:
            return False
        if self.pins:
            return key in self.pins.keys or key.get_fingerprint() in self.pins.fingerprints
        if key in self.known.keys:
            return True
        self.is_new = self.accept_new and not self._is_changed
        return self.is_new

    def refusal(self, reason: str) -> HostTrustError:
        """The error for a host key or certificate that was refused; ``reason`` is asyncssh's."""
        where = known_as(self.host, self.port)
        if self.presented is not None and self.presented in self.known.revoked:
            return self._revoked(where, f"key {self.presented.get_fingerprint()}")
        if self.presented is None and "revoked" in reason:
            return self._revoked(where, "certificate")
        if self.presented is None:
            return HostTrustError(
                "host_certificate_invalid",
                f"{where} presents a host certificate that does not hold: {harmless(reason, 200)}",
                "have the host's certificate issued anew for this name, or pin the host's key in the inventory",
            )
        return self._changed(where, self.presented) if self._is_changed else _unknown(where, self.presented)

    @property
    def _is_changed(self) -> bool:
        return bool(self.pins) or bool(self.known.keys and not self.known.is_portless)

    def _changed(self, where: str, presented: asyncssh.SSHKey) -> HostTrustError:
        expected = [*(key.get_fingerprint() for key in self.trusted), *self.pins.fingerprints]
        source = "the inventory pins" if self.pins else "known_hosts has"
        return HostTrustError(
            "host_key_changed",
            f"{where} presents {_describe(presented)}, but {source} {', '.join(dict.fromkeys(expected))}",
            "find out why before anything else: a reinstalled host, another host at this address, or someone in "
            f"between; if it is right, {_how_to_replace(where, presented, is_pinned=bool(self.pins))}",
        )

    @staticmethod
    def _revoked(where: str, what: str) -> HostTrustError:
        return HostTrustError(
            "host_key_revoked",
            f"{where} presents a {what} that known_hosts marks @revoked",
            "give the host a new key; one that was revoked must not be trusted again",
        )


def signature_algorithms(key_algorithm: str) -> tuple[str, ...]:
    """The signature algorithms for a type of key (RFC 8332 for RSA)."""
    return _RSA if key_algorithm == "ssh-rsa" else (key_algorithm,)


def _unknown(where: str, presented: asyncssh.SSHKey) -> HostTrustError:
    return HostTrustError(
        "host_key_unknown",
        f"{where} presents {_describe(presented)}, which neither the inventory nor known_hosts knows",
        "compare it with what the host's console shows (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then pin it: "
        f"{pin_line(presented)}; or take every new key on first sight with --accept-new",
    )


def _describe(key: asyncssh.SSHKey) -> str:
    return f"the {key.get_algorithm()} key {key.get_fingerprint()}"


def _how_to_replace(where: str, key: asyncssh.SSHKey, *, is_pinned: bool) -> str:
    return f"pin it: {pin_line(key)}" if is_pinned else f"remove the old one: ssh-keygen -R '{where}'"


def pin_line(key: asyncssh.SSHKey) -> str:
    """The line that pins ``key`` when it is pasted into an inventory's host."""
    exported = " ".join(key.export_public_key("openssh").decode("ascii").split()[:2])
    return f'ssh: {{host_key: "{exported}"}}'
