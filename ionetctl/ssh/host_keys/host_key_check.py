"""Host key checking: the inventory's pins, or else certificates by CAs, or else known_hosts; strict in every case.

Nothing is sent to a host before its key was accepted here. asyncssh verifies that the host holds the private key, that a host
certificate is valid, and that nothing is revoked that it was given as such; this module decides which keys and CAs are accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncssh

from ionetctl.core.errors import ConfigurationError, HostTrustError
from ionetctl.core.sanitize import harmless
from ionetctl.ssh.asyncssh_internals import NAMELESS, WEAKLY_SIGNED
from ionetctl.ssh.host_keys.known_hosts import Known, known_as, public_line

if TYPE_CHECKING:
    from ionetctl.core.model.host import SshSettings

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

# The reasons for which a certificate is refused, as asyncssh words them.
_REVOKED: Final = ("Host key is revoked", "Host CA key is revoked")
_OUT_OF_DATE: Final = {
    "Certificate expired": "has expired",
    "Certificate not yet valid": "is not valid yet",
}
_FOR_OTHERS: Final = {
    "Certificate principal mismatch": "is for other names",
    NAMELESS: "names no host at all",
}
_BY_A_STRANGER: Final = "Host CA key is not trusted"


@dataclass(frozen=True, slots=True)
class Pins:
    """What the inventory says of one host's identity; false where it pins no key.

    ``keys`` and ``fingerprints``, which name no key type, are its ``host_key`` values, ``authorities`` its ``host_ca`` values.
    """

    keys: tuple[asyncssh.SSHKey, ...] = ()
    fingerprints: tuple[str, ...] = ()
    authorities: tuple[asyncssh.SSHKey, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.keys or self.fingerprints)


def parse_pins(ssh: SshSettings, host: str) -> Pins:
    """The pins and CAs that the inventory gives for a host.

    Raises ``ConfigurationError`` (``host_key_invalid``) for a pin that is neither a public key nor a fingerprint, and
    (``host_ca_invalid``) for a CA that is no public key.
    """
    fingerprints = [each for each in ssh.host_keys if each.startswith(FINGERPRINT_PREFIX)]
    return Pins(
        tuple(_pinned_key(each, host) for each in ssh.host_keys if each not in fingerprints),
        tuple(each.rstrip("=") for each in fingerprints),
        tuple(_authority(each, host) for each in ssh.host_authorities),
    )


def _pinned_key(value: str, host: str) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_public_key(value)
    except asyncssh.KeyImportError as error:
        raise ConfigurationError(
            "host_key_invalid",
            f"{host}: host_key {harmless(value, 60)!r} is neither a public key nor a fingerprint",
            'write "ssh-ed25519 AAAA…" as `ssh-keyscan HOST` prints it, or "SHA256:…"',
        ) from error


def _authority(value: str, host: str) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_public_key(value)
    except asyncssh.KeyImportError as error:
        raise ConfigurationError(
            "host_ca_invalid",
            f"{host}: host_ca {harmless(value, 60)!r} is no public key",
            'write "ssh-ed25519 AAAA…" as it stands in the .pub file of the CA\'s key',
        ) from error


@dataclass(slots=True)
class HostKeyCheck:
    """Checks the key that a host presents during one connection.

    ``excluded`` are signature algorithms of keys that the host presented and that are not the pinned fingerprint's;
    ``presented`` is the key that was refused or accepted, ``is_new`` is true where it was accepted on first use.
    ``takes_certificates`` is false where the host's certificate is by a CA that is not accepted: its key alone decides then.
    """

    host: str
    port: int
    pins: Pins
    known: Known
    accept_new: bool = False
    excluded: tuple[str, ...] = ()
    presented: asyncssh.SSHKey | None = None
    is_new: bool = False
    takes_certificates: bool = True

    @property
    def trusted(self) -> tuple[asyncssh.SSHKey, ...]:
        """The keys that are expected of this host."""
        return self.pins.keys if self.pins else self.known.keys

    @property
    def authorities(self) -> tuple[asyncssh.SSHKey, ...]:
        """The CAs whose certificates are accepted for this host: none where the inventory pins a key."""
        if self.pins or not self.takes_certificates:
            return ()
        return (*self.pins.authorities, *self.known.authorities)

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
        if self.pins:
            return key in self.pins.keys or key.get_fingerprint() in self.pins.fingerprints
        if key in self.known.keys:
            return True
        self.is_new = self.accept_new and not (self._is_changed or self.pins.authorities)
        return self.is_new

    def refusal(self, reason: str) -> HostTrustError:
        """The error for a host key or certificate that was refused; ``reason`` is asyncssh's."""
        where = known_as(self.host, self.port)
        if self.presented is None:
            # asyncssh adds the host's name, which may be any text.
            said, _, _ = reason.partition(" for host ")
            return _revoked(where) if said in _REVOKED else _bad_certificate(where, said)
        if self._is_changed:
            return self._changed(where, self.presented)
        return (
            _uncertified(where, self.presented) if self.pins.authorities else _unknown(where, self.presented)
        )

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


def signature_algorithms(key_algorithm: str) -> tuple[str, ...]:
    """The signature algorithms for a type of key (RFC 8332 for RSA)."""
    return _RSA if key_algorithm == "ssh-rsa" else (key_algorithm,)


def _revoked(where: str) -> HostTrustError:
    return HostTrustError(
        "host_key_revoked",
        f"{where} presents a key, or a certificate by a CA, that known_hosts marks @revoked",
        "give the host a new key; one that was revoked must not be trusted again",
    )


def _bad_certificate(where: str, reason: str) -> HostTrustError:
    """The error for a certificate that was refused for asyncssh's ``reason``."""
    anew = "have the CA issue the host a new one; until then, pin the host's key in the inventory"
    if said := _OUT_OF_DATE.get(reason):
        return HostTrustError(
            "host_certificate_expired",
            f"{where} presents a host certificate that {said}",
            f"is this machine's clock right? If so, {anew}",
        )
    if said := _FOR_OTHERS.get(reason):
        return HostTrustError(
            "host_certificate_wrong_name",
            f"{where} presents a host certificate that {said}",
            "another host at this address? If it is the right one, have its certificate issued for the name or address that is "
            "dialled (ssh-keygen -h -n), or set HostKeyAlias",
        )
    if reason == _BY_A_STRANGER:
        return HostTrustError(
            "host_certificate_unknown_ca",
            f"{where} presents a host certificate by a CA that neither the inventory nor known_hosts names",
            "add the CA's public key to the inventory (ssh: {host_ca: …}), or to known_hosts as @cert-authority, if it is yours",
        )
    if reason == WEAKLY_SIGNED:
        return HostTrustError(
            "host_certificate_invalid",
            f"{where} presents a host certificate that its CA signed by a method that can be forged, such as SHA-1",
            "have the host's certificate issued anew: ssh-keygen -t rsa-sha2-512, or with a CA key of type ed25519",
        )
    return HostTrustError(
        "host_certificate_invalid",
        f"{where} presents a host certificate that does not hold: {harmless(reason, 200)}",
        "have the host's certificate issued anew for this name, or pin the host's key in the inventory",
    )


def _uncertified(where: str, presented: asyncssh.SSHKey) -> HostTrustError:
    return HostTrustError(
        "host_certificate_missing",
        f"{where} presents {_describe(presented)} without a certificate, and the inventory names a CA for it",
        "have the CA certify the host's key (HostCertificate in its sshd_config); --accept-new takes no bare key here",
    )


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
    return f'ssh: {{host_key: "{public_line(key)}"}}'
