"""How the package hangs together: its rooms, the imports between them, and how many levels they form.

``python -m tests.structure [PACKAGE]`` prints the counts. A room is what stands directly in the package: a folder, or a
module beside it.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parents[1] / "ionetctl"


def rooms(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Room → the other rooms that its modules import, inside functions and for types too."""
    names = {_room(path, package) for path in package.rglob("*.py")}
    used: dict[str, set[str]] = {name: set() for name in sorted(names)}
    for path in package.rglob("*.py"):
        room = _room(path, package)
        for imported in _imported(ast.parse(path.read_text()), package.name):
            used[room] |= {imported if imported in names else "__init__"} - {room}
    return used


def _room(path: Path, package: Path) -> str:
    return path.relative_to(package).with_suffix("").parts[0]


def _imported(tree: ast.Module, package: str) -> set[str]:
    """The rooms that a module imports from, by the first part below the package."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    parts = [name.split(".") for name in found]
    return {part[1] for part in parts if part[0] == package and len(part) > 1}


def levels(used: dict[str, set[str]]) -> int:
    """The number of rooms on the longest way down. Raises ``RecursionError`` where imports form a circle."""
    known: dict[str, int] = {}

    def height(room: str) -> int:
        if room not in known:
            known[room] = 1 + max((height(below) for below in used[room]), default=0)
        return known[room]

    return max(height(room) for room in used)


def arrows(used: dict[str, set[str]]) -> int:
    """The number of pairs of rooms of which one imports the other."""
    return sum(map(len, used.values()))


if __name__ == "__main__":
    found = rooms(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)
    print(f"{len(found)} rooms, {levels(found)} levels, {arrows(found)} arrows")  # noqa: T201  (it is its output)
