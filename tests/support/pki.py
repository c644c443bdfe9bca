"""Certificates of every kind, good and bad: roots, intermediates, leaves, keys. Times are around a given moment."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
TEN_YEARS = timedelta(days=3650)


@dataclass(frozen=True)
class Pair:
    """A certificate with its key; ``above`` are the pairs that it comes from, nearest first."""

    certificate: x509.Certificate
    key: Key
    above: tuple[Pair, ...] = ()

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return key_pem(self.key)

    def sign(
        self,
        common_name: str,
        *,
        names: Sequence[str] = (),
        is_authority: bool = False,
        begins: datetime | None = None,
        lasts: timedelta = TEN_YEARS,
        key: Key | None = None,
    ) -> Pair:
        """A certificate below this one."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(
            common_name, key, self, names=names, is_authority=is_authority, begins=begins, lasts=lasts
        )
        return Pair(certificate, key, (self, *self.above))


def key_pem(key: Key, passphrase: bytes | None = None) -> str:
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    ).decode()


def root(
    common_name: str = "region CA",
    *,
    key: Key | None = None,
    begins: datetime | None = None,
    lasts: timedelta = TEN_YEARS,
    is_authority: bool = True,
) -> Pair:
    """A self-signed certificate."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(
        common_name, key, None, names=(), is_authority=is_authority, begins=begins, lasts=lasts
    )
    return Pair(certificate, key)


def write(path: Path, *pairs: Pair) -> str:
    """The certificates as a PEM file; returns its path."""
    path.write_text("".join(pair.pem for pair in pairs))
    return str(path)


def _certificate(
    common_name: str,
    key: Key,
    issuer: Pair | None,
    *,
    names: Sequence[str],
    is_authority: bool,
    begins: datetime | None,
    lasts: timedelta,
) -> x509.Certificate:
    begins = begins or datetime.now(UTC) - timedelta(hours=1)
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(issuer.certificate.subject if issuer else _name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + lasts)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(list(map(_alternative, names))), critical=False
        )
    return builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def _alternative(name: str) -> x509.GeneralName:
    if name.replace(".", "").isdigit():
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
