"""Certificates of every kind, good and bad: roots, intermediates, leaves, keys."""

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

    from ionetctl.credentials.vault import Vault

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
TEN_YEARS = timedelta(days=3650)


@dataclass(frozen=True)
class Pair:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Key

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
    ) -> Pair:
        """A pair below this one."""
        key = ec.generate_private_key(ec.SECP256R1())
        unsigned = builder(common_name, self, key, is_authority=is_authority, begins=begins, lasts=lasts)
        if names:
            alternative = x509.SubjectAlternativeName([general_name(name) for name in names])
            unsigned = unsigned.add_extension(alternative, critical=False)
        return signed(unsigned, self, key)


def root(
    common_name: str = "region CA",
    *,
    key: Key | None = None,
    begins: datetime | None = None,
    lasts: timedelta = TEN_YEARS,
    may_sign: bool | None = None,
    identifier: bytes | None = None,
) -> Pair:
    """A self-signed CA. ``may_sign`` adds a key usage that says so or not, ``identifier`` a key identifier."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    unsigned = builder(common_name, None, key, is_authority=True, begins=begins, lasts=lasts)
    if may_sign is not None:
        unsigned = unsigned.add_extension(_key_usage(may_sign=may_sign), critical=True)
    if identifier is not None:
        unsigned = unsigned.add_extension(x509.SubjectKeyIdentifier(identifier), critical=False)
    return signed(unsigned, None, key)


def builder(
    common_name: str,
    issuer: Pair | None,
    key: Key | None = None,
    *,
    is_authority: bool = False,
    begins: datetime | None = None,
    lasts: timedelta = TEN_YEARS,
) -> x509.CertificateBuilder:
    """What ``signed`` makes a pair of; extensions may be added first."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    begins = begins or datetime.now(UTC) - timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(issuer.certificate.subject if issuer else _name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + lasts)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )


def signed(unsigned: x509.CertificateBuilder, issuer: Pair | None, key: Key | None = None) -> Pair:
    """The pair of a built certificate; without an issuer it signs itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    signer = issuer.key if issuer else key
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Pair(unsigned.sign(signer, algorithm), key)


def key_pem(key: Key, passphrase: bytes | None = None) -> str:
    """A key in PKCS#8, encrypted where there is a passphrase."""
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    return key.private_bytes(*form, encryption).decode()


def write(path: Path, *pairs: Pair) -> str:
    """The certificates as a PEM file; returns its path."""
    path.write_text("".join(pair.pem for pair in pairs))
    return str(path)


def _key_usage(*, may_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=False,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=may_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def general_name(name: str) -> x509.GeneralName:
    """An address, or else a DNS name."""
    if name.replace(".", "").isdigit():
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def no_vault() -> Vault:
    """For issuers that need none."""
    raise AssertionError("Vault was opened")
