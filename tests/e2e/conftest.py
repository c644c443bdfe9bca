"""Real hosts, a real region and a stand-in for a driver as fixtures; where one cannot be had, its tests say why not."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.e2e.base_root import base_root, why_unavailable
from tests.e2e.machines import GATEWAY, Fleet
from tests.e2e.real_region import Address, RealRegion, device_plugin_binary, nomad_binary
from tests.nvml.library import build_nvml
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTS = 6


@pytest.fixture(scope="session", autouse=True)
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the run as SIGINT does, by an exception: the guests and regions that fixtures have are taken down."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def debian() -> Path:
    """The root file system of all hosts."""
    reason = why_unavailable()
    if reason is not None:
        pytest.skip(reason)
    try:
        return base_root()
    except RuntimeError as error:
        pytest.skip(f"no base system for real hosts: {error}")


@pytest.fixture(scope="module")
def fleet(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Six hosts that nobody has touched but the tests of this module."""
    assert debian.is_dir()
    with Fleet(HOSTS, tmp_path_factory.mktemp("hosts")) as hosts:
        yield hosts


@pytest.fixture(scope="session")
def nomad_program() -> str:
    """A real Nomad."""
    program = nomad_binary()
    if program is None:
        pytest.skip("no real Nomad: put one on PATH, or name it in IONETCTL_TEST_NOMAD")
    return program


@pytest.fixture(scope="session")
def device_plugin_program() -> str:
    """The real device plugin."""
    program = device_plugin_binary()
    if program is None:
        pytest.skip("no nomad-device-nvidia: put it on PATH, or name it in IONETCTL_TEST_DEVICE_PLUGIN")
    return program


@pytest.fixture(scope="module")
def real_region(
    fleet: Fleet, nomad_program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealRegion]:
    """A real region that the hosts of ``fleet`` can reach."""
    address = Address.in_namespace(GATEWAY, fleet.bridge_namespace)
    with RealRegion(nomad_program, tmp_path_factory.mktemp("region"), address) as region:
        yield region


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in for ``libnvidia-ml.so.1``."""
    needs("cc")
    return build_nvml(tmp_path_factory.mktemp("nvml"))
