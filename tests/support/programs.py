"""Programs of the machine that tests run: a test that needs one which is absent is skipped, and the program named."""

from __future__ import annotations

import os
import shutil
from typing import Final

import pytest

_SEARCH_PATH: Final = os.pathsep.join(
    (os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin")
)
"""A plain user's PATH often lacks the folders for administrators, whose programs can still be started."""


def path_of(program: str) -> str | None:
    """Where the program is on this machine; ``None`` where it is absent."""
    return shutil.which(program, path=_SEARCH_PATH)


def needs(program: str, *others: str) -> str:
    """Return the path of ``program``; skips the running test, or the tests of the running fixture, without all of them."""
    missing = [name for name in (program, *others) if path_of(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} on this machine")
    return str(path_of(program))
