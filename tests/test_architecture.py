"""Imports point down. Read from the source by ``ast``: what is imported inside functions and for types counts too.

The picture is ``LAYERS``: a module may import what lies below it, and beside it only within its own room. What a room
must not know stands in ``APART``, who alone may use a foreign library in ``OWNERS``.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

PACKAGE: Final = Path(__file__).parents[1] / "ionetctl"

LAYERS: Final[tuple[str, ...]] = (
    "__main__",
    "cli",
    # wiring: opens adapters, and hands them to the core
    "enrollment standing rendering explanation probing inspecting",
    "site undertaking",
    # adapters, sinks and the rehearsal, which do not know each other
    "transport region artifacts pki secrets settings clock inventory remote recorder journal catalog report ui lab",
    "certificates interruption",
    # the steps of a rollout, over ports
    "phases",
    "rollout placing",
    "pipeline engines",
    "preparing",
    "looking",
    "registration equipment admission",
    "conversation retrying",
    # the pure core
    "inspection",
    "shipment diffs outcomes verification progress fold capacity",
    "packages",
    "plan preparation placement checks proof payload facts gpu_reading diagnosis causes fleet pace heartbeats",
    "bundle survey_records surroundings ustar",
    "node_meta",
    "survey_draft",
    "templating gpu harmless versions layout",
    # what everything speaks in
    "ports",
    "events",
    "model",
    "observed",
    "errors",
    "__init__",
)
"""From the top down. Rooms of one line do not know each other, but for ``BESIDE``."""

BESIDE: Final = {("ui", "inventory")}
"""Who may use a neighbour of the same line: the screen folds host names by the syntax of inventories."""

OWNERS: Final[dict[str, set[str]]] = {
    "aiohttp": {"lab"},
    "asyncssh": {"transport", "lab"},
    "cryptography": {"certificates", "pki", "region", "lab"},
    "httpx": {"region", "artifacts"},
    "hvac": {"secrets"},
    "jinja2": {"templating"},
    "keyring": {"secrets"},
    "msgspec": {"events", "gpu_reading", "lab", "report", "region", "artifacts", "catalog", "cli"},
    "nomad": {"region"},
    "platformdirs": {"settings"},
    "pydantic": {"inventory"},
    "pydantic_core": {"inventory"},
    "pynvml": {"remote"},
    "requests": {"region", "secrets"},
    "rich": {"cli", "ui"},
    "sqlalchemy": {"catalog"},
    "tenacity": {"retrying", "region", "artifacts"},
    "typer": {"cli"},
    "typing_extensions": {"inventory"},
    "yaml": {"inventory"},
}
"""Foreign libraries, and the only rooms that import them."""

ON_HOSTS: Final = ("remote.gpu_probe", "lab.standins.")
"""Programs that run on hosts, or stand for such."""


@dataclass(frozen=True)
class Source:
    """A module of ours: its dotted name below the package, and what it imports."""

    name: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]

    @property
    def imported(self) -> set[str]:
        """Every module that is imported, in full."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name} imports relatively"
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
        return found

    @property
    def rooms_used(self) -> set[str]:
        """The rooms of ours that it uses, other than its own."""
        names = (name.split(".") for name in self.imported if name.split(".")[0] == "ionetctl")
        rooms = {name[1] if len(name) > 1 and name[1] in rooms_of_package() else "__init__" for name in names}
        return rooms - {self.room}

    @property
    def libraries_used(self) -> set[str]:
        """The foreign libraries that it imports."""
        tops = {name.partition(".")[0] for name in self.imported}
        return tops - set(sys.stdlib_module_names) - {"ionetctl", "__future__"}

    @property
    def attributes_read(self) -> set[str]:
        """Every ``name.attribute`` and ``….attribute`` in it."""
        nodes = [node for node in ast.walk(self.tree) if isinstance(node, ast.Attribute)]
        return {f"{n.value.id if isinstance(n.value, ast.Name) else '…'}.{n.attr}" for n in nodes}


@cache
def sources() -> tuple[Source, ...]:
    """Every module of the package."""
    return tuple(_read(path) for path in sorted(PACKAGE.rglob("*.py")))


def _read(path: Path) -> Source:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    name = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)
    return Source(name, ast.parse(path.read_text()))


@cache
def rooms_of_package() -> frozenset[str]:
    return frozenset(source.room for source in sources())


def depth(room: str) -> int:
    return next(number for number, line in enumerate(LAYERS) if room in line.split())


def may_use(user: str, used: str) -> bool:
    """Whether one room may import another."""
    return depth(user) < depth(used) or (user, used) in BESIDE


def test_every_room_has_its_layer() -> None:
    """A new module has to be given a place, and one that is gone leaves the table."""
    assert sorted(room for line in LAYERS for room in line.split()) == sorted(rooms_of_package())


@pytest.mark.parametrize("source", sources(), ids=lambda source: source.name)
def test_imports_point_down(source: Source) -> None:
    """No module knows what stands above or beside it."""
    assert {used for used in source.rooms_used if not may_use(source.room, used)} == set()


def test_neighbours_that_are_allowed_are_used() -> None:
    """An exception that nobody needs any more is no exception."""
    used = {(source.room, other) for source in sources() for other in source.rooms_used}
    assert BESIDE - used == set()


def test_foreign_libraries_have_their_owners() -> None:
    """Each library is imported by the rooms that it belongs to, and by no other."""
    used = {(library, source.room) for source in sources() for library in source.libraries_used}
    allowed = {(library, room) for library, rooms in OWNERS.items() for room in rooms}
    assert (used - allowed, allowed - used) == (set(), set())


def test_product_does_without_its_rehearsal() -> None:
    """Only the commands know the lab: nothing that enrols real hosts does."""
    assert {source.room for source in sources() if "lab" in source.rooms_used} == {"cli"}


def test_environment_is_read_by_settings_alone() -> None:
    """Whatever the environment says comes from one place; what runs on hosts has theirs."""
    ways = {"os.environ", "os.environb", "os.getenv"}
    reading = {source.name for source in sources() if (source.attributes_read | source.imported) & ways}
    assert {name for name in reading if not name.startswith(ON_HOSTS)} == {"settings"}


def test_secrets_are_revealed_at_the_edge() -> None:
    """Only who hands a secret to a library sees it, and who hands the way to it there; no core, no screen."""
    seeing = {
        source.room
        for source in sources()
        if any(read.endswith(".reveal") for read in source.attributes_read)
    }
    assert seeing == {"secrets", "transport", "site", "standing", "enrollment", "inspecting"}


@pytest.mark.parametrize("source", sources(), ids=lambda source: source.name)
def test_modules_say_what_they_are(source: Source) -> None:
    """A module is named after what it knows, and its docstring says it."""
    words = set(source.name.replace(".", "_").split("_"))
    assert words & {"util", "utils", "helper", "helpers", "misc", "common", "manager"} == set()
    assert ast.get_docstring(source.tree)
