"""What ``--help`` says of every command, and the inventory's JSON Schema, to the letter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest
import typer
from typer.testing import CliRunner

from ionetctl.cli.app import app
from tests.goldens.golden import compare, remove_others

if TYPE_CHECKING:
    from collections.abc import Iterator

# Rich takes size, colour and box from these; a dumb terminal has 80 columns unless both measures are given.
PLAIN: Final = {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "100", "LINES": "50"}


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and group; none for the root."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


PATHS: Final = tuple(walk(typer.main.get_command(app)))


def golden(path: tuple[str, ...]) -> str:
    """The file that holds a command's help."""
    return f"{'-'.join(('ionetctl', *path))}.txt"


@pytest.mark.parametrize("path", PATHS, ids=golden)
def test_help(path: tuple[str, ...]) -> None:
    """Arguments, options, variables, defaults and texts of a command are those of its golden."""
    shown = CliRunner().invoke(app, [*path, "--help"], env=PLAIN, prog_name="ionetctl")
    assert shown.exit_code == 0, shown.output
    compare(f"help/{golden(path)}", re.sub(" +$", "", shown.stdout, flags=re.MULTILINE))


def test_no_golden_is_left_of_a_command_that_is_gone() -> None:
    """Each golden belongs to a command that exists."""
    remove_others("help", {golden(path) for path in PATHS})


def test_inventory_schema() -> None:
    """Editors complete and check inventories with this."""
    shown = CliRunner().invoke(app, ["inventory", "schema"], env=PLAIN)
    assert shown.exit_code == 0, shown.output
    compare("inventory.schema.json", shown.stdout)
