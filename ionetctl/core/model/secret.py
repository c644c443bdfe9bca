"""A reference to a secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SecretSource = Literal["env", "file", "keyring", "vault"]


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is stored; never the secret itself.

    ``locator`` is the variable's name (env), the path (file; absolute once loaded), ``service/user`` (keyring) or
    ``mount/path#field`` (vault).
    """

    source: SecretSource
    locator: str

    def __str__(self) -> str:
        return f"{self.source}:{self.locator}"
