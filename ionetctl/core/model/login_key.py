"""What a login to a host proved: the account, how, and with which public key."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from enum import StrEnum


class LoginMethod(StrEnum):
    """What opened the account."""

    KEY = "key"
    CERTIFICATE = "certificate"
    """A key that a CA has signed: it stands in no ``authorized_keys``."""
    PASSWORD = "password"  # noqa: S105  (the name of a method)
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class LoginKey:
    """A public key: its type, and its blob in base64, as ``authorized_keys`` has them."""

    type: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


@dataclass(frozen=True, slots=True)
class AccountLogin:
    """A login that succeeded. ``key`` is there for ``KEY`` alone."""

    account: str
    method: LoginMethod
    key: LoginKey | None = None
