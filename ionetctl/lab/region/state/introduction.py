"""Mints and checks a region's JWTs: introduction tokens of new nodes, and identities of registered ones.

The rules were observed at a region of Nomad 2.0.5, among them one minute of leeway after a token's expiry.
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
    from ionetctl.lab.json_object import JsonObject

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


class TokenVerdict(StrEnum):
    """The result of checking the introduction token of an unknown node; the value is for the servers' log."""

    NOTHING = "no token"
    VALID = "valid"
    EXPIRED = "expired"
    OTHER_NODE = "wrong name or pool"
    FOREIGN = "not signed by this region"


_ALLOWED: Final[dict[Enforcement, frozenset[TokenVerdict]]] = {
    "none": frozenset(
        {TokenVerdict.NOTHING, TokenVerdict.VALID, TokenVerdict.EXPIRED, TokenVerdict.OTHER_NODE}
    ),
    "warn": frozenset({TokenVerdict.NOTHING, TokenVerdict.VALID}),
    "strict": frozenset({TokenVerdict.VALID}),
}


def is_allowed(verdict: TokenVerdict, enforcement: Enforcement) -> bool:
    """Whether an unknown node with this verdict may register."""
    return verdict in _ALLOWED[enforcement]


def duration_s(value: object) -> float:
    """Seconds of a Go duration as JSON carries it: a string with units, or a number of nanoseconds.

    Raises ``ValueError`` with the message of Go's ``time.ParseDuration``.
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
    """A region's signing key for JWTs (RS256); ``region`` is part of every subject."""

    region: str
    key_id: str
    _key: rsa.RSAPrivateKey = field(repr=False)

    def mint_introduction(self, name: str, pool: str, ttl_s: float, now: float) -> str:
        """An introduction token for a node of this name and pool, valid ``ttl_s`` seconds, at most ``MAX_TTL_S``."""
        lifetime = int(min(ttl_s, MAX_TTL_S))
        subject = f"node-introduction:{self.region}:{pool}:{name}:default"
        return self._sign(
            {**_times(now, lifetime), "nomad_node_name": name, "nomad_node_pool": pool, "sub": subject}
        )

    def mint_identity(self, node_id: str, pool: str, now: float) -> str:
        """The identity of a registered node, valid for ``IDENTITY_TTL_S``."""
        subject = f"node:{self.region}:{pool}:{node_id}:default"
        return self._sign({**_times(now, IDENTITY_TTL_S), "nomad_node_id": node_id, "sub": subject})

    def _sign(self, claims: JsonObject) -> str:
        header = {"alg": "RS256", "kid": self.key_id, "typ": "JWT"}
        signed = f"{_segment(header)}.{_segment(dict(sorted(claims.items())))}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encode(signature)}"

    def claims(self, jwt: str) -> JsonObject | None:
        """The claims of a token with this region's signature, expired or not; ``None`` for any other text."""
        try:
            signed, _, signature = jwt.rpartition(".")
            self._key.public_key().verify(
                _decode(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            claims = json.loads(_decode(signed.split(".")[1]))
        except (InvalidSignature, ValueError, IndexError):
            return None
        return claims if isinstance(claims, dict) and claims.get("aud") == AUDIENCE else None

    def check_introduction(self, jwt: str, name: str, pool: str, now: float) -> TokenVerdict:
        """Check the introduction token of a node of this name and pool; raises nothing."""
        if not jwt.strip():
            return TokenVerdict.NOTHING
        claims = self.claims(jwt.strip())
        if claims is None or not str(claims.get("sub")).startswith(f"node-introduction:{self.region}:"):
            return TokenVerdict.FOREIGN
        if now > float(claims["exp"]) + LEEWAY_S:
            return TokenVerdict.EXPIRED
        is_for = (claims["nomad_node_name"], claims["nomad_node_pool"]) == (name, pool)
        return TokenVerdict.VALID if is_for else TokenVerdict.OTHER_NODE

    def is_identity_of(self, jwt: str, node_id: str, now: float) -> bool:
        """Whether this is an identity of that node, signed by this region and not expired."""
        claims = self.claims(jwt)
        return (
            claims is not None and claims.get("nomad_node_id") == node_id and now <= claims["exp"] + LEEWAY_S
        )


def new_signer(region: str) -> Signer:
    """A signer with a newly generated key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return Signer(region, str(uuid.uuid4()), key)


def _times(now: float, lifetime_s: int) -> JsonObject:
    issued = int(now)
    return {
        "aud": AUDIENCE,
        "exp": issued + lifetime_s,
        "iat": issued,
        "nbf": issued,
        "jti": str(uuid.uuid4()),
    }


def _segment(document: JsonObject) -> str:
    return _encode(json.dumps(document, separators=(",", ":")).encode())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
