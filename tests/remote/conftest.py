"""A rehearsal host for every shell that real hosts have as ``sh``."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.remote.preparing import make_debian
from tests.remote.rehearsal import Host, make_host
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory where there is one: the scripts flush what they write, and disks are slow at that."""
    in_memory = os.access(MEMORY, os.W_OK) and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    with tempfile.TemporaryDirectory(dir=MEMORY if in_memory else None, ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(params=["dash", "bash", "busybox"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    needs(request.param)
    return make_host(tmp_path, request.param)


@pytest.fixture
def one_host(tmp_path: Path) -> Host:
    """A host whose ``sh`` is whatever is at hand: for what does not depend on the shell."""
    return make_host(tmp_path, next(name for name in ("dash", "bash") if shutil.which(name)))


@pytest.fixture
def debian(host: Host) -> Host:
    """A bare Debian host of the inventory's, with a card and no firewall."""
    return make_debian(host)
