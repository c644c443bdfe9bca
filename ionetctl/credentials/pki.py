"""Node certificates of a region: opening its issuer, and issuing them with a key of ours.

It knows what Nomad requires of a client's certificate; it must not know how one gets to a host. Keys are in memory only:
a node's until it is sent, unless its host makes it, the CA's for the whole rollout.

A client's certificate has the name ``client.<region>.nomad``, both key usages and both extended ones:
https://developer.hashicorp.com/nomad/docs/secure/traffic/tls
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.inventory import Issuer, ReadyPair, VaultIssuer
from ionetctl.core.model.node import NodeCertificate
from ionetctl.credentials.certificate_checks import IssuedByRegion, ThePair, chain_pem, without_roots
from ionetctl.credentials.certificates import (
    CLOCK_TOLERANCE,
    check_ca,
    check_pair,
    dns_names,
    extension,
    is_issued_by,
    parse_key,
    read_chain,
)
from ionetctl.credentials.name_constraints import are_readable, forbidden_names, has_unusable_constraints
from ionetctl.credentials.signing_request import (
    client_role,
    new_key,
    node_names,
    node_subject,
    requested_key,
)
from ionetctl.credentials.vault_pki import VaultPki

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ionetctl.core import ports
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import RegionSettings
    from ionetctl.core.model.names import RegionName
    from ionetctl.core.model.secret import SecretRef
    from ionetctl.core.ports import Clock
    from ionetctl.credentials.certificates import Chain, SigningKey
    from ionetctl.credentials.vault import Vault

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


def signs_servers(region: RegionSettings) -> bool:
    """Whether the inventory's issuing key could make a certificate that nodes take for a server's.

    With a ready pair there is no such key, and what a role of Vault signs is for Vault to say. Constraints that cannot be read
    do not count.

    Raises ``ConfigurationError`` (``certificate_unreadable``).
    """
    node = region.tls.node
    if not isinstance(node, Issuer):
        return False
    cas = _path(read_chain(node.cert), read_chain(region.tls.ca))
    return not are_readable(cas) or not forbidden_names(cas, [x509.DNSName(f"server.{region.name}.nomad")])


def open_issuer(
    region: RegionSettings,
    reveal: Callable[[SecretRef], str],
    clock: Clock,
    open_vault: Callable[[], Vault],
) -> ports.Issuer:
    """The issuer of a region's node certificates: its CA, a role of Vault, or the one pair that the inventory names. Blocks.

    Raises ``ConfigurationError``: ``certificate_unreadable``, ``key_unreadable``, ``ca_key_mismatch``, ``ca_cannot_sign``,
    ``ca_expired``, ``ca_chain_broken``, ``ca_names_forbidden``, ``pair_mismatch``, ``pair_expired``, ``pair_wrong_role``,
    ``pair_chain_broken``; with Vault what ``VaultPki.open`` and ``open_vault`` raise.
    """
    node = region.tls.node
    if isinstance(node, ReadyPair):
        return ReadyPairIssuer(*_checked_node_pair(node, region, reveal, clock.now()))
    if isinstance(node, VaultIssuer):
        return VaultPki.open(region, node, open_vault(), clock)
    chain = read_chain(node.cert)
    key = parse_key(reveal(node.key), str(node.key))
    anchors = read_chain(region.tls.ca)
    _check_readable(chain, anchors, node.cert)
    check_ca(chain, key, anchors, clock.now(), node.cert)
    _check_names(region.name, _path(chain, anchors), node.cert)
    check = IssuedByRegion(client_role(region.name), chain_pem(chain), node.key_on_host)
    return RegionIssuer(check, chain, key, timedelta(days=node.validity_days), clock)


def check_client_pair(region: RegionSettings, reveal: Callable[[SecretRef], str], now: datetime) -> None:
    """Check that the client pair for a region's API is complete and valid; nothing is checked where it has none.

    Raises ``ConfigurationError``: ``certificate_unreadable``, ``key_unreadable``, ``pair_mismatch``, ``pair_expired``
    or ``pair_chain_broken``.
    """
    if region.tls.client is not None:
        _checked_pair(region.tls.client, region, reveal, now)


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
        self._tail_pem = chain_pem(without_roots(chain))
        self._hash = (
            None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
        )

    async def issue(self, host: Host, request: bytes | None = None) -> NodeCertificate:  # noqa: ARG002  (all clients of a region have the same names)
        """A certificate, with a new key or for a request. Raises as the port says, ``ca_expired`` after the CA's expiry."""
        if request is not None:
            return NodeCertificate(self._chain_for(requested_key(request)))
        key, key_pem = new_key()
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
        return (
            x509.CertificateBuilder()
            .subject_name(node_subject(self.check.role))
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
        self.check = ThePair(chain_pem(chain))
        self._pair = NodeCertificate(self.check.chain_pem, key_pem.encode())

    async def issue(self, host: Host, request: bytes | None = None) -> NodeCertificate:  # noqa: ARG002  (every node gets the same)
        """The pair."""
        return self._pair


def _path(chain: Chain, anchors: Chain) -> Chain:
    """The CAs whose constraints hold: the issuer, those above it, and the region's own that they come from."""
    return (*chain, *(anchor for anchor in anchors if any(is_issued_by(ca, anchor) for ca in chain)))


def _check_readable(chain: Chain, anchors: Chain, path: str) -> None:
    issuers = {ca.issuer for ca in chain}
    if not are_readable([*chain, *(anchor for anchor in anchors if anchor.subject in issuers)]):
        message = f"{path} or a CA above it has extensions that cannot be read"
        hint = "name constraints may have DNS names, addresses with contiguous masks, mail addresses and URIs"
        raise ConfigurationError("ca_names_forbidden", message, hint)


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
