"""What ``nodes list`` and ``nodes show`` say of nodes: the region's word beside catalog and inventory, over real TLS."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ionetctl.app import node_list
from ionetctl.app.node_list import WHOLE, read_nodes
from ionetctl.core import host_paths
from ionetctl.summary.node_list import (
    Holder,
    JobOnNode,
    NodeReport,
    list_document,
    node_document,
)
from tests.app.test_fleet_status import NODES, Stage, node_id, stub
from tests.support.region_server import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.region_server import ScriptedApi

STATS: dict[str, Any] = {
    "CPU": [{"TotalPercent": 100.0}, {"TotalPercent": 50.0}],
    "Memory": {"Total": 8 << 30, "Available": 6 << 30},
    "AllocDirStats": {"Size": 100 << 30, "Used": 25 << 30},
    "DeviceStats": [
        {
            "Type": "gpu",
            "Name": "NVIDIA GeForce RTX 4090",
            "InstanceStats": {
                "GPU-0": {
                    "Stats": {
                        "Attributes": {
                            "GPU utilization": {"IntNumeratorVal": 90},
                            "Memory state": {"IntNumeratorVal": 1024, "IntDenominatorVal": 24_564},
                        }
                    }
                }
            },
        },
        {"Type": "fpga", "Name": "F1", "InstanceStats": {"x": {}}},
    ],
}
RUNNING = [
    {"Name": "ray.g[0]", "ClientStatus": "running", "JobID": "ray", "Namespace": "default"},
    {"Name": "ray.g[1]", "ClientStatus": "pending", "JobID": "ray", "Namespace": "default"},
    {"Name": "old.g[0]", "ClientStatus": "complete", "JobID": "old", "Namespace": "default"},
]


def whole(name: str, *, meta: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """A whole node, as the region has it."""
    return {**stub(name, **changes), "Meta": meta or {}, "Attributes": {}}


@dataclass
class Nodes(Stage):
    """The region answers every question about the two nodes; ``more`` are its answers by path."""

    metas: dict[str, dict[str, str]] = field(default_factory=dict)
    more: dict[str, list[Answer]] = field(default_factory=dict)
    stubs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedApi]:
        answers = {NODES: [Answer([stub(name, **self.stubs.get(name, {})) for name in self.enrolled])]}
        for name in self.enrolled:
            node = whole(name, meta=self.metas.get(name), **self.stubs.get(name, {}))
            answers[f"/v1/node/{node_id(name)}"] = [Answer(node)]
            answers[f"/v1/node/{node_id(name)}/allocations"] = [Answer(RUNNING if name == "g1" else [])]
        answers["/v1/client/stats"] = [Answer(STATS)]
        answers["/v1/client/metadata"] = [Answer(b"No path to node", 404)]
        async with self.site.serving(answers | self.more) as (url, api):
            await self.remember(url)
            yield api

    async def report(
        self, limit: str | None = None, *, by_inventory: bool = False, with_use: bool = False
    ) -> NodeReport:
        source = str(self.directory / "site.yaml") if by_inventory else None
        async with self.serving():
            return await read_nodes(self.settings, source, limit, with_use=with_use)


async def test_nodes_are_as_their_region_shows_them(tmp_path: Path) -> None:
    """Status, jobs that run, GPUs by standard name with their health; nobody is asked what nodes use."""
    stage = Nodes(tmp_path, stubs={"g1": {"healthy": 1, "Version": "2.0.5"}})
    report = await stage.report()
    first, second = report.nodes
    assert [
        (node.status, node.takes_jobs, node.jobs, node.use, node.use_problem) for node in report.nodes
    ] == [
        ("ready", True, (JobOnNode("ray", "default", 2),), None, None),
        ("ready", True, (), None, None),
    ]
    assert [(one.name, one.count, one.healthy) for one in first.gpus] == [("nvidia.rtx.4090.24gb", 2, 1)]
    assert (first.view and first.view.version, first.differences, report.untold) == ("2.0.5", None, {})
    document = list_document(report)
    assert (document["schema"], document["summary"]["allocations"], document["summary"]["gpus"]) == (
        "ionetctl.nodes.list/1", 2, {"nvidia.rtx.4090.24gb": 3},
    )  # fmt: skip
    assert second.gpus[0].healthy == 2


async def test_holder_and_reason_are_told(tmp_path: Path) -> None:
    """By the marks in the metadata: ionetctl's own, an admin's with who and when, a drain, or nobody that is known."""
    closed: dict[str, Any] = {"SchedulingEligibility": "ineligible"}
    stage = Nodes(
        tmp_path,
        enrolled=("g1", "g2", "g3", "g4", "g5"),
        stubs={"g1": closed, "g2": closed, "g3": {**closed, "Drain": True}, "g4": closed},
        metas={
            "g1": {
                host_paths.ADMISSION_KEY: "flawed: gpu_lost",
                host_paths.ADMISSION_REASON_KEY: "GPU 3 is lost",
                host_paths.EXCLUDED_BY_KEY: "ann@ops",
                host_paths.EXCLUDED_AT_KEY: "2026-11-27T12:00:00Z",
                host_paths.EXCLUDED_REASON_KEY: "new riser",
            },
            "g2": {host_paths.ADMISSION_KEY: "held"},
            "g3": {host_paths.ADMISSION_KEY: "released"},
            "g5": {host_paths.ADMISSION_KEY: "held", host_paths.EXCLUDED_BY_KEY: "ann@ops"},
        },
    )
    report = await stage.report()
    assert [[(h.holder, h.who, h.reason, h.since) for h in node.holds] for node in report.nodes] == [
        [
            (Holder.IONETCTL, "", "gpu_lost: GPU 3 is lost", ""),
            (Holder.ADMIN, "ann@ops", "new riser", "2026-11-27T12:00:00Z"),
        ],
        [(Holder.IONETCTL, "", "it is new and not proved yet", "")],
        [(Holder.DRAIN, "", "", "")],
        [(Holder.UNKNOWN, "", "", "")],
        [],
    ]
    summary = list_document(report)["summary"]
    assert (summary["held"], summary["excluded"], summary["draining"], summary["take_jobs"]) == (2, 1, 1, 1)


async def test_use_is_asked_of_ready_nodes_alone(tmp_path: Path) -> None:
    """In percent and MiB, the GPUs one by one; a node that is down is not asked, and that is said."""
    stage = Nodes(tmp_path, stubs={"g2": {"Status": "down"}})
    async with stage.serving() as api:
        first, second = (await read_nodes(stage.settings, None, None, with_use=True)).nodes
    asked = [seen.query["node_id"] for seen in api.seen if seen.path == "/v1/client/stats"]
    assert (asked, second.use, second.use_problem) == ([node_id("g1")], None, "the node is down")
    document = node_document(first)
    assert document["use"] == {
        "cpu_percent": 75.0,
        "memory_used_mib": 2048,
        "memory_mib": 8192,
        "disk_used_mib": 25_600,
        "disk_mib": 102_400,
        "gpus": (
            {
                "id": "GPU-0",
                "name": "NVIDIA GeForce RTX 4090",
                "utilization_percent": 90,
                "memory_used_mib": 1024,
                "memory_mib": 24_564,
            },
        ),
    }


async def test_node_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """Its agent has no connection to the servers: what it uses is unknown, all else stands."""
    stage = Nodes(tmp_path, more={"/v1/client/stats": [Answer(b"No path to node", 404)]})
    report = await stage.report("g1", with_use=True)
    [node] = report.nodes
    assert (node.use, node.use_problem) == (None, f"eu-north has no way to the node {node_id('g1')} now")
    assert node.jobs == (JobOnNode("ray", "default", 2),)


async def test_region_that_does_not_tell_jobs_is_named(tmp_path: Path) -> None:
    """The token lacks read-job: the jobs are unknown, not none."""
    path = f"/v1/node/{node_id('g1')}/allocations"
    report = await Nodes(tmp_path, more={path: [Answer(b"Permission denied", 403)]}).report()
    assert [node.jobs for node in report.nodes] == [None, ()]
    assert list(report.untold) == ["eu-north"]


async def test_exclusion_is_told_before_the_servers_have_it(tmp_path: Path) -> None:
    """A node's agent has at once what was written into its metadata; a node that takes jobs is not asked."""
    own = {"Dynamic": {host_paths.EXCLUDED_BY_KEY: "ann@ops"}, "Static": {}}
    stage = Nodes(
        tmp_path,
        stubs={"g1": {"SchedulingEligibility": "ineligible"}},
        more={"/v1/client/metadata": [Answer(own)]},
    )
    report = await stage.report()
    assert [[(h.holder, h.who) for h in node.holds] for node in report.nodes] == [
        [(Holder.ADMIN, "ann@ops")],
        [],
    ]


async def test_many_nodes_are_listed_by_few_calls(tmp_path: Path) -> None:
    """One list of what runs in the region, of all namespaces; who holds nodes is asked by their marks."""
    names = tuple(f"g{number:03}" for number in range(1, WHOLE + 3))
    closed: dict[str, Any] = {"SchedulingEligibility": "ineligible"}
    placed = [
        {
            "ID": "a1",
            "Name": "ray.g[0]",
            "ClientStatus": "running",
            "NodeID": node,
            "JobID": "ray",
            "Namespace": "blue",
        }
        for node in (node_id("g001"), "no-node-of-ours")
    ]
    rows = [{**stub("g1"), "ID": node_id(name), "Name": name, **closed} for name in names]
    marked = [rows[-1]]
    stage = Nodes(
        tmp_path,
        enrolled=names,
        metas={names[0]: {host_paths.EXCLUDED_BY_KEY: "ann@ops"}},
        stubs=dict.fromkeys(names, closed),
        more={
            NODES: [Answer(rows), Answer(rows[-2:]), Answer(marked)],
            "/v1/allocations": [
                Answer(placed[:1], headers={"X-Nomad-NextToken": "a2"}),
                Answer(placed[1:]),
            ],
        },
    )
    async with stage.serving() as api:
        report = await read_nodes(stage.settings, None, None)
    first = report.nodes[0]
    assert first.jobs == (JobOnNode("ray", "blue", 1),)
    held = [[hold.holder for hold in node.holds] for node in report.nodes]
    assert (held[0], held[1], held[-2], held[-1]) == (
        [Holder.ADMIN], [Holder.UNKNOWN], [Holder.IONETCTL], [Holder.IONETCTL, Holder.ADMIN],
    )  # fmt: skip
    asked = [seen.query for seen in api.seen if seen.path == "/v1/allocations"]
    assert [(query["namespace"], query["resources"], query.get("next_token")) for query in asked] == [
        ("*", "true", None),
        ("*", "true", "a2"),
    ]
    assert sum(seen.path.startswith("/v1/node/") for seen in api.seen) == node_list.WHOLE


# --- differences ------------------------------------------------------------------------------------------------------


async def test_differences_from_the_inventory_are_told(tmp_path: Path) -> None:
    """Pool, datacenter, version, number of GPUs; and nothing where all is as it should be."""
    changed: dict[str, Any] = {
        "NodePool": "cpu",
        "Datacenter": "rey2",
        "Version": "2.0.4",
        "NodeResources": {"Devices": None},
    }
    stage = Nodes(tmp_path, stubs={"g1": changed, "g2": {"Version": "2.0.5"}})
    first, second = (await stage.report(by_inventory=True)).nodes
    assert [(each.what, each.expected, each.found) for each in first.differences or ()] == [
        ("node_pool", "gpu", "cpu"),
        ("datacenter", "rey1", "rey2"),
        ("version", "2.0.5", "2.0.4"),
        ("gpus", "2", "0"),
    ]
    assert second.differences == ()


async def test_node_that_is_unknown_is_told_with_its_error(tmp_path: Path) -> None:
    """The region lists no such node: an error of that node, and no exit code of the list's."""
    stage = Nodes(tmp_path, more={NODES: [Answer([stub("g2")])]})
    first, _ = (await stage.report()).nodes
    document = node_document(first)
    assert (first.status, document["error"]["code"], document["exit_code"]) == ("unknown", "node_unknown", 8)
    assert (document["node_id"], document["drivers"], document["meta"]) == (node_id("g1"), None, None)


async def test_host_that_moved_in_the_inventory_is_told(tmp_path: Path) -> None:
    """The catalog knows it in another region than the inventory has it in, which lists no such node."""
    stage = Nodes(tmp_path)
    async with stage.serving():
        site = tmp_path / "site.yaml"
        moved = site.read_text().replace("eu-north", "us-west")
        site.write_text(moved)
        first, _ = (await read_nodes(stage.settings, str(site), None)).nodes
    assert [(each.what, each.expected, each.found) for each in first.differences or ()] == [
        ("region", "us-west", "eu-north")
    ]


async def test_region_that_does_not_answer_is_its_nodes_problem(tmp_path: Path) -> None:
    """Each node has the error, and the region is named once."""
    report = await Nodes(tmp_path, more={NODES: [Answer(b"Permission denied", 403)]}).report()
    assert [node.problem and node.problem.code for node in report.nodes] == ["region_forbidden"] * 2
    assert (list(report.unanswered), list_document(report)["unanswered"][0]["region"]) == (
        ["eu-north"],
        "eu-north",
    )


async def test_many_nodes_are_listed_without_what_is_not_told(tmp_path: Path) -> None:
    """Neither the jobs of the region nor who holds its nodes: both are unknown, and the nodes stand."""
    names = tuple(f"g{number:03}" for number in range(1, WHOLE + 2))
    closed: dict[str, Any] = {"SchedulingEligibility": "ineligible", "Drain": True}
    rows = [{**stub("g1"), "ID": node_id(name), "Name": name, **closed} for name in names]
    refused = Answer(b"Permission denied", 403)
    stage = Nodes(
        tmp_path,
        enrolled=names,
        more={NODES: [Answer(rows), refused], "/v1/allocations": [refused]},
    )
    report = await stage.report()
    assert ([node.jobs for node in report.nodes] == [None] * len(names), list(report.untold)) == (
        True,
        ["eu-north"],
    )
    assert [hold.holder for hold in report.nodes[-1].holds] == [Holder.DRAIN]
