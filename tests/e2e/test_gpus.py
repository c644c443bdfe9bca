"""GPUs on real hosts with a real Nomad and the real device plugin, over a library that stands for the driver."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.lab.host.nvidia_driver import GPU_MODELS, make_gpus
from tests.e2e.cards import hang_driver, install_driver, write_cards
from tests.e2e.machines import GATEWAY, Fleet
from tests.e2e.real_region import Address, RealRegion
from tests.e2e.site import NOMAD_VERSION, PLUGIN_VERSION, Site, write_release
from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.lab.host.nvidia_driver import Gpu
    from tests.e2e.machines import Machine

pytestmark = [pytest.mark.e2e, pytest.mark.nomad, pytest.mark.timeout(600)]

RTX_4090 = GPU_MODELS[0]
LOST_IS_KNOWN = {
    code: {"severity": "waived", "reason": "its riser is on order"}
    for code in ("gpu_lost", "gpu_count_mismatch")
}
"""A site that enrols hosts with a lost card: what the region then shows is another matter."""


def node_of(site: Site, machine: Machine) -> tuple[str, str]:
    """The eligibility of a machine's node, and what its metadata says of its admission, as the agent has it."""
    region = site.region
    assert isinstance(region, RealRegion)
    [node] = [one for one in region.nodes() if one["Name"] == machine.name]
    meta = region.call("GET", f"/v1/client/metadata?node_id={node['ID']}", token=region.token)["Meta"]
    return node["SchedulingEligibility"], meta["ionet_admission"]


def set_eligibility(site: Site, machine: Machine, eligibility: str) -> None:
    """What an admin does by hand."""
    region = site.region
    assert isinstance(region, RealRegion)
    [node] = [one for one in region.nodes() if one["Name"] == machine.name]
    region.call("POST", f"/v1/node/{node['ID']}/eligibility", {"Eligibility": eligibility})


def shown(site: Site, machine: Machine) -> list[str]:
    """The UUIDs that the region shows of a machine."""
    region = site.region
    assert isinstance(region, RealRegion)
    [node] = [one for one in region.nodes() if one["Name"] == machine.name]
    groups = node["NodeResources"]["Devices"] or []
    return [instance["ID"] for group in groups for instance in group["Instances"]]


@contextmanager
def inventory_of(site: Site, machine: Machine, **fields: Any) -> Iterator[None]:
    """An inventory of one machine alone; afterwards the usual one."""
    site.write([machine], reserve={"gpus": ["3"]}, **fields)
    try:
        yield
    finally:
        site.write(site.fleet.machines[:2], reserve={"gpus": ["3"]})


def hide_cards(site: Site, machine: Machine) -> list[Gpu]:
    """Enrol a machine whose lost card hides the others from the region; its cards as they should be."""
    four = make_gpus(RTX_4090, machine.name, 4)
    write_cards(machine, four, lost={2})
    done = site.enroll("--timeout", "20")
    assert (done.exit_code, done.codes) == (8, {machine.name: "gpu_count_mismatch"}), done.stderr
    assert node_of(site, machine) == ("ineligible", "short: gpu_count_mismatch")
    return four


@pytest.fixture(scope="module")
def gpu_site(
    debian: Path,
    nomad_program: str,
    device_plugin_program: str,
    nvml_library: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """Five hosts with four cards each, in a real region; the inventory has the first two."""
    assert debian.is_dir()
    directory = tmp_path_factory.mktemp("gpus")
    write_release(directory / "mirror", "nomad", NOMAD_VERSION, Path(nomad_program))
    write_release(directory / "mirror", "nomad-device-nvidia", PLUGIN_VERSION, Path(device_plugin_program))
    with Fleet(5, tmp_path_factory.mktemp("gpu-hosts")) as fleet:
        for machine in fleet.machines:
            install_driver(machine, nvml_library, make_gpus(RTX_4090, machine.name, 4))
        address = Address.in_namespace(GATEWAY, fleet.bridge_namespace)
        with RealRegion(nomad_program, directory / "region", address) as region:
            site = Site(fleet, region, directory, gpus={"model": "rtx-4090", "count": 4})
            site.write(fleet.machines[:2], reserve={"gpus": ["3"]})
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
    first, second = gpu_site.fleet.machines[:2]
    all_four = make_gpus(RTX_4090, first.name, 4)
    write_cards(first, all_four, lost={2})
    done = gpu_site.enroll()
    write_cards(first, all_four)
    assert (done.exit_code, done.codes) == (5, {first.name: "gpu_lost"}), done.stderr
    assert done.outcomes[second.name] == "unchanged"


def test_proved_nodes_may_have_jobs(gpu_site: Site) -> None:
    """They registered ineligible, and were released when the region showed their cards."""
    machines = gpu_site.fleet.machines[:2]
    assert [node_of(gpu_site, machine) for machine in machines] == [("eligible", "released")] * 2


def test_node_without_its_cards_is_held_until_verify_sees_them(gpu_site: Site) -> None:
    """A region that sees fewer cards than the probe keeps the node from jobs; when it sees them, verify lets it go."""
    machine = gpu_site.fleet.machines[2]
    verify = ("verify", str(gpu_site.inventory), "-o", "json")
    with inventory_of(gpu_site, machine, checks=LOST_IS_KNOWN):
        four = hide_cards(gpu_site, machine)
        short = gpu_site.run(*verify)
        write_cards(machine, four)
        machine.run("systemctl restart nomad.service")
        wait_until(lambda: len(shown(gpu_site, machine)) == 3, "the cards are back", timeout_s=60)
        looked = gpu_site.run(*verify, "--no-release")
        held = node_of(gpu_site, machine)
        done = gpu_site.run(*verify)
    assert [(one.exit_code, one.codes) for one in (short, looked, done)] == [
        (8, {machine.name: "gpu_count_mismatch"}),
        (8, {machine.name: "node_held"}),
        (0, {}),
    ]
    assert (held, node_of(gpu_site, machine)) == (
        ("ineligible", "short: gpu_count_mismatch"),
        ("eligible", "released"),
    )


def test_node_without_its_cards_is_held_until_enroll_proves_them(gpu_site: Site) -> None:
    """The next enroll restarts Nomad for it, sees the cards, and lets the node go."""
    machine = gpu_site.fleet.machines[3]
    with inventory_of(gpu_site, machine, checks=LOST_IS_KNOWN):
        write_cards(machine, hide_cards(gpu_site, machine))
        done = gpu_site.enroll()
        assert (done.exit_code, done.outcomes) == (0, {machine.name: "enrolled"}), done.stderr
        assert node_of(gpu_site, machine) == ("eligible", "released")
        again = gpu_site.enroll("--check")
    assert (again.exit_code, again.outcomes) == (0, {machine.name: "unchanged"}), again.stderr


def test_what_an_admin_decided_is_left_alone(gpu_site: Site) -> None:
    """A node that was released once and is ineligible now is nobody's to release but the admin's."""
    first = gpu_site.fleet.machines[0]
    set_eligibility(gpu_site, first, "ineligible")
    try:
        verified = gpu_site.run("verify", str(gpu_site.inventory), "-o", "json")
        enrolled = gpu_site.enroll()
        assert node_of(gpu_site, first) == ("ineligible", "released")
    finally:
        set_eligibility(gpu_site, first, "eligible")
    assert [(one.exit_code, one.codes) for one in (verified, enrolled)] == [
        (8, {first.name: "node_ineligible"})
    ] * 2


def test_lost_card_that_hides_all_after_a_restart_is_reported(gpu_site: Site) -> None:
    """A node that has jobs is not taken from them: it stays eligible, and is told short."""
    second = gpu_site.fleet.machines[1]
    four = make_gpus(RTX_4090, second.name, 4)
    write_cards(second, four, lost={1})
    restart = "systemctl restart nomad.service"
    second.run(restart)
    wait_until(lambda: not shown(gpu_site, second), "the cards are hidden", timeout_s=60)
    verified = gpu_site.run("verify", str(gpu_site.inventory), "-o", "json")
    node = node_of(gpu_site, second)
    write_cards(second, four)
    second.run(restart)
    assert (verified.exit_code, verified.codes) == (8, {second.name: "gpu_count_mismatch"})
    assert node == ("eligible", "released")


def test_start_that_hangs_in_the_driver_is_cut_off_and_named(gpu_site: Site) -> None:
    """The host is put back after the deadline, and the driver is said to be the cause."""
    machine = gpu_site.fleet.machines[4]
    known = {"driver_hanging": {"severity": "waived", "reason": "to see what its start does"}}
    hang_driver(machine)
    with inventory_of(gpu_site, machine, checks=known):
        done = gpu_site.enroll()
    assert (done.exit_code, done.codes) == (5, {machine.name: "driver_hanging"}), done.stderr
    assert (
        machine.run("systemctl is-active nomad.service; test ! -e /var/lib/ionet/lock").stdout == "inactive\n"
    )
