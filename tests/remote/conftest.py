"""A rehearsal host for every shell that real hosts have as ``sh``."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.remote.rehearsal import Host, make_host

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["dash", "bash", "busybox"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return make_host(tmp_path, request.param)


@pytest.fixture
def one_host(tmp_path: Path) -> Host:
    """A host whose ``sh`` is whatever is at hand: for what does not depend on the shell."""
    return make_host(tmp_path, next(name for name in ("dash", "bash") if shutil.which(name)))
