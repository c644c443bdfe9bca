"""The tutorial of the first rehearsal, typed as it stands: each command prints what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.rehearsal.site import PATIENCE_S

if TYPE_CHECKING:
    from tests.rehearsal.conftest import NewAdmin

PAGE: Final = Path(__file__).parents[2] / "docs" / "tutorials" / "first-rehearsal.md"
VARYING: Final = {
    r"\d{8}T\d{6}-\w{6}": "ROLLOUT",
    r"\d{4}-\d\d-\d\dT[\d:.]+Z": "TIME",
    r"\b\d+ s ago": "N s ago",
    r"\bin [\d.]+ s\b": "in N s",
    r"\b[0-9a-f]{16}-[0-9a-f]{12}\b": "STAMP",
    r"\b[0-9a-f]{8}\b": "ID",
    r"[ \t]+$": "",
}
"""What is another at every run, by pattern."""


def steps() -> list[tuple[str, str]]:
    """Every command of the page with the output that is shown for it."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def settled(output: str) -> str:
    """An output without what varies."""
    for pattern, name in VARYING.items():
        output = re.sub(pattern, name, output, flags=re.MULTILINE)
    return output


def test_commands_print_what_the_page_shows(new_admin: NewAdmin, tmp_path: Path) -> None:
    """All of them in order, on a fleet that is up from the first to the last."""
    admin = new_admin()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    printed = []
    try:
        for command, _ in steps():
            done = subprocess.run(
                ["sh", "-c", command],
                cwd=tmp_path,
                env=admin.environment() | {"PATH": path},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                timeout=PATIENCE_S,
                check=False,
            )
            printed.append((command, settled(done.stdout.replace(str(tmp_path), "/home/you/rehearsal"))))
    finally:
        admin.run("lab", "down", f"--dir={tmp_path}/lab")
    assert printed == [(command, settled(output)) for command, output in steps()]


def test_page_is_a_whole_rehearsal() -> None:
    """It has commands from the first to the last step."""
    commands = [command for command, _ in steps()]
    assert (commands[0].split()[:3], commands[-1]) == (
        ["ionetctl", "lab", "up"],
        "ionetctl lab down --dir lab",
    )
