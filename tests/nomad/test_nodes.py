"""What is asked of one node, and done to it: its details, its eligibility, its metadata."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import RegionError
from ionetctl.core.model.names import NodeId
from ionetctl.nomad import CallLimits, NomadRegion
from ionetctl.nomad.http import CONNECTIONS
from tests.nomad.test_node_contract import until
from tests.support.clock import ManualClock
from tests.support.region_server import EU, TOKEN, Answer, RegionSite, ScriptedApi, recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

GPU3 = NodeId("bfbc1015-4058-f3b4-baef-e92ffc4ecb53")
NODE = f"/v1/node/{GPU3}"
METADATA = "/v1/client/metadata"
NODES = "/v1/nodes"
WELL = Answer([])
DOWN = Answer(b"rpc error: EOF", 500)


@asynccontextmanager
async def asking(
    directory: Path, answers: Mapping[str, Sequence[Answer]], limits: CallLimits | None = None
) -> AsyncIterator[tuple[NomadRegion, ScriptedApi]]:
    """A region that answers so, and what it saw."""
    site = RegionSite(directory)
    async with (
        site.serving(answers) as (url, api),
        NomadRegion.open(site.settings(url), site.reveal, limits, ManualClock().sleep) as region,
    ):
        yield region, api


async def test_node_is_read_as_recorded(tmp_path: Path) -> None:
    """A whole node has what its row in the list has, and meta and attributes besides."""
    name = "node: detail with GPUs"
    async with asking(tmp_path, {NODE: [Answer.recorded(name)]}) as (region, api):
        detail = await region.node(GPU3)
    recorded = recording(name)["response"]["body"]
    assert detail is not None
    assert (detail.view.id, detail.view.name, detail.view.gpu_count) == (GPU3, "gpu3", 3)
    assert (detail.meta, detail.attributes["nomad.version"]) == (recorded["Meta"], "2.0.5")
    assert [(seen.method, seen.query, seen.token) for seen in api.seen] == [("GET", {"region": EU}, TOKEN)]


async def test_node_that_is_not_known_is_none(tmp_path: Path) -> None:
    """No error: whoever asks may know better than the region."""
    async with asking(tmp_path, {NODE: [Answer.recorded("node: not found")]}) as (region, _):
        assert await region.node(GPU3) is None


async def test_runtimes_of_docker_are_read(tmp_path: Path) -> None:
    """Its driver lists them in one attribute; where Docker is not detected nobody knows any."""
    driver = {"Healthy": True, "Detected": True, "Attributes": {"driver.docker.runtimes": "runc,nvidia"}}
    bodies = [
        {"ID": GPU3, "Name": "g", "Datacenter": "d", "Status": "ready", "SchedulingEligibility": "eligible"}
        | {"Drivers": drivers}
        for drivers in ({"docker": driver}, {"docker": {"Detected": False}}, {})
    ]
    async with asking(tmp_path, {NODE: [Answer(body) for body in bodies]}) as (region, _):
        details = [await region.node(GPU3) for _ in bodies]
    assert [detail and detail.view.docker_runtimes for detail in details] == [("nvidia", "runc"), None, None]


@pytest.mark.parametrize(("is_eligible", "word"), [(True, "eligible"), (False, "ineligible")])
async def test_eligibility_is_set(tmp_path: Path, *, is_eligible: bool, word: str) -> None:
    """By Nomad's own words, for this region."""
    answers = {f"{NODE}/eligibility": [Answer.recorded(f"node: make {word}")]}
    async with asking(tmp_path, answers) as (region, api):
        await region.set_eligibility(GPU3, is_eligible=is_eligible)
    (seen,) = api.seen
    assert (seen.method, json.loads(seen.body), seen.query) == (
        "POST",
        {"NodeID": GPU3, "Eligibility": word},
        {"region": EU},
    )


async def test_metadata_is_changed(tmp_path: Path) -> None:
    """What is taken away is null; the node is named in the query, by which servers find their way to it."""
    meta = {"ionet_admission": "released", "ionet_admission_reason": None}
    answer = Answer({"Dynamic": {}, "Meta": {}, "Static": {}})
    async with asking(tmp_path, {METADATA: [answer]}) as (region, api):
        await region.annotate(GPU3, meta)
    (seen,) = api.seen
    assert (seen.method, json.loads(seen.body), seen.query) == (
        "POST",
        {"NodeID": GPU3, "Meta": meta},
        {"node_id": GPU3, "region": EU},
    )


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(b"No path to node", 404), "node_disconnected"),
        (Answer(b"Permission denied", 403), "region_forbidden"),
    ],
)
async def test_metadata_that_cannot_be_changed(tmp_path: Path, answer: Answer, code: str) -> None:
    """A node whose agent does not run is no fault of the region."""
    async with asking(tmp_path, {METADATA: [answer]}) as (region, _):
        with pytest.raises(RegionError) as caught:
            await region.annotate(GPU3, {"ionet_admission": "held"})
    assert caught.value.code == code


async def test_node_that_may_not_be_looked_at_is_an_error(tmp_path: Path) -> None:
    """That it is not shown does not mean that it is not there."""
    async with asking(tmp_path, {NODE: [Answer.recorded("nodes: no token")]}) as (region, _):
        with pytest.raises(RegionError) as caught:
            await region.node(GPU3)
    assert caught.value.code == "region_forbidden"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"can not set node's scheduling eligibility to eligible while it is draining", "node_draining"),
        (b"rpc error: node not found", "node_unknown"),
    ],
    ids=["draining", "purged"],
)
async def test_refusal_for_the_sake_of_one_node_is_not_repeated(
    tmp_path: Path, text: bytes, code: str
) -> None:
    """Nomad answers such with the status of a failure; the region is well."""
    async with asking(tmp_path, {f"{NODE}/eligibility": [Answer(text, 500)]}) as (region, api):
        with pytest.raises(RegionError) as caught:
            await region.set_eligibility(GPU3, is_eligible=True)
    assert (caught.value.code, len(api.seen)) == (code, 1)


@pytest.mark.parametrize("knows", [True, False])
async def test_server_that_has_not_heard_of_a_new_node_yet_is_asked_again(
    tmp_path: Path, *, knows: bool
) -> None:
    """A follower answers what is relayed; where it stays so, the node is unknown."""
    known = Answer({"Dynamic": {}, "Meta": {}, "Static": {}})
    unheard = Answer(f"Unknown node {GPU3}".encode(), 500)
    answers = {METADATA: [unheard, known if knows else unheard]}
    async with asking(tmp_path, answers, CallLimits(attempts=3)) as (region, api):
        if knows:
            await region.metadata(GPU3)
        else:
            with pytest.raises(RegionError, match="Unknown node") as caught:
                await region.metadata(GPU3)
            assert caught.value.code == "node_unknown"
    assert len(api.seen) == (2 if knows else 3)


@pytest.mark.parametrize(
    ("about_node", "of_region", "code"),
    [
        (DOWN, WELL, "node_failing"),
        (DOWN, DOWN, "region_failing"),
        (Answer(status=0), WELL, "node_silent"),
        (Answer(status=0), DOWN, "region_failing"),
    ],
    ids=["failing node", "failing region", "silent node", "silent node of a failing region"],
)
async def test_region_is_at_fault_only_where_it_does_not_answer_otherwise(
    tmp_path: Path, about_node: Answer, of_region: Answer, code: str
) -> None:
    """One sick node costs itself alone."""
    limits = CallLimits(attempts=3, relayed_s=0.2)
    async with asking(tmp_path, {METADATA: [about_node], NODES: [of_region]}, limits) as (region, api):
        with pytest.raises(RegionError) as caught:
            await region.metadata(GPU3)
    tries = sum(seen.path == METADATA for seen in api.seen)
    assert (caught.value.code, tries) == (code, 3 if about_node is DOWN else 1)


@pytest.mark.parametrize("what", ["drain", "evaluate", "eligibility", "allocations", ""])
async def test_every_call_about_a_node_tells_its_fault_from_the_regions(tmp_path: Path, what: str) -> None:
    """Those that the servers answer by themselves, too."""
    path = f"{NODE}/{what}".rstrip("/")
    calls: dict[str, Callable[[NomadRegion], Awaitable[object]]] = {
        "drain": lambda region: region.drain(GPU3, None, {}),
        "evaluate": lambda region: region.evaluate(GPU3),
        "eligibility": lambda region: region.set_eligibility(GPU3, is_eligible=False),
        "allocations": lambda region: region.allocations(GPU3),
        "": lambda region: region.node(GPU3),
    }
    async with asking(tmp_path, {path: [DOWN], NODES: [WELL]}, CallLimits(attempts=2)) as (region, _):
        with pytest.raises(RegionError) as caught:
            await calls[what](region)
    assert caught.value.code == "node_failing"


async def test_agents_that_hang_leave_a_connection_to_other_calls(tmp_path: Path) -> None:
    """However many of them are waited for."""
    answers = {METADATA: [Answer(status=0)], NODES: [WELL]}
    async with asking(tmp_path, answers, CallLimits(relayed_s=600.0, silence_s=600.0)) as (region, api):
        hanging = [asyncio.create_task(region.metadata(GPU3)) for _ in range(CONNECTIONS + 1)]

        async def are_waiting() -> bool:
            return len(api.seen) >= CONNECTIONS - 1

        await until(are_waiting, "the agents are waited for")
        assert await region.nodes() == []
        for each in hanging:
            each.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
