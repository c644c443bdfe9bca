"""The rehearsal's certificate authority: issues the certificates of region, admin and (in tests) hosts.

Shares no code with the product's ``credentials``, so that each is a check of the other.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

_DAY: Final = dt.timedelta(days=1)
_USES: Final = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    def write(self, cert_path: Path, key_path: Path) -> None:
        """Write both as PEM, the key readable by its owner alone."""
        cert_path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        write_private(key_path, private_pem(self.key))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that is readable by its owner alone from its creation on."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def new_authority(name: str) -> Pair:
    """A self-signed CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    builder = (
        _builder(subject, subject, key, days=3650)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)


def issue(authority: Pair, role: str, days: int = 365) -> Pair:
    """A certificate for ``role`` (such as ``server.<region>.nomad``), localhost and 127.0.0.1, valid for ``days`` from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [
        x509.DNSName(role),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
    ]
    issuer_key = authority.key.public_key()
    builder = (
        _builder(_name(role), authority.certificate.subject, key, days)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USES), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def new_request() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A private key, and a request for its certificate in DER, as a host makes them."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(_name("node")).sign(key, hashes.SHA256())
    return key, request.public_bytes(serialization.Encoding.DER)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def is_of_key(chain_pem: bytes, key: ec.EllipticCurvePrivateKey) -> bool:
    """Whether the first certificate is of that key."""
    try:
        return x509.load_pem_x509_certificate(chain_pem).public_key() == key.public_key()
    except ValueError:
        return False


def public_text(key_pem: bytes) -> str:
    """The public key of a private one as a survey reports it: a SubjectPublicKeyInfo in base64."""
    key = serialization.load_pem_private_key(key_pem, None).public_key()
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(key.public_bytes(*form)).decode()


def write_region_pki(directory: Path, region: str) -> Pair:
    """Write a new CA (``ca.pem``), its server's pair (``server.pem``) and the admin's (``cli.pem``); returns the CA."""
    authority = new_authority(f"Rehearsal CA {region}")
    authority.write(directory / "ca.pem", directory / "ca-key.pem")
    for role in ("server", "cli"):
        pair = issue(authority, f"{role}.{region}.nomad")
        pair.write(directory / f"{role}.pem", directory / f"{role}-key.pem")
    return authority


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + days * _DAY)
    )


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
