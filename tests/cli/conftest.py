"""The command line as users start it: a process of its own, with a state directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """Standard output as JSON."""
        return msgspec.json.decode(self.stdout)


class RunIonetctl(Protocol):
    """Runs ``ionetctl`` with arguments, standard input and further variables."""

    def __call__(self, *arguments: str, stdin: str = "", **variables: str) -> Ended: ...


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing of the user's own environment but where programs are."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "IONETCTL_STATE_DIR": str(tmp_path / "state"),
        "IONETCTL_CACHE_DIR": str(tmp_path / "cache"),
    }


@pytest.fixture
def ionetctl(environment: dict[str, str]) -> RunIonetctl:
    """Runs ``ionetctl`` without a terminal."""

    def run(*arguments: str, stdin: str = "", **variables: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "ionetctl", *arguments],
            input=stdin,
            env=environment | variables,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Writes a file below the test's own directory and returns its path."""

    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write_file
