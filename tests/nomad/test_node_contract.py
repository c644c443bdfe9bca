"""A node held, marked and released, in the lab's region and in a real Nomad: both must take it alike."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import RegionError
from ionetctl.host.planned_host import Mark
from ionetctl.host.release_node import held, is_released, marks, release
from ionetctl.lab.certificates import issue, new_authority
from tests.e2e.real_node import RealNode
from tests.e2e.real_region import Address, nomad_binary
from tests.lab.running import RIGHTS, RunningRegion, new_rig, running_region
from tests.nomad.test_region_contract import NO_NODE, LoopbackRegion, Place, free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from ionetctl.core.model.names import NodeId
    from ionetctl.core.model.node import NodeDetail
    from ionetctl.nomad import NomadRegion

SHOWS_WITHIN_S = 30.0
POLL_S = 0.1


class RegionWithClients(LoopbackRegion):
    """A real region that also has a client's certificate at hand."""

    def _write_pki(self) -> None:
        authority = new_authority(f"{self.name} test CA")
        authority.write(self.directory / "ca.pem", self.directory / "ca-key.pem")
        for role in ("server", "cli", "client"):
            pair = issue(authority, f"{role}.{self.name}.nomad")
            pair.write(self.directory / f"{role}.pem", self.directory / f"{role}-key.pem")


async def keep_time(lab: RunningRegion) -> None:
    """What the lab's region process does while it runs."""
    while True:
        lab.state.update(time.time())
        await asyncio.sleep(POLL_S)


@contextlib.asynccontextmanager
async def lab_with_a_node(directory: Path) -> AsyncIterator[Place]:
    async with running_region(directory / "pki") as lab:
        rig = new_rig(directory, "rig-1", lab)
        rig.configure(meta='ionet_admission = "held"')
        config = rig.tree / "etc/nomad.d/nomad.hcl"
        config.write_text(config.read_text().replace("client {\n", "client {\n  default_ineligible = true\n"))
        rig.introduce(await lab.introduce("rig-1"))
        tasks = [asyncio.create_task(rig.agent().run()), asyncio.create_task(keep_time(lab))]
        try:
            nodes_alone = lab.state.add_token(
                "nodes", [right for right in RIGHTS if not right.endswith("-job")]
            )
            yield Place(lab.pki, lab.api_url, nodes_alone, lab.token)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(params=["lab", pytest.param("nomad", marks=pytest.mark.nomad)])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """A region with one node that came up ineligible."""
    if request.param == "lab":
        async with lab_with_a_node(tmp_path) as lab:
            yield lab
        return
    program = nomad_binary()
    if program is None or os.geteuid() != 0:
        pytest.skip("no nomad on PATH and no IONETCTL_TEST_NOMAD, or no root, which a client needs")
    http, rpc, serf, client_http = free_ports(4)
    with RegionWithClients(program, tmp_path / "region", Address("127.0.0.1", http, rpc, serf)) as real:
        (tmp_path / "client").mkdir()
        with RealNode(program, real, tmp_path / "client", client_http):
            yield Place(real.directory, real.api, real.token, real.management_token)


async def until(told: Callable[[], Awaitable[bool]], what: str) -> None:
    """Return once it is so."""
    deadline = time.monotonic() + SHOWS_WITHIN_S
    while not await told():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(POLL_S)


async def only_node(region: NomadRegion) -> NodeId:
    """The node, once it is ready."""

    async def is_ready() -> bool:
        return [view.status for view in await region.nodes()] == ["ready"]

    await until(is_ready, "the node is ready")
    [view] = await region.nodes()
    return view.id


async def detail_of(region: NomadRegion, node: NodeId) -> NodeDetail:
    detail = await region.node(node)
    assert detail is not None
    return detail


async def admission_shows(region: NomadRegion, node: NodeId, admission: str) -> None:
    """Wait until the servers have heard of it."""

    async def shows() -> bool:
        return (await detail_of(region, node)).meta.get("ionet_admission") == admission

    await until(shows, f"the admission {admission!r} shows")


async def test_node_is_held_marked_and_released_alike(place: Place) -> None:
    """Ineligible from its first registration, found by its mark, eligible at once, marked some seconds later."""
    async with place.open() as region:
        node = await only_node(region)
        first = await detail_of(region, node)
        assert (first.view.eligibility, first.meta["ionet_admission"]) == ("ineligible", "held")
        assert (await held(region, by_region=True), await marks(region)) == (
            frozenset({node}),
            {node: Mark.HELD},
        )

        await region.annotate(
            node, {"ionet_admission": "flawed: gpu_lost", "ionet_admission_reason": "GPU 2"}
        )
        await admission_shows(region, node, "flawed: gpu_lost")
        assert (await held(region), await held(region, by_region=True)) == (frozenset({node}), frozenset())

        assert not await is_released(region, node)
        assert await release(region, first.view) is None
        assert await is_released(region, node)
        assert (await detail_of(region, node)).view.eligibility == "eligible"
        await admission_shows(region, node, "released")
        assert "ionet_admission_reason" not in (await detail_of(region, node)).meta
        assert await marks(region) == {}

        await region.annotate(node, {"ionet_admission": None})
        await until(lambda: is_unmarked(region, node), "a mark that was taken away is gone")
        assert await marks(region) == {node: Mark.NONE}
        assert await region.node(NO_NODE) is None
        for change in (
            region.set_eligibility(NO_NODE, is_eligible=True),
            region.drain(NO_NODE, None, {}),
            region.evaluate(NO_NODE),
            region.metadata(NO_NODE),
        ):
            with pytest.raises(RegionError) as unknown:
                await change
            assert unknown.value.code == "node_unknown"


async def is_unmarked(region: NomadRegion, node: NodeId) -> bool:
    """Null takes away what the configuration says, too."""
    return "ionet_admission" not in (await detail_of(region, node)).meta


async def test_what_a_node_does_is_told_alike(place: Place) -> None:
    """What it has, and uses by way of the servers; of an unknown node nothing. Jobs are told to who may read them."""
    async with place.open() as region:
        node = await only_node(region)
        use = await region.use(node)
        [view] = await region.nodes(with_devices=True)
        assert view.resources is not None
        has = view.resources.total
        assert min(view.resources.cpu_cores, has.cpu_mhz, has.disk_mib, has.memory_mib) > 0
        assert (use.memory_used_mib < use.memory_mib, use.disk_used_mib < use.disk_mib) == (True, True)
        assert (abs(has.memory_mib - use.memory_mib) <= 1, view.is_draining) == (True, False)
        excluded = await region.nodes('Meta["unique.ionet_excluded_by"] matches ".+"')
        assert (list(excluded), list(await region.allocations(node))) == ([], [])
        with pytest.raises(RegionError) as unknown:
            await region.use(NO_NODE)
        with pytest.raises(RegionError) as untold:
            await region.all_allocations()
    assert (unknown.value.code, untold.value.code) == ("node_disconnected", "region_forbidden")
    place.token = place.every_right
    async with place.open() as region:
        assert list(await region.all_allocations()) == []
