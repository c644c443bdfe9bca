"""Introduction tokens and node identities: minting, reading and judging them. It knows JWTs, not connections.

The judgement follows a real region's (Nomad 2.0.5): a table of what happened to nodes that the servers did not know,
and one minute of leeway for the token's end.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

if TYPE_CHECKING:
    from ionetctl.lab.documents import Document

Enforcement: TypeAlias = Literal["none", "warn", "strict"]

LEEWAY_S: Final = 60
DEFAULT_TTL_S: Final = 300
MAX_TTL_S: Final = 1800
IDENTITY_TTL_S: Final = 86_400
AUDIENCE: Final = "nomadproject.io"
_NANOSECONDS: Final = 1_000_000_000
_UNITS_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+")
_DURATION_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


class Presented(StrEnum):
    """What a node that the servers do not know showed of itself."""

    NOTHING = "no token"
    VALID = "valid"
    EXPIRED = "expired"
    OTHER_NODE = "wrong name or pool"
    FOREIGN = "not signed by this region"


_ALLOWED: Final[dict[Enforcement, frozenset[Presented]]] = {
    "none": frozenset({Presented.NOTHING, Presented.VALID, Presented.EXPIRED, Presented.OTHER_NODE}),
    "warn": frozenset({Presented.NOTHING, Presented.VALID}),
    "strict": frozenset({Presented.VALID}),
}


def is_allowed(presented: Presented, enforcement: Enforcement) -> bool:
    """Whether an unknown node that presented this may register."""
    return presented in _ALLOWED[enforcement]


def duration_s(value: object) -> float:
    """Seconds of a Go duration as JSON carries it: a string with units, or a number of nanoseconds.

    Raises ``ValueError`` with Go's own words.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value / _NANOSECONDS
    text = value if isinstance(value, str) else ""
    if text == "0":
        return 0.0
    if not _DURATION.fullmatch(text):
        raise ValueError(f'time: invalid duration "{text}"')
    total = sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION_PART.findall(text))
    return -total if text.startswith("-") else total


@dataclass(frozen=True, slots=True)
class Signer:
    """A region's key for JWTs (RS256). ``region`` goes into every subject."""

    region: str
    key_id: str
    _key: rsa.RSAPrivateKey = field(repr=False)

    def introduce(self, name: str, pool: str, ttl_s: float, now: float) -> str:
        """A token that introduces a node of this name and pool for ``ttl_s`` seconds, clamped to the maximum."""
        lifetime = int(min(ttl_s, MAX_TTL_S))
        subject = f"node-introduction:{self.region}:{pool}:{name}:default"
        return self._sign(
            {**_times(now, lifetime), "nomad_node_name": name, "nomad_node_pool": pool, "sub": subject}
        )

    def identify(self, node_id: str, pool: str, now: float) -> str:
        """The identity that a registered node holds for a day."""
        subject = f"node:{self.region}:{pool}:{node_id}:default"
        return self._sign({**_times(now, IDENTITY_TTL_S), "nomad_node_id": node_id, "sub": subject})

    def _sign(self, claims: Document) -> str:
        header = {"alg": "RS256", "kid": self.key_id, "typ": "JWT"}
        signed = f"{_segment(header)}.{_segment(dict(sorted(claims.items())))}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encode(signature)}"

    def claims(self, jwt: str) -> Document | None:
        """The claims of a token that this region signed, expired or not; ``None`` for anything else."""
        try:
            signed, _, signature = jwt.rpartition(".")
            self._key.public_key().verify(
                _decode(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            claims = json.loads(_decode(signed.split(".")[1]))
        except (InvalidSignature, ValueError, IndexError):
            return None
        return claims if isinstance(claims, dict) and claims.get("aud") == AUDIENCE else None

    def judge(self, jwt: str, name: str, pool: str, now: float) -> Presented:
        """What an introduction is worth for a node of this name and pool at this time."""
        if not jwt.strip():
            return Presented.NOTHING
        claims = self.claims(jwt.strip())
        if claims is None or not str(claims.get("sub")).startswith(f"node-introduction:{self.region}:"):
            return Presented.FOREIGN
        if now > float(claims["exp"]) + LEEWAY_S:
            return Presented.EXPIRED
        is_for = (claims["nomad_node_name"], claims["nomad_node_pool"]) == (name, pool)
        return Presented.VALID if is_for else Presented.OTHER_NODE

    def is_identity_of(self, jwt: str, node_id: str, now: float) -> bool:
        """Whether this is an identity of that node, signed here and not expired."""
        claims = self.claims(jwt)
        return (
            claims is not None and claims.get("nomad_node_id") == node_id and now <= claims["exp"] + LEEWAY_S
        )


def new_signer(region: str) -> Signer:
    """A signer with a key of its own."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return Signer(region, str(uuid.uuid4()), key)


def _times(now: float, lifetime_s: int) -> Document:
    issued = int(now)
    return {
        "aud": AUDIENCE,
        "exp": issued + lifetime_s,
        "iat": issued,
        "nbf": issued,
        "jti": str(uuid.uuid4()),
    }


def _segment(document: Document) -> str:
    return _encode(json.dumps(document, separators=(",", ":")).encode())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
