"""What users copy from examples/ works: inventories load, pipelines are YAML, commands and options exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from ionetctl.core.errors import ExitCode
from ionetctl.inventory.load import load_inventory
from tests.cli.test_documented import untypable

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
FILES: Final = sorted(path for path in EXAMPLES.iterdir() if path.name != "README.md")
SHELL_WORDS: Final = re.compile(r" (?:>|\|\||&&|;|#) ?.*")


def command_lines(text: str) -> Iterator[list[str]]:
    """Every line that runs ionetctl, up to where its output goes."""
    for line in re.findall(r"^[\s-]*(?:run: |\$ )?(ionetctl .*)$", text, re.MULTILINE):
        yield shlex.split(SHELL_WORDS.sub("", line))


COMMANDS: Final[list[Any]] = [
    pytest.param(words, id=f"{path.name}: {' '.join(words)}")
    for path in EXAMPLES.iterdir()
    for words in command_lines(path.read_text())
]


def test_every_example_is_introduced() -> None:
    """The folder's README names each file, and no other."""
    named = re.findall(r"^\| \[`([^`]+)`\]\(\1\) \|", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted(named) == [path.name for path in FILES]


def test_inventory_loads() -> None:
    """The two racks are what they say they are."""
    inventory = load_inventory(str(EXAMPLES / "two-racks.yaml"))
    assert {rack: sum(host.rack == rack for host in inventory.hosts) for rack in ("a01", "b07")} == {
        "a01": 16,
        "b07": 2,
    }


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.suffix == ".yml"], ids=lambda path: path.name
)
def test_pipeline_is_well_formed(path: Path) -> None:
    """It is YAML with a job in it."""
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_script_satisfies_shellcheck() -> None:
    """As POSIX sh."""
    checker = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([checker, *EXAMPLES.glob("*.sh")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_exist(words: list[str]) -> None:
    """Command and options can be typed."""
    assert untypable(words) == []


def test_commands_were_found() -> None:
    """The search above sees the command lines of all kinds of files."""
    found = {path.suffix for path in EXAMPLES.iterdir() if list(command_lines(path.read_text()))}
    assert found == {".md", ".sh", ".yml"}


def test_pipelines_name_real_exit_codes() -> None:
    """What a pipeline lets pass is what ionetctl ends with."""
    pipeline = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())
    passing = {name: pipeline[name]["allow_failure"]["exit_codes"] for name in ("plan", "enroll")}
    assert passing == {"plan": [ExitCode.CHANGES], "enroll": [ExitCode.UNREACHABLE]}
