"""X.509 certificates of a region: reading chains and keys, and checking that they belong together and are valid.

It knows PEM, signatures and validity; it must not know where keys come from or what they are used for. No error has any
part of a key in it.
"""

from __future__ import annotations

import errno
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.regular_file import open_regular

if TYPE_CHECKING:
    from datetime import datetime

    from ionetctl.core.model.inventory import RegionSettings

Chain = tuple[x509.Certificate, ...]
"""Certificates in the order of a PEM file: the leaf (or the issuing CA) first."""
SigningKey = (
    ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""For clocks that differ: certificates that begin within it count as valid, and issued ones begin that much earlier."""
CA_MARGIN: Final = timedelta(hours=1)
"""A CA that expires sooner may expire during the rollout."""
CHAIN_LIMIT: Final = 8
FILE_LIMIT_BYTES: Final = 1 << 20
"""Well beyond the CAs of a whole distribution."""
NAME_LIMIT: Final = 200

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def read_chain(path: str) -> Chain:
    """The certificates of a PEM file. Raises ``ConfigurationError`` (``certificate_unreadable``)."""
    try:
        return parse_chain(_content(path))
    except OSError as error:
        why = error.strerror or type(error).__name__
    except ValueError as error:
        why = str(error) or "it is not a PEM certificate"
    raise ConfigurationError(
        "certificate_unreadable", f"cannot read certificates from {path}: {why}", "name a PEM file"
    )


def read_ca(region: RegionSettings) -> bytes:
    """The content of a region's CA file. Raises ``ConfigurationError`` (``certificate_unreadable``)."""
    try:
        return _content(region.tls.ca)
    except OSError as error:
        message = f"cannot read the CA of region {region.name}, {region.tls.ca}: {error.strerror}"
        raise ConfigurationError("certificate_unreadable", message, "correct tls.ca of the region") from error


def _content(path: str) -> bytes:
    with open_regular(path) as file:
        content = file.read(FILE_LIMIT_BYTES + 1)
    if len(content) > FILE_LIMIT_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {FILE_LIMIT_BYTES >> 20} MiB")
    return content


def parse_chain(pem: bytes) -> Chain:
    """The certificates of some PEM text, in their order. Raises ``ValueError`` where there are none."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from error


def parse_key(pem: str, source: str) -> SigningKey:
    """A private key from PEM. ``source`` names it in the ``ConfigurationError`` (``key_unreadable``)."""
    key = _load_key(pem)
    if isinstance(key, SigningKey):
        return key
    hint = "it must be an EC, RSA or Ed25519 key in PEM, without a passphrase"
    raise ConfigurationError("key_unreadable", f"{source} holds no usable private key", hint)


def _load_key(pem: str) -> object:
    try:
        return serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a passphrase
        return None


def check_ca(
    chain: Chain,
    key: SigningKey,
    anchors: Chain,
    now: datetime,
    path: str,
) -> None:
    """Check that certificates signed with ``key`` will be valid in the region whose CA file is ``anchors``.

    Raises ``ConfigurationError``: ``ca_key_mismatch``, ``ca_cannot_sign``, ``ca_expired`` or ``ca_chain_broken``.
    """
    ca = chain[0]
    if ca.public_key() != key.public_key():
        hint = f"the first certificate of {path} must be the one that the key belongs to"
        raise ConfigurationError("ca_key_mismatch", f"the issuer's key does not belong to {path}", hint)
    if not may_sign(ca):
        hint = "an issuer is a CA certificate: basicConstraints CA:TRUE, keyUsage keyCertSign"
        raise ConfigurationError(
            "ca_cannot_sign", f"{path} is no CA certificate ({display_name(ca.subject)})", hint
        )
    _check_time(ca, now, CA_MARGIN, "ca_expired", path)
    if not leads_to(chain, anchors):
        hint = "tls.ca must hold the CA that the issuer's certificate comes from; add the intermediates to issuer.cert"
        raise ConfigurationError("ca_chain_broken", f"{path} does not lead to the CA in tls.ca", hint)


def check_pair(
    chain: Chain,
    key: SigningKey,
    anchors: Chain,
    now: datetime,
    path: str,
) -> None:
    """Check that key and certificate belong together, and that it is valid at ``now`` and issued under ``anchors``.

    Raises ``ConfigurationError``: ``pair_mismatch``, ``pair_expired`` or ``pair_chain_broken``.
    """
    check_match(chain, key, path)
    _check_time(chain[0], now, timedelta(0), "pair_expired", path)
    if not leads_to(chain, anchors):
        hint = "tls.ca must hold the CA that signed it; intermediates belong into the certificate's file"
        raise ConfigurationError("pair_chain_broken", f"{path} does not lead to the CA in tls.ca", hint)


def check_match(chain: Chain, key: SigningKey, path: str) -> None:
    """Check that the key belongs to the first certificate. Raises ``ConfigurationError`` (``pair_mismatch``)."""
    if chain[0].public_key() != key.public_key():
        hint = "export certificate and key from the same place once more"
        raise ConfigurationError("pair_mismatch", f"the private key does not belong to {path}", hint)


def _check_time(
    certificate: x509.Certificate, now: datetime, margin: timedelta, code: str, path: str
) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins - CLOCK_TOLERANCE:
        hint = "look at this machine's clock"
        raise ConfigurationError(code, f"{path} is valid from {begins:%Y-%m-%d %H:%M} UTC only", hint)
    if now >= ends - margin:
        status = "has expired" if now >= ends else "expires within the hour"
        raise ConfigurationError(code, f"{path} {status} ({ends:%Y-%m-%d %H:%M} UTC)", "renew it")


def may_sign(certificate: x509.Certificate) -> bool:
    """Whether a certificate is a CA's. Raises ``ValueError`` for a malformed extension."""
    constraints = extension(certificate, x509.BasicConstraints)
    usage = extension(certificate, x509.KeyUsage)
    return constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)


def leads_to(chain: Chain, anchors: Chain) -> bool:
    """Whether the first certificate is issued, by way of others in the chain, by one of the anchors."""
    current = chain[0]
    for _ in range(CHAIN_LIMIT):
        if current in anchors or any(is_issued_by(current, anchor) for anchor in anchors):
            return True
        issuer = next((ca for ca in chain[1:] if ca != current and is_issued_by(current, ca)), None)
        if issuer is None:
            return False
        current = issuer
    return False


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether ``issuer`` is a CA with the name of the certificate's issuer, and its key made the signature."""
    try:
        if not may_sign(issuer):
            return False
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """An extension's value, or ``None`` where the certificate does not have it. Raises ``ValueError`` for a malformed one."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(str(error)) from error


def dns_names(certificate: x509.Certificate) -> frozenset[str]:
    """The DNS names of a certificate, its common name included, as Nomad accepts either."""
    alternative = extension(certificate, x509.SubjectAlternativeName)
    names = alternative.get_values_for_type(x509.DNSName) if alternative else []
    common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return frozenset([*names, *(str(attribute.value) for attribute in common)])


def display_name(name: x509.Name) -> str:
    """A distinguished name for messages: characters that cannot be printed are replaced, and it is cut."""
    text = name.rfc4514_string() or "no name"
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:NAME_LIMIT]
