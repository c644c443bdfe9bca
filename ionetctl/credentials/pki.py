"""Node certificates of a region: issuing them, and deciding which of those on hosts must be replaced.

It knows what Nomad requires of a client's certificate; it must not know how one gets to a host. Keys are in memory only:
a node's until it is sent, unless its host makes it, the CA's for the whole rollout.

A client's certificate has the name ``client.<region>.nomad``, both key usages and both extended ones:
https://developer.hashicorp.com/nomad/docs/secure/traffic/tls
"""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.inventory import ReadyPair
from ionetctl.core.model.node import NodeCertificate
from ionetctl.credentials.certificates import (
    CLOCK_TOLERANCE,
    check_ca,
    check_pair,
    display_name,
    dns_names,
    extension,
    is_issued_by,
    parse_chain,
    parse_key,
    read_chain,
)
from ionetctl.credentials.name_constraints import forbidden_names, has_unusable_constraints
from ionetctl.credentials.signing_request import requested_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import RegionSettings
    from ionetctl.core.model.names import RegionName
    from ionetctl.core.model.secret import SecretRef
    from ionetctl.core.ports import Clock, Issuer
    from ionetctl.credentials.certificates import Chain, SigningKey

_COMMON_NAME_LIMIT: Final = 64
_VALIDITY_PARTS: Final = 3
_LOOPBACK: Final = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
_KEY_USAGE: Final = x509.KeyUsage(
    digital_signature=True,
    key_encipherment=True,
    content_commitment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_PURPOSES: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


def client_role(region: RegionName) -> str:
    """The DNS name that a region's servers require in the certificate of a client."""
    return f"client.{region}.nomad"


def node_names(role: str) -> list[x509.DNSName | x509.IPAddress]:
    """The names of a node's certificate: the servers ask for ``role``, the others are for the agent's own API."""
    return [x509.DNSName(role), x509.DNSName("localhost"), _LOOPBACK]


def signs_servers(region: RegionSettings) -> bool:
    """Whether the inventory's issuer could make a certificate that nodes take for a server's; a ready pair makes none.

    Raises ``ConfigurationError`` (``certificate_unreadable``).
    """
    node = region.tls.node
    if isinstance(node, ReadyPair):
        return False
    cas = _path(read_chain(node.cert), read_chain(region.tls.ca))
    return not forbidden_names(cas, [x509.DNSName(f"server.{region.name}.nomad")])


def open_issuer(region: RegionSettings, reveal: Callable[[SecretRef], str], clock: Clock) -> Issuer:
    """The issuer of a region's node certificates: its CA, or the one pair that the inventory names.

    Raises ``ConfigurationError``: ``certificate_unreadable``, ``key_unreadable``, ``ca_key_mismatch``, ``ca_cannot_sign``,
    ``ca_expired``, ``ca_chain_broken``, ``ca_names_forbidden``, ``pair_mismatch``, ``pair_expired``, ``pair_wrong_role``
    or ``pair_chain_broken``.
    """
    node = region.tls.node
    if isinstance(node, ReadyPair):
        return ReadyPairIssuer(*_checked_node_pair(node, region, reveal, clock.now()))
    chain = read_chain(node.cert)
    key = parse_key(reveal(node.key), str(node.key))
    anchors = read_chain(region.tls.ca)
    check_ca(chain, key, anchors, clock.now(), node.cert)
    _check_names(region.name, _path(chain, anchors), node.cert)
    check = IssuedByRegion(client_role(region.name), _pem(chain), node.key_on_host)
    return RegionIssuer(check, chain, key, timedelta(days=node.validity_days), clock)


def check_client_pair(region: RegionSettings, reveal: Callable[[SecretRef], str], now: datetime) -> None:
    """Check that the client pair for a region's API is complete and valid; nothing is checked where it has none.

    Raises ``ConfigurationError``: ``certificate_unreadable``, ``key_unreadable``, ``pair_mismatch``, ``pair_expired``
    or ``pair_chain_broken``.
    """
    if region.tls.client is not None:
        _checked_pair(region.tls.client, region, reveal, now)


@dataclass(frozen=True, slots=True)
class IssuedByRegion:
    """``ports.CertificateCheck`` for certificates that the region's CA issues; ``chain_pem`` is the CA's own, the issuer first.

    ``key_on_host``: they are of keys that hosts have made.
    """

    role: str
    chain_pem: bytes
    key_on_host: bool = False

    def explain_unfit(
        self, chain_pem: str | None, now: datetime, public_key: str | None = None
    ) -> str | None:
        """Why a host's certificate must be replaced (issuer, name, chain, key, less than a third of its validity left), or ``None``."""
        chain = _parsed(chain_pem)
        if isinstance(chain, str):
            return chain
        return (
            self._issuer_mismatch(chain)
            or self._key_mismatch(chain, public_key)
            or _expiry_problem(chain[0], now)
        )

    def _key_mismatch(self, chain: Chain, public_key: str | None) -> str | None:
        if self.key_on_host and public_key != _public_key_text(chain[0]):
            return "is not of a private key that the host has made"
        return None

    def _issuer_mismatch(self, chain: Chain) -> str | None:
        issuers = _known_chain(self.chain_pem)
        if not is_issued_by(chain[0], issuers[0]):
            return f"is issued by {display_name(chain[0].issuer)}, not by {display_name(issuers[0].subject)}"
        if self.role not in dns_names(chain[0]):
            return f"does not bear the name {self.role}"
        if chain[1:] != _without_roots(issuers):
            return "does not lead to the region's CA: its intermediates differ"
        return None


@dataclass(frozen=True, slots=True)
class ThePair:
    """``ports.CertificateCheck`` where every node has the pair that the inventory names."""

    chain_pem: bytes

    def explain_unfit(
        self,
        chain_pem: str | None,
        now: datetime,  # noqa: ARG002  (its end was checked at the start)
        public_key: str | None = None,  # noqa: ARG002  (of a key that the host has made)
    ) -> str | None:
        """Why a host's certificate must be replaced (it is not the inventory's), or ``None``."""
        chain = _parsed(chain_pem)
        if isinstance(chain, str):
            return chain
        return (
            None
            if chain == _known_chain(self.chain_pem)
            else "is not the certificate that the inventory names"
        )


class RegionIssuer:
    """Issues a certificate per node with the region's CA; implements ``ports.Issuer``.

    ``chain`` is the CA's certificate and the intermediates above it; they are appended to every certificate, except
    self-signed roots. Certificates are valid for ``validity``, but not beyond the CA's expiry.
    """

    def __init__(
        self, check: IssuedByRegion, chain: Chain, key: SigningKey, validity: timedelta, clock: Clock
    ) -> None:
        self.check = check
        self._ca = chain[0]
        self._key = key
        self._validity = validity
        self._clock = clock
        self._tail_pem = _pem(_without_roots(chain))
        self._hash = (
            None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
        )

    async def issue(self, host: Host, request: bytes | None = None) -> NodeCertificate:  # noqa: ARG002  (all clients of a region have the same names)
        """A certificate, with a new key or for a request. Raises as the port says, ``ca_expired`` after the CA's expiry."""
        if request is not None:
            return NodeCertificate(self._chain_for(requested_key(request)))
        key = ec.generate_private_key(ec.SECP256R1())
        key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return NodeCertificate(self._chain_for(key.public_key()), key_pem)

    def _chain_for(self, public_key: ec.EllipticCurvePublicKey) -> bytes:
        return self._certificate(public_key).public_bytes(serialization.Encoding.PEM) + self._tail_pem

    def _certificate(self, public_key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        now = self._clock.now()
        ends = min(now + self._validity, self._ca.not_valid_after_utc)
        if ends <= now:
            raise ConfigurationError(
                "ca_expired", "the issuer's certificate has expired meanwhile", "renew it"
            )
        names = node_names(self.check.role)
        common_name = x509.NameAttribute(NameOID.COMMON_NAME, self.check.role[:_COMMON_NAME_LIMIT])
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([common_name]))
            .issuer_name(self._ca.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_TOLERANCE)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_KEY_USAGE, critical=True)
            .add_extension(_PURPOSES, critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(self._authority_key(), critical=False)
            .sign(self._key, self._hash)
        )

    def _authority_key(self) -> x509.AuthorityKeyIdentifier:
        """The CA's own key identifier where it has one, as RFC 5280, 4.2.1.1 requires."""
        identifier = extension(self._ca, x509.SubjectKeyIdentifier)
        if identifier is None:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


class ReadyPairIssuer:
    """Gives every node the one pair that the inventory names; implements ``ports.Issuer``."""

    def __init__(self, chain: Chain, key_pem: str) -> None:
        self.check = ThePair(_pem(chain))
        self._pair = NodeCertificate(self.check.chain_pem, key_pem.encode())

    async def issue(self, host: Host, request: bytes | None = None) -> NodeCertificate:  # noqa: ARG002  (every node gets the same)
        """The pair."""
        return self._pair


def _path(chain: Chain, anchors: Chain) -> Chain:
    """The CAs whose constraints hold: the issuer, those above it, and the region's own that they come from."""
    return (*chain, *(anchor for anchor in anchors if any(is_issued_by(ca, anchor) for ca in chain)))


def _check_names(region: RegionName, cas: Chain, path: str) -> None:
    role = client_role(region)
    permitted = f"permitted;DNS:{role}, permitted;DNS:localhost, permitted;IP:127.0.0.1/255.255.255.255"
    hint = f"what a node's certificate bears: nameConstraints = critical, {permitted}"
    if forbidden := forbidden_names(cas, node_names(role)):
        message = f"{path} or a CA above it permits no certificate for {' and '.join(forbidden)}"
        raise ConfigurationError("ca_names_forbidden", message, hint)
    if has_unusable_constraints(cas):
        message = (
            f"{path} or a CA above it has name constraints of a kind that Nomad does not know, and refuses"
        )
        raise ConfigurationError("ca_names_forbidden", message, hint)


def _checked_node_pair(
    pair: ReadyPair, region: RegionSettings, reveal: Callable[[SecretRef], str], now: datetime
) -> tuple[Chain, str]:
    chain, key_pem = _checked_pair(pair, region, reveal, now)
    role = client_role(region.name)
    if role not in dns_names(chain[0]):
        hint = f"nomad tls cert create -client -region {region.name} makes one that fits"
        raise ConfigurationError("pair_wrong_role", f"{pair.cert} does not bear the name {role}", hint)
    return chain, key_pem


def _checked_pair(
    pair: ReadyPair, region: RegionSettings, reveal: Callable[[SecretRef], str], now: datetime
) -> tuple[Chain, str]:
    chain, key_pem = read_chain(pair.cert), reveal(pair.key)
    check_pair(chain, parse_key(key_pem, str(pair.key)), read_chain(region.tls.ca), now, pair.cert)
    return chain, key_pem


@cache
def _known_chain(pem: bytes) -> Chain:
    """The certificates of an issuer or a pair, parsed once."""
    return parse_chain(pem)


def _without_roots(chain: Chain) -> Chain:
    return tuple(ca for ca in chain if ca.subject != ca.issuer)


def _pem(chain: Chain) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)


def _public_key_text(certificate: x509.Certificate) -> str:
    """A certificate's public key, as ``Facts.node_public_key`` has that of a host."""
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(certificate.public_key().public_bytes(*form)).decode()


def _parsed(chain_pem: str | None) -> Chain | str:
    """The chain found on a host, with readable extensions, or the reason why it cannot be used."""
    if chain_pem is None:
        return "is missing"
    try:
        chain = parse_chain(chain_pem.encode())
        dns_names(chain[0])
        display_name(chain[0].issuer)
    except ValueError:
        return "cannot be read as a certificate"
    return chain


def _expiry_problem(certificate: x509.Certificate, now: datetime) -> str | None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= ends:
        return f"has expired on {ends:%Y-%m-%d}"
    if ends - now < (ends - begins) / _VALIDITY_PARTS:
        return f"expires on {ends:%Y-%m-%d}, less than a third of its life is left"
    return None
