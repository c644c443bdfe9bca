"""A region in the test process, and a host whose agent can register with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.running import Rig, RunningRegion, new_rig, running_region

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[RunningRegion]:
    async with running_region(tmp_path / "pki") as region:
        yield region


@pytest.fixture
async def rig(tmp_path: Path, region: RunningRegion) -> Rig:
    """A rig with a valid introduction token; many tests spoil one part of it."""
    rig = new_rig(tmp_path, "rig-1", region)
    rig.introduce(await region.introduce("rig-1"))
    return rig
