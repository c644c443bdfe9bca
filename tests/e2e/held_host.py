"""A host on which every new apply waits once it has taken the host's lock, before it has unpacked or changed anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from tests.e2e.machines import Machine

_PROGRAM: Final = "usr/local/sbin/tar"
_SCRIPT: Final = '#!/bin/sh\nwhile [ -x "$0" ]; do sleep 0.1; done\nexec /usr/bin/tar "$@"\n'
"""Found before the real program, which it becomes once it is taken away."""


class HeldHost:
    """A context manager; ``release`` lets the apply that waits go on, and later ones too."""

    def __init__(self, machine: Machine) -> None:
        self._path = machine.root / _PROGRAM

    def __enter__(self) -> Self:
        self._path.write_text(_SCRIPT)
        self._path.chmod(0o755)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Hold nothing any more."""
        self._path.unlink(missing_ok=True)
