"""What a node's certificate must be, as it is found on a host: the checks of each kind of issuer, as plain data without any key.

It knows names, chains, keys and validity; it must not know how a certificate is issued. A host may say anything: what it says is a reason
to replace its certificate, and never an error.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import serialization

from ionetctl.credentials.certificates import (
    display_name,
    dns_names,
    is_issued_by,
    leads_to,
    parse_chain,
)

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from ionetctl.credentials.certificates import Chain

_VALIDITY_PARTS: Final = 3
NOT_THE_HOSTS_KEY: Final = "is not of a private key that the host has made"


@dataclass(frozen=True, slots=True)
class _Issued:
    """``ports.CertificateCheck`` for certificates that are issued for each node; ``ca_pem`` is what they must lead to.

    ``key_on_host``: they are of keys that hosts have made.
    """

    role: str
    ca_pem: bytes
    key_on_host: bool = False

    def explain_unfit(
        self, chain_pem: str | None, now: datetime, public_key: str | None = None
    ) -> str | None:
        """Why a host's certificate must be replaced (CA, name, key, less than a third of its validity left), or ``None``."""
        chain = _parsed(chain_pem)
        if isinstance(chain, str):
            return chain
        if problem := self._ca_mismatch(chain):
            return problem
        if self.role not in dns_names(chain[0]):
            return f"does not bear the name {self.role}"
        if self.key_on_host and public_key != _public_key_text(chain[0]):
            return NOT_THE_HOSTS_KEY
        return _expiry_problem(chain[0], now)

    def _ca_mismatch(self, chain: Chain) -> str | None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class IssuedByRegion(_Issued):
    """For certificates that the region's CA issues; ``ca_pem`` is the CA's own chain, the issuer first."""

    def _ca_mismatch(self, chain: Chain) -> str | None:
        issuers = known_chain(self.ca_pem)
        if not is_issued_by(chain[0], issuers[0]):
            return f"is issued by {display_name(chain[0].issuer)}, not by {display_name(issuers[0].subject)}"
        if chain[1:] != without_roots(issuers):
            return "does not lead to the region's CA: its intermediates differ"
        return None


@dataclass(frozen=True, slots=True)
class IssuedUnderCa(_Issued):
    """For certificates that others issue: whichever issuer it was, they lead to the region's own CAs in ``ca_pem``."""

    def _ca_mismatch(self, chain: Chain) -> str | None:
        return None if leads_to(chain, known_chain(self.ca_pem)) else "does not lead to the region's CA"


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
            if chain == known_chain(self.chain_pem)
            else "is not the certificate that the inventory names"
        )


@cache
def known_chain(pem: bytes) -> Chain:
    """The certificates of an issuer or a pair, parsed once."""
    return parse_chain(pem)


def without_roots(chain: Chain) -> Chain:
    """The chain without self-signed certificates, which whoever trusts them has already."""
    return tuple(ca for ca in chain if ca.subject != ca.issuer)


def chain_pem(chain: Chain) -> bytes:
    """A chain as PEM text."""
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
