"""Resolves a host's absolute paths, symbolic links included, where a directory (``tree``) stands for its ``/``.

An absolute link target is resolved below that directory too, as after chroot(2), and never on the machine itself.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path, PurePosixPath
from typing import Final

_MAX_LINKS: Final = 40


class TooManyLinksError(OSError):
    """The path has more symbolic links than Linux follows (``ELOOP``), such as a cycle."""


def locate(tree: Path, path: str) -> Path:
    """The real path of a host's absolute ``path``, which need not exist. A path that begins with ``tree`` is accepted too.

    ``..`` never leads out of ``tree``. Raises ``TooManyLinksError``.
    """
    pending = deque(_parts(tree, path))
    reached: list[str] = []
    links = 0
    while pending:
        part = pending.popleft()
        if part == "..":
            del reached[-1:]
            continue
        here = tree.joinpath(*reached, part)
        if not here.is_symlink():
            reached.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise TooManyLinksError(f"{path}: too many levels of symbolic links")
        target = str(here.readlink())
        if target.startswith("/"):
            reached.clear()
        pending.extendleft(reversed(_parts(tree, target)))
    return tree.joinpath(*reached)


def _parts(tree: Path, path: str) -> list[str]:
    inside = PurePosixPath(path)
    if inside.is_relative_to(tree):
        inside = inside.relative_to(tree)
    return [part for part in inside.parts if part not in ("/", ".")]
