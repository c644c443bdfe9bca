"""The fixtures of mining systems: one for every row of the table, and sound scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ionetctl.mining.systems import SYSTEMS
from tests.mining import install

HERE = Path(__file__).parent
SCRIPTS = sorted(
    path
    for path in HERE.rglob("*")
    if path.is_file() and path.suffix != ".py" and path.read_bytes().startswith(b"#!/bin/sh\n")
)
SHELLCHECK = Path(sys.executable).parent / "shellcheck"


def test_every_known_system_has_a_fixture() -> None:
    """A row of the product's table comes with a folder of its name; ``plain`` is a rig without a system."""
    known = {name.lower() for name, system in SYSTEMS.items() if system.is_known}
    folders = {path.name for path in HERE.iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert (known | {"plain"}, folders - {"common"}) == (set(install.SYSTEMS), set(install.SYSTEMS))


@pytest.mark.parametrize("name", sorted(name for name in SYSTEMS if SYSTEMS[name].is_known))
def test_fixture_lies_where_the_table_says(name: str) -> None:
    """Its miner runs from one of the system's homes, and any of the system's signs is there."""
    system, layout = SYSTEMS[name], install.SYSTEMS[name.lower()]
    assert any(f"/{layout.miner}".startswith(home) for home in system.homes)
    folder = HERE / name.lower()
    assert any((folder / sign.lstrip("/")).exists() for sign in system.signs)
    assert not [
        command for command in system.stop_commands if not (folder / command.split()[0].lstrip("/")).exists()
    ]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(HERE)))
def test_shellcheck_is_content(path: Path) -> None:
    """Every script passes shellcheck as POSIX sh; what it sources lies on the rig."""
    argv = [str(SHELLCHECK), "--shell=sh", "--exclude=SC1091,SC2154", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
