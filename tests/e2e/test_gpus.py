"""GPUs on real hosts with a real Nomad and the real device plugin, over a library that stands for the driver."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ionetctl.lab.gpus import CATALOGUE, cards
from tests.e2e.cards import install_driver, write_cards
from tests.e2e.machines import GATEWAY, Fleet
from tests.e2e.real_region import Address, RealRegion
from tests.e2e.site import NOMAD_VERSION, PLUGIN_VERSION, Site, write_release

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.nomad, pytest.mark.timeout(600)]

RTX_4090 = CATALOGUE[0]


@pytest.fixture(scope="module")
def gpu_site(
    debian: Path,
    nomad_program: str,
    device_plugin_program: str,
    nvml_library: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """Two hosts with four cards each, in a real region."""
    assert debian.is_dir()
    directory = tmp_path_factory.mktemp("gpus")
    write_release(directory / "mirror", "nomad", NOMAD_VERSION, Path(nomad_program))
    write_release(directory / "mirror", "nomad-device-nvidia", PLUGIN_VERSION, Path(device_plugin_program))
    with Fleet(2, tmp_path_factory.mktemp("gpu-hosts")) as fleet:
        for machine in fleet.machines:
            install_driver(machine, nvml_library, cards(RTX_4090, machine.name, 4))
        address = Address.in_namespace(GATEWAY, fleet.bridge_namespace)
        with RealRegion(nomad_program, directory / "region", address) as region:
            site = Site(fleet, region, directory, gpus={"model": "rtx-4090", "count": 4})
            site.write(fleet.machines, reserve={"gpus": ["3"]})
            yield site


def test_region_sees_the_promised_gpus(gpu_site: Site) -> None:
    """Enrolled means that the region's Nomad lists the cards, less the one that is held back."""
    done = gpu_site.enroll("--batch-size", "100%")
    assert (done.exit_code, [host["gpus"] for host in done.document["hosts"]]) == (
        0,
        [{"expected": 3, "seen": 3}] * 2,
    ), done.stderr
    assert gpu_site.enroll().document["summary"]["unchanged"] == 2
    assert gpu_site.run("status", "-o", "json").document["summary"]["gpus"] == {"nvidia.rtx.4090.24gb": 6}


def test_lost_card_is_named_before_anything_is_changed(gpu_site: Site) -> None:
    """A card that fell off the bus keeps its host out of the rollout; the others are as they were."""
    first, second = gpu_site.fleet.machines
    all_four = cards(RTX_4090, first.name, 4)
    write_cards(first, all_four, lost={2})
    done = gpu_site.enroll()
    write_cards(first, all_four)
    assert (done.exit_code, done.codes) == (5, {first.name: "gpu_count_mismatch"}), done.stderr
    assert done.outcomes[second.name] == "unchanged"
