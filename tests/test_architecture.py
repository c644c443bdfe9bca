"""The architecture is what ``ls`` shows: few folders, imports that point down, names that stand for one thing.

Read from the source by ``ast``: what is imported inside functions and for types counts too. ``LAYERS`` has the order
of the folders, ``OWNERS`` who alone may use a foreign library.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

import asyncssh
import pytest

from tests.structure import arrows, levels, rooms

PACKAGE: Final = Path(__file__).parents[1] / "ionetctl"

LAYERS: Final[tuple[str, ...]] = (
    "cli",
    "app lab",
    "maintenance",
    "ui report rollout",
    "host",
    "distribution placement verification",
    "plan facts summary inventory nomad ssh artifacts history",
    "checks credentials remote",
    "gpu mining",
    "core",
)
"""The folders from the top down. Those of one line do not know each other."""

LISTS: Final = {"app", "checks", "cli/commands"}
"""Folders that are lists by nature: a module per use case, subject or command."""
MOST_MODULES: Final = 14

SHARED_STEMS: Final[dict[str, str]] = {
    "audit": "summary ui",
    "capacity": "cli/commands summary",
    "certificates": "credentials lab",
    "enroll": "app cli/commands",
    "explain": "app cli/commands",
    "fleet": "checks summary ui",
    "gpus": "checks lab/faults/conditions",
    "inventory": "cli/commands core/model",
    "key_scan": "report summary ui",
    "machine": "checks lab/host",
    "mirror": "artifacts cli/commands",
    "node_list": "app summary ui/nodes",
    "nodes": "cli/commands history/catalog",
    "options": "cli rollout",
    "preflight": "cli/commands report",
    "probe": "cli/commands report ui",
    "process": "history/catalog lab/host lab/modelled lab/region",
    "region": "cli/commands report ui",
    "render": "app cli/commands",
    "settings": "core ssh",
    "store": "artifacts history/catalog",
    "system": "checks lab/faults/conditions",
    "update": "cli/commands maintenance",
    "verify": "app cli/commands",
}
"""Names of modules that more than one folder has, and those folders."""

OWNERS: Final[dict[str, set[str]]] = {
    "aiohttp": {"artifacts", "credentials", "lab", "nomad"},
    "asyncssh": {"ssh", "lab"},
    "cryptography": {"credentials", "nomad", "lab"},
    "httpx": {"artifacts"},
    "jinja2": {"plan"},
    "keyring": {"credentials"},
    "msgspec": {"artifacts", "cli", "core", "facts", "history", "lab", "nomad", "report"},
    "nomad": {"nomad"},
    "platformdirs": {"core"},
    "pydantic": {"inventory"},
    "pydantic_core": {"inventory"},
    "pynvml": {"remote"},
    "pysequoia": {"artifacts"},
    "requests": {"nomad"},
    "rich": {"cli", "ui"},
    "sqlalchemy": {"history"},
    "tenacity": {"artifacts", "credentials", "host", "nomad", "ssh"},
    "typer": {"cli"},
    "typing_extensions": {"inventory"},
    "yaml": {"inventory"},
    "zstandard": {"artifacts"},
}
"""Foreign libraries, and the only folders that import them."""

ON_HOSTS: Final = ("remote.gpu_probe", "lab.standins.")
"""Programs that run on hosts, or stand for such."""


@dataclass(frozen=True)
class Source:
    """A module of ours: its dotted name below the package, and what it imports."""

    name: str
    tree: ast.Module

    @property
    def folder(self) -> str:
        return self.name.partition(".")[0] if self.name.partition(".")[0] in folders() else ""

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
    def folders_used(self) -> set[str]:
        """The folders of ours that it uses, other than its own."""
        names = (name.split(".") for name in self.imported if name.split(".")[0] == "ionetctl")
        return {name[1] for name in names if len(name) > 1 and name[1] in folders()} - {self.folder}

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
def folders() -> frozenset[str]:
    """The folders that hold modules of ours."""
    return frozenset(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def depth(folder: str) -> int:
    return next(number for number, line in enumerate(LAYERS) if folder in line.split())


def test_only_folders_lie_at_the_top() -> None:
    """Whoever lists the package sees the architecture and nothing else."""
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert files == {"__init__.py", "__main__.py", "py.typed"}


def test_every_folder_has_its_layer() -> None:
    """A new folder has to be given a place, and one that is gone leaves the table."""
    assert sorted(folder for line in LAYERS for folder in line.split()) == sorted(folders())


def test_folders_stay_small() -> None:
    """A folder that grows beyond what one can take in is divided by subject."""
    sizes = {
        str(folder.relative_to(PACKAGE)): len([*folder.glob("*.py")])
        for folder in PACKAGE.rglob("*")
        if folder.is_dir()
    }
    assert {name for name, size in sizes.items() if size > MOST_MODULES and name not in LISTS} == set()


def test_names_of_modules_stand_for_one_thing() -> None:
    """Two folders share the name of a module only where the table says so."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        if not path.stem.startswith("__"):
            found[path.stem].add(str(path.parent.relative_to(PACKAGE)))
    shared = {stem: " ".join(sorted(places)) for stem, places in sorted(found.items()) if len(places) > 1}
    assert shared == SHARED_STEMS


def test_contributing_lists_every_module() -> None:
    """The table of folders is whole, and names nothing that is gone."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `([a-z_/]+)/` \| [^|]+ \| ([^|]*) \|$", text, re.MULTILINE)
    listed = {f"{folder}/{stem}" for folder, stems in rows for stem in re.findall(r"`(\w+)`", stems)}
    modules = {str(path.relative_to(PACKAGE).with_suffix("")) for path in PACKAGE.glob("*/**/*.py")}
    expected = {name for name in modules if not name.endswith("/__init__") and "standins" not in name}
    assert listed == expected


def test_structure_stays_simple() -> None:
    """Few rooms, few levels, few arrows: what grows beyond these is looked at again."""
    used = rooms()
    assert (len(used) <= 28, levels(used) <= 10, arrows(used) <= 96) == (True, True, True)


@pytest.mark.parametrize("source", sources(), ids=lambda source: source.name)
def test_imports_point_down(source: Source) -> None:
    """No module knows what stands in a folder above or beside its own."""
    allowed = {folder for folder in folders() if source.folder == "" or depth(source.folder) < depth(folder)}
    assert source.folders_used - allowed == set()


def test_foreign_libraries_have_their_owners() -> None:
    """Each library is imported by the folders that it belongs to, and by no other."""
    used = {(library, source.folder) for source in sources() for library in source.libraries_used}
    allowed = {(library, folder) for library, owners in OWNERS.items() for folder in owners}
    assert (used - allowed, allowed - used) == (set(), set())


def test_asyncssh_is_used_as_documented() -> None:
    """No module names what asyncssh does not export; of what it does, one module uses more than is documented."""
    exported = {name for name, what in vars(asyncssh).items() if not isinstance(what, ModuleType)}
    used = {
        source.name: {
            name.split(".")[1]
            for name in source.imported | source.attributes_read
            if name.startswith("asyncssh.")
        }
        for source in sources()
    }
    assert {name for name, names in used.items() if names - exported} == set()


def test_product_does_without_its_rehearsal() -> None:
    """Only the commands know the lab: nothing that enrols real hosts does."""
    assert {source.folder for source in sources() if "lab" in source.folders_used} == {"cli"}


def test_environment_is_read_by_settings_alone() -> None:
    """Whatever the environment says comes from one place; what runs on hosts has theirs."""
    ways = {"os.environ", "os.environb", "os.getenv"}
    reading = {source.name for source in sources() if (source.attributes_read | source.imported) & ways}
    assert {name for name in reading if not name.startswith(ON_HOSTS)} == {"core.settings"}


def test_secrets_are_revealed_at_the_edge() -> None:
    """Only who hands a secret to a library sees it, and who hands the way to it there; no core, no screen."""
    seeing = {
        source.folder
        for source in sources()
        if any(read.endswith(".reveal") for read in source.attributes_read)
    }
    assert seeing == {"app", "credentials", "ssh"}


@pytest.mark.parametrize("source", sources(), ids=lambda source: source.name)
def test_modules_say_what_they_are(source: Source) -> None:
    """A module is named after what it knows, and its docstring says it."""
    words = set(source.name.replace(".", "_").split("_"))
    assert words & {"util", "utils", "helper", "helpers", "misc", "common", "manager"} == set()
    assert ast.get_docstring(source.tree)
