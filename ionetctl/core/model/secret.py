"""A reference to a secret."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

SecretSource = Literal["env", "file", "keyring", "vault", "command", "stdin"]


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is stored; never the secret itself.

    ``locator`` is the variable's name (env), the path (file; absolute once loaded), ``service/user`` (keyring),
    ``mount/path#field`` (vault), the program and its arguments, quoted as a shell has them (command), or a name in the document
    on standard input (stdin).
    """

    source: SecretSource
    locator: str

    @property
    def argv(self) -> tuple[str, ...]:
        """The program of a command and its arguments."""
        return tuple(shlex.split(self.locator))

    def __str__(self) -> str:
        """For messages: of a command the program alone, since people may have written anything after it."""
        return f"{self.source}:{self.argv[0] if self.source == 'command' else self.locator}"


def variables(refs: Iterable[SecretRef]) -> frozenset[str]:
    """The environment variables that any of the references names."""
    return frozenset(ref.locator for ref in refs if ref.source == "env")
