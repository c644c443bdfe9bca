"""The wheel carries all that an installed ionetctl needs."""

from __future__ import annotations

import email
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """A freshly built wheel."""
    place = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(place.glob("*.whl"))) as built:
        yield built


@pytest.fixture(scope="module")
def wheel_names(wheel: zipfile.ZipFile) -> frozenset[str]:
    """The names in it."""
    return frozenset(wheel.namelist())


def names_below(folder: str, suffixes: Iterable[str]) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for suffix in suffixes
        for path in (ROOT / folder).rglob(f"*{suffix}")
        if path.is_file()
    }


def test_wheel_carries_the_templates(wheel_names: frozenset[str]) -> None:
    """Every template is in the package."""
    assert {f"ionetctl/{name}" for name in names_below("templates", [".j2", ".hcl"])} - wheel_names == set()


def test_wheel_carries_the_scripts_and_stand_ins(wheel_names: frozenset[str]) -> None:
    """What runs on hosts, and what stands in for them in the rehearsal, travels along."""
    wanted = names_below("ionetctl/remote", [".sh"]) | names_below("ionetctl/lab/standins", [""])
    assert {name for name in wanted if "__pycache__" not in name} - wheel_names == set()


def test_wheel_carries_the_page_of_errors(wheel_names: frozenset[str]) -> None:
    """What ``ionetctl explain`` reads."""
    assert "ionetctl/docs/reference/errors.md" in wheel_names


def test_wheel_is_typed(wheel_names: frozenset[str]) -> None:
    """Whoever imports it gets its types."""
    assert "ionetctl/py.typed" in wheel_names


def test_wheel_carries_no_tests(wheel_names: frozenset[str]) -> None:
    """Tests stay in the repository."""
    assert {name for name in wheel_names if name.startswith("tests/")} == set()


def test_keyring_is_an_extra(wheel: zipfile.ZipFile, wheel_names: frozenset[str]) -> None:
    """The library for keyrings is installed by those who use one; everything else is required."""
    (name,) = (name for name in wheel_names if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(name))
    required = metadata.get_all("Requires-Dist", [])
    assert metadata.get_all("Provides-Extra") == ["keyring"]
    assert sorted(line for line in required if "extra" in line) == ["keyring>=25.5; extra == 'keyring'"]
