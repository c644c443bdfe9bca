"""How the fleet stands: the catalog's memory beside what regions say, over real TLS."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.app.fleet_status import read_fleet
from ionetctl.app.known_fleet import check_names, region_settings
from ionetctl.app.open_fleet import FleetNode, _clearest, open_fleet
from ionetctl.app.verify import verify
from ionetctl.core import events
from ionetctl.core.clock import SystemClock
from ionetctl.core.errors import ConfigurationError, ExitCode, RegionError, UsageError
from ionetctl.core.events import Envelope, HostEntry, RegionEntry
from ionetctl.core.model.host import Host
from ionetctl.core.model.inventory import ReadyPair
from ionetctl.core.model.names import HostName, NodeId, RegionName, RolloutId
from ionetctl.core.model.node import Amounts, NodeResources
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.core.model.secret import SecretRef
from ionetctl.core.settings import Settings
from ionetctl.history.journal import Journal
from ionetctl.inventory.yaml.problems import InventoryError
from tests.support.region_server import EU, SERVER_NAME, TOKEN, Answer, RegionSite, ScriptedApi
from tests.support.sample import view

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from ionetctl.summary.fleet import NodeStatus, Verdict

NODES = "/v1/nodes"
ROLLOUT = RolloutId("20261123T011226-k3f9qa")
STAMP = "4be5f344cb242f8b-0123456789ab"
NOBODY = "https://127.0.0.1:1"
INVENTORY = """
version: 1
datacenter: rey1
naming: {naming}
regions:
  eu-north:
    api: [{url}]
    servers: [127.0.0.1:4647]
    token: {{env: TOKEN}}
    tls:
      ca: ca.pem
      client: {{cert: cli.pem, key: {{env: CLI_KEY}}}}
      issuer: {{cert: ca.pem, key: {{env: CA_KEY}}}}
nomad: {{version: 2.0.5, device_plugin_version: 1.1.0}}
defaults: {{region: eu-north, node_pool: gpu, gpus: {{count: 2}}}}
hosts:
  - {{name: "g[1-2]", address: "10.20.1.[1-2]"}}
"""


def node_id(name: str) -> NodeId:
    return NodeId(f"00000000-0000-4000-8000-{int(name[1:]):012d}")


def stub(name: str, *, healthy: int = 2, **changes: object) -> dict[str, Any]:
    """A row of the region's node list."""
    instances = [{"ID": f"GPU-{number}", "Healthy": number < healthy} for number in range(2)]
    device = {"Vendor": "nvidia", "Type": "gpu", "Name": "NVIDIA GeForce RTX 4090", "Instances": instances}
    other = {"Vendor": "acme", "Type": "fpga", "Name": "F1", "Instances": instances}
    return {
        "ID": node_id(name[:2]),
        "Name": name,
        "Address": "10.20.1.1",
        "Datacenter": "rey1",
        "NodePool": "gpu",
        "Status": "ready",
        "SchedulingEligibility": "eligible",
        "NodeResources": {"Devices": [device, other]},
        **changes,
    }


@dataclass
class Stage:
    """A region, a state directory whose journal enrolled ``enrolled``, and an inventory of g1 and g2."""

    directory: Path
    enrolled: Sequence[str] = ("g1", "g2")
    naming: str = "as-written"
    answers: list[Answer] = field(default_factory=lambda: [Answer([stub("g1"), stub("g2")])])
    has_client: bool = True

    def __post_init__(self) -> None:
        self.site = RegionSite(self.directory)
        environ = {
            "HOME": str(self.directory),
            "IONETCTL_STATE_DIR": str(self.directory / "state"),
            "TOKEN": TOKEN,
            "CLI_KEY": self.site.client.key_pem,
        }
        self.settings = Settings.load(environ)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedApi]:
        async with self.site.serving({NODES: self.answers}) as (url, api):
            await self.remember(url)
            yield api

    async def remember(self, url: str) -> None:
        (self.directory / "site.yaml").write_text(INVENTORY.format(url=url, naming=self.naming))
        self.settings.prepare_state()
        journal = Journal.create(self.settings.rollouts_dir, ROLLOUT)
        await journal.take(
            [Envelope(number, "2026-11-23T01:12:26.000Z", e) for number, e in enumerate(self.history(url), 1)]
        )
        await journal.close()

    def history(self, url: str) -> list[events.AnyEvent]:
        """What an earlier rollout recorded."""
        client = str(self.directory / "cli.pem") if self.has_client else None
        region = RegionEntry(
            EU, (url,), self.site.root.pem, SERVER_NAME, "env", "TOKEN",
            client, "env", "CLI_KEY", "auto", 10_000,
        )  # fmt: skip
        hosts = tuple(
            HostEntry(HostName(name), "10.20.1.1", EU, "rey1", "a01", "gpu", 2, None)
            for name in self.enrolled
        )
        started = events.RolloutStarted(
            rollout=ROLLOUT,
            inventory="site.yaml",
            inventory_digest="ab" * 32,
            owner="ops@ctl",
            version="0.1.0",
            hosts=hosts,
            regions=(region,),
        )
        return [started, *map(enrolled, hosts), events.RolloutFinished(exit_code=0)]

    async def status(self, *, is_offline: bool = False) -> tuple[list[NodeStatus], dict[RegionName, str]]:
        report = await read_fleet(self.settings, None, is_offline=is_offline)
        return list(report.nodes), dict(report.silent)

    async def verdicts(self, limit: str | None = None) -> list[Verdict]:
        report = await verify(str(self.directory / "site.yaml"), limit, self.settings)
        return list(report.verdicts)


def enrolled(host: HostEntry) -> events.HostFinished:
    outcome = Outcome(
        host.name, host.address, host.region, host.datacenter, Result.ENROLLED,
        node_id=node_id(host.name), gpus_expected=2, gpus_seen=2, stamp=STAMP,
    )  # fmt: skip
    return events.HostFinished(host=host.name, outcome=outcome, node_pool="gpu", rack="a01", stamp=STAMP)


# --- status ----------------------------------------------------------------------------------------------------------


async def test_status_shows_what_the_region_says(tmp_path: Path) -> None:
    """State, eligibility and healthy GPUs by standard name are the region's; places are the catalog's."""
    stage = Stage(tmp_path, answers=[Answer([stub("g1", healthy=1), stub("g2", Status="down")])])
    async with stage.serving():
        nodes, silent = await stage.status()
    assert [(one.name, one.status, one.eligibility, one.gpus) for one in nodes] == [
        ("g1", "ready", "eligible", {"nvidia.rtx.4090.24gb": 1}),
        ("g2", "down", "eligible", {"nvidia.rtx.4090.24gb": 2}),
    ]
    assert ([(one.rack, one.gpus_expected, one.gpus_seen) for one in nodes], silent) == (
        [("a01", 2, 2)] * 2,
        {},
    )


async def test_status_asks_each_region_once_with_its_devices(tmp_path: Path) -> None:
    """One paging query a region, with our certificate and token."""
    stage = Stage(tmp_path)
    async with stage.serving() as api:
        await stage.status()
    assert [(seen.path, seen.query.get("resources"), seen.token, seen.peer) for seen in api.seen] == [
        (NODES, "true", TOKEN, "cli.eu-north.nomad")
    ]


async def test_node_that_is_gone_is_unknown(tmp_path: Path) -> None:
    """A node that its region does not list stands as last recorded."""
    stage = Stage(tmp_path, answers=[Answer([stub("g2")])])
    async with stage.serving():
        nodes, _ = await stage.status()
    assert [(one.name, one.status, one.eligibility, one.gpus_seen) for one in nodes] == [
        ("g1", "unknown", None, 2),
        ("g2", "ready", "eligible", 2),
    ]


async def test_ready_nodes_are_marked_as_seen(tmp_path: Path) -> None:
    """What was seen ready is remembered as seen; what was not keeps its time."""
    stage = Stage(tmp_path, answers=[Answer([stub("g1"), stub("g2", Status="down")])])
    async with stage.serving():
        before, _ = await stage.status(is_offline=True)
        await stage.status()
        after, _ = await stage.status(is_offline=True)
    assert [b.last_seen_at == a.last_seen_at for b, a in zip(before, after, strict=True)] == [False, True]


async def test_last_seen_is_this_look(tmp_path: Path) -> None:
    """What is seen ready now was last seen now, and the catalog says the same afterwards."""
    stage = Stage(tmp_path, answers=[Answer([stub("g1"), stub("g2", Status="down")])])
    async with stage.serving():
        before, _ = await stage.status(is_offline=True)
        now, _ = await stage.status()
        after, _ = await stage.status(is_offline=True)
    seen = [[one.last_seen_at for one in nodes] for nodes in (before, now, after)]
    assert (seen[1] == seen[2], seen[1][0] == seen[0][0], seen[1][1] == seen[0][1]) == (True, False, True)


async def test_waiting_for_a_region_is_told(tmp_path: Path) -> None:
    """Which region, which address, which attempt, how long yet, and why; while verify and status ask."""
    stage = Stage(tmp_path, answers=[Answer(b"rpc error: EOF", 500), Answer([stub("g1"), stub("g2")])])
    told: list[str] = []
    async with stage.serving():
        await verify(str(tmp_path / "site.yaml"), None, stage.settings, tell=told.append)
    assert [line.startswith("waiting for region eu-north at https://127.0.0.1:") for line in told] == [True]
    assert "attempt 1 failed" in told[0]
    (tmp_path / "2").mkdir()
    refreshed = Stage(tmp_path / "2", answers=[Answer(b"rpc error: EOF", 500), Answer([stub("g1")])])
    async with refreshed.serving():
        await read_fleet(refreshed.settings, None, is_offline=False, tell=told.append)
    assert len(told) == 2


async def test_limit_selects_by_what_the_catalog_knows(tmp_path: Path) -> None:
    """By name and property; a limit that selects no node is refused."""
    stage = Stage(tmp_path)
    async with stage.serving():
        chosen = await read_fleet(stage.settings, "rack:a01,!g1", is_offline=True)
        with pytest.raises(UsageError, match="g9"):
            await read_fleet(stage.settings, "g9", is_offline=True)
    assert [node.name for node in chosen.nodes] == ["g2"]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("G2", ["g2"]),
        ("g?", ["g1", "g2"]),
        ("g[1-2],!g1", ["g2"]),
        ("rack:A*,!g2", ["g1"]),
        ("!g2", ["g1"]),
        ("g1,!g2", ["g1"]),
        ("pool:gpu", ["g1", "g2"]),
    ],
)
async def test_limit_selects_as_in_an_inventory(tmp_path: Path, limit: str, expected: list[str]) -> None:
    """Without regard to case, by patterns and ranges; what is excluded need not be among what is added."""
    stage = Stage(tmp_path)
    await stage.remember(NOBODY)
    chosen = await read_fleet(stage.settings, limit, is_offline=True)
    assert [node.name for node in chosen.nodes] == expected


async def test_only_regions_of_selected_nodes_are_asked(tmp_path: Path) -> None:
    """A region that is silent is no matter where none of its nodes is asked for."""
    stage = Stage(tmp_path, answers=[Answer([stub("g1"), stub("g2")])])
    async with stage.serving() as api:
        report = await read_fleet(stage.settings, "g2", is_offline=False)
    assert ([node.name for node in report.nodes], len(api.seen)) == (["g2"], 1)


async def test_offline_asks_nobody(tmp_path: Path) -> None:
    """The catalog alone is shown."""
    stage = Stage(tmp_path)
    async with stage.serving() as api:
        nodes, silent = await stage.status(is_offline=True)
    assert ([one.status for one in nodes], silent, api.seen) == (["unknown", "unknown"], {}, [])


async def test_region_that_is_silent_is_named(tmp_path: Path) -> None:
    """A region that refuses is told with its reason, and its nodes stand as recorded."""
    stage = Stage(tmp_path, answers=[Answer.recorded("nodes: no token")])
    async with stage.serving():
        nodes, silent = await stage.status()
    assert (list(silent), [one.status for one in nodes]) == ([EU], ["unknown", "unknown"])


def test_region_without_a_client_certificate_is_asked_without(tmp_path: Path) -> None:
    """What the catalog remembers decides how a region is asked; the control has a certificate."""
    plain, with_client = (
        next(event for event in stage.history(NOBODY) if isinstance(event, events.RolloutStarted)).regions[0]
        for stage in (Stage(tmp_path, has_client=False), Stage(tmp_path))
    )
    pair = ReadyPair(str(tmp_path / "cli.pem"), SecretRef("env", "CLI_KEY"))
    assert (region_settings(plain).tls.client, region_settings(with_client).tls.client) == (None, pair)


async def test_empty_catalog_is_an_empty_fleet(tmp_path: Path) -> None:
    """Before the first rollout there is nothing to ask."""
    assert await Stage(tmp_path).status() == ([], {})


async def test_what_jobs_take_is_asked_for_capacity(tmp_path: Path) -> None:
    """By node, GPUs by standard name; a region that does not tell is named, and the control asks nobody for it."""
    placed = {
        "ID": "a1",
        "Name": "ray.g[0]",
        "ClientStatus": "running",
        "NodeID": node_id("g1"),
        "AllocatedResources": {
            "Tasks": {
                name: {
                    "Cpu": {"CpuShares": 100},
                    "Memory": {"MemoryMB": 32},
                    "Devices": [{"Type": "gpu", "Name": "NVIDIA GeForce RTX 4090", "DeviceIDs": ["GPU-0"]}],
                }
                for name in ("t", "u")
            },
            "Shared": {"DiskMB": 150},
        },
    }
    resources = {
        "Cpu": {"CpuShares": 4000, "TotalCpuCores": 4},
        "Memory": {"MemoryMB": 64},
        "Disk": {"DiskMB": 9},
    }
    reserved = {"Cpu": {"ReservedCpuCores": [0]}, "Memory": {"MemoryMB": 1}, "Disk": {"DiskMB": 2}}
    rows = [stub("g1", NodeResources=resources, ReservedResources=reserved), stub("g2")]
    told, untold = Answer([placed, {**placed, "ID": "a2"}]), Answer(b"Permission denied", 403)
    stage = Stage(tmp_path)
    answers = {NODES: [Answer(rows)], "/v1/allocations": [told, untold]}
    async with stage.site.serving(answers) as (url, api):
        await stage.remember(url)
        first, second = [
            await read_fleet(stage.settings, None, is_offline=False, with_takes=True) for _ in "ab"
        ]
        await stage.status()
    one, other = first.nodes
    assert (one.takes, one.gpus_taken, other.takes) == (
        Amounts(400, 128, 300),
        {"nvidia.rtx.4090.24gb": 4},
        None,
    )
    assert one.resources == NodeResources(4, Amounts(4000, 64, 9), Amounts(1000, 1, 2))
    assert (first.untold, [node.takes for node in second.nodes], list(second.untold)) == (
        {},
        [None, None],
        [EU],
    )
    assert sum(seen.path == "/v1/allocations" for seen in api.seen) == 2


# --- verify ----------------------------------------------------------------------------------------------------------


def codes(verdicts: list[Verdict]) -> list[tuple[str, str | None, bool]]:
    return [(one.host, one.code, one.is_by_name) for one in verdicts]


async def test_hosts_that_the_catalog_knows_are_judged_by_id_and_stamp(tmp_path: Path) -> None:
    """One query for the stamps is enough where every host is known."""
    stage = Stage(tmp_path)
    async with stage.serving() as api:
        verdicts = await stage.verdicts()
    assert codes(verdicts) == [("g1", None, False), ("g2", None, False)]
    assert [seen.query["filter"] for seen in api.seen] == [
        'Meta["unique.ionet_bundle"] matches "-(0123456789ab)$"'
    ]


async def test_node_that_is_down_is_told_as_down(tmp_path: Path) -> None:
    """The region's own word for the node comes first, with its hint."""
    stage = Stage(tmp_path, answers=[Answer([stub("g1"), stub("g2", Status="down")])])
    async with stage.serving():
        verdicts = await stage.verdicts()
    assert (codes(verdicts)[1], verdicts[1].message) == (("g2", "node_not_ready", False), "the node is down")


async def test_node_without_its_stamp_is_not_there(tmp_path: Path) -> None:
    """A node that came up with something else does not count."""
    stage = Stage(tmp_path, answers=[Answer([stub("g1")])])
    async with stage.serving():
        verdicts = await stage.verdicts()
    assert codes(verdicts) == [("g1", None, False), ("g2", "not_registered", False)]


async def test_lost_cards_are_told(tmp_path: Path) -> None:
    """A node with fewer healthy GPUs than promised is not as it should be."""
    stage = Stage(tmp_path, answers=[Answer([stub("g1", healthy=1), stub("g2")])])
    async with stage.serving():
        assert codes(await stage.verdicts())[0] == ("g1", "gpu_unhealthy", False)


async def test_unknown_hosts_are_found_by_name(tmp_path: Path) -> None:
    """What the catalog does not know is found by name, said to be weaker; a ready node before one that is not."""
    found = [stub("g1", Status="down", ID=node_id("g3")), stub("g1"), stub("g10", ID=node_id("g10"))]
    stage = Stage(tmp_path, enrolled=(), answers=[Answer(found)])
    async with stage.serving() as api:
        verdicts = await stage.verdicts()
    assert codes(verdicts) == [("g1", None, True), ("g2", "not_registered", True)]
    assert (verdicts[0].message, verdicts[1].message) == (
        "found by name, pool and datacenter: the catalog does not know its id",
        "the region has no node of this name",
    )
    assert len(api.seen) == 1


async def test_unknown_host_whose_node_is_not_ready_says_so(tmp_path: Path) -> None:
    """Where no bearer of the name is ready, the first is judged."""
    stage = Stage(
        tmp_path, enrolled=("g2",), answers=[Answer([stub("g2")]), Answer([stub("g1", Status="down")])]
    )
    async with stage.serving():
        assert codes(await stage.verdicts()) == [("g1", "node_not_ready", True), ("g2", None, False)]


@pytest.mark.parametrize(
    ("bearer", "code"),
    [
        ("g1-0a1b2c3d", None),
        ("g1", None),
        ("g1-rack-0a1b2c3d", "not_registered"),
        ("g1-0a1b2c3", "not_registered"),
    ],
)
async def test_unique_names_are_found_with_their_suffix(
    tmp_path: Path, bearer: str, code: str | None
) -> None:
    """With naming: unique a node bears the host's name and eight characters, and not just a longer name."""
    stage = Stage(tmp_path, enrolled=(), naming="unique", answers=[Answer([stub(bearer)])])
    async with stage.serving():
        assert codes(await stage.verdicts("g1")) == [("g1", code, True)]


def leave_open(stage: Stage, other: str) -> None:
    """Let the survey choose between the region that serves and one at ``other``."""
    path = stage.directory / "site.yaml"
    text = path.read_text().replace("defaults: {region: eu-north,", "defaults: {region: auto,")
    region = text[text.index("  eu-north:") : text.index("nomad:")]
    east = region.replace("eu-north:", "us-east:").replace(
        "      ca:", f"      server_name: {SERVER_NAME}\n      ca:"
    )
    url = region.split("[", 1)[1].split("]", 1)[0]
    path.write_text(text.replace("nomad:", east.replace(url, other or url) + "nomad:", 1))


async def test_host_that_left_its_region_open_is_asked_for_where_it_joined(tmp_path: Path) -> None:
    """The catalog knows which region was chosen; the others are not asked."""
    stage = Stage(tmp_path)
    async with stage.serving():
        leave_open(stage, NOBODY)
        verdicts = await stage.verdicts()
    assert [(one.host, one.region, one.code) for one in verdicts] == [
        ("g1", "eu-north", None),
        ("g2", "eu-north", None),
    ]


async def test_host_that_left_its_region_open_is_looked_for_in_all(tmp_path: Path) -> None:
    """Where nobody remembers, the region that shows the node speaks for it."""
    answers = [Answer([]), Answer([stub("g1", Datacenter="rey1")])]
    stage = Stage(tmp_path, enrolled=(), answers=answers)
    async with stage.serving():
        leave_open(stage, "")
        verdicts = await stage.verdicts()
    assert [(one.host, one.region, one.code) for one in verdicts] == [
        ("g1", "us-east", None),
        ("g2", "eu-north", "not_registered"),
    ]


async def test_hosts_of_a_region_that_cannot_be_asked_are_not_confirmed(tmp_path: Path) -> None:
    """Each says so with the region's name; that is 8, and no false alarm about the node."""
    stage = Stage(tmp_path, answers=[Answer.recorded("nodes: no token")])
    async with stage.serving():
        report = await verify(str(tmp_path / "site.yaml"), None, stage.settings)
    assert codes(list(report.verdicts)) == [(name, "region_forbidden", False) for name in ("g1", "g2")]
    first = report.verdicts[0]
    assert (first.node_id, first.message.startswith("region eu-north: "), report.exit_code) == (
        node_id("g1"),
        True,
        ExitCode.UNVERIFIED,
    )


async def test_verify_goes_on_with_the_regions_that_answer(tmp_path: Path) -> None:
    """Of two regions one is not trusted: its host is not confirmed, the other's is, and the end is 6."""
    stage = Stage(tmp_path, enrolled=("g1",))
    async with stage.serving():
        leave_open(stage, "")
        path = tmp_path / "site.yaml"
        text = path.read_text().replace("region: auto", "region: eu-north")
        text = text.replace(f"server_name: {SERVER_NAME}", "server_name: server.mars.nomad")
        path.write_text(
            text.replace(
                '  - {name: "g[1-2]", address: "10.20.1.[1-2]"}',
                "  - {name: g1, address: 10.20.1.1}\n  - {name: g2, address: 10.20.1.2, region: us-east}",
            )
        )
        report = await verify(str(path), None, stage.settings)
    assert ([(one.host, one.code) for one in report.verdicts], report.exit_code) == (
        [("g1", None), ("g2", "region_untrusted")],
        ExitCode.TRUST,
    )


async def test_secret_that_is_missing_ends_verification(tmp_path: Path) -> None:
    """It is no verdict on hosts: nothing is asked."""
    stage = Stage(tmp_path)
    async with stage.serving() as api:
        environ = {name: text for name, text in stage.settings.environ.items() if name != "TOKEN"}
        stage.settings = Settings.load(environ)
        with pytest.raises(ConfigurationError):
            await stage.verdicts()
    assert api.seen == []


async def test_inventory_is_read_before_anything_is_made(tmp_path: Path) -> None:
    """One that is wrong leaves no state directory behind."""
    (tmp_path / "site.yaml").write_text("version: 1\nhots: []\n")
    stage = Stage(tmp_path)
    with pytest.raises(InventoryError):
        await stage.verdicts()
    assert not (tmp_path / "state").exists()


# --- held nodes ------------------------------------------------------------------------------------------------------

INELIGIBLE: dict[str, Any] = {"SchedulingEligibility": "ineligible"}
WELL = stub("g2")
HELD = stub("g1", **INELIGIBLE)


def held_answers(node: dict[str, Any], *, is_held: bool, is_clearable: bool) -> list[Answer]:
    """The stamped nodes, those that ionetctl holds, and those of them that the region's word can clear."""
    return [Answer([node, WELL]), *(Answer([node] if yes else []) for yes in (is_held, is_clearable))]


async def verified(
    stage: Stage,
    *,
    releases: bool = True,
    agent: Sequence[Answer] = (Answer({}),),
    node: dict[str, Any] = HELD,
) -> tuple[list[Verdict], list[tuple[str, str]]]:
    """The verdicts, and what was changed in the region."""
    path = f"/v1/node/{node_id('g1')}"
    answers = {
        NODES: stage.answers,
        path: [Answer(node)],
        f"{path}/eligibility": [Answer({})],
        "/v1/client/metadata": [*agent],
    }
    async with stage.site.serving(answers) as (url, api):
        await stage.remember(url)
        report = await verify(str(stage.directory / "site.yaml"), None, stage.settings, releases=releases)
    return list(report.verdicts), [
        (seen.path, json.loads(seen.body).get("Eligibility", ""))
        for seen in api.seen
        if seen.method == "POST"
    ]


async def test_held_node_that_its_region_clears_is_released(tmp_path: Path) -> None:
    """Eligible first, then marked; the host then is as it should be."""
    stage = Stage(tmp_path, answers=held_answers(HELD, is_held=True, is_clearable=True))
    verdicts, written = await verified(stage)
    assert (codes(verdicts)[0], verdicts[0].message) == (
        ("g1", None, False),
        "released: its region shows all that was promised",
    )
    assert written == [
        (f"/v1/node/{node_id('g1')}/eligibility", "eligible"),
        ("/v1/client/metadata", ""),
    ]


async def test_node_that_was_made_ineligible_since_its_release_stays_so(tmp_path: Path) -> None:
    """The region shows the mark some seconds late; the node's agent has it."""
    stage = Stage(tmp_path, answers=held_answers(HELD, is_held=True, is_clearable=True))
    verdicts, written = await verified(stage, agent=[Answer({"Dynamic": {"ionet_admission": "released"}})])
    assert (codes(verdicts)[0], written) == (("g1", "node_ineligible", False), [])


async def test_node_that_an_admin_drained_is_not_released(tmp_path: Path) -> None:
    """The verdict says so, and that ionetctl holds it no longer is noted."""
    stage = Stage(tmp_path, answers=held_answers(HELD, is_held=True, is_clearable=True))
    drained = HELD | {"LastDrain": {"Status": "complete", "StartedAt": "2026-11-27T12:00:00Z"}}
    verdicts, written = await verified(stage, node=drained)
    assert (codes(verdicts)[0], verdicts[0].message, written) == (
        ("g1", "node_ineligible", False),
        "the node is not eligible for jobs: it was drained at 2026-11-27T12:00:00Z",
        [("/v1/client/metadata", "")],
    )


@pytest.mark.parametrize(
    ("node", "is_held", "is_clearable", "releases", "code"),
    [
        (HELD, True, True, False, "node_held"),
        (HELD, True, False, True, "node_held"),
        (HELD, False, False, True, "node_ineligible"),
        (stub("g1", healthy=1, **INELIGIBLE), True, True, True, "gpu_unhealthy"),
        (stub("g1", Status="down", **INELIGIBLE), True, True, True, "node_not_ready"),
    ],
)
async def test_other_ineligible_nodes_are_told_and_not_touched(
    tmp_path: Path, node: dict[str, Any], code: str, *, is_held: bool, is_clearable: bool, releases: bool
) -> None:
    """Only looked at, flawed by a probe, somebody else's, short, or not there."""
    stage = Stage(tmp_path, answers=held_answers(node, is_held=is_held, is_clearable=is_clearable))
    verdicts, written = await verified(stage, releases=releases)
    assert (codes(verdicts)[0], written) == (("g1", code, False), [])


async def test_release_that_the_region_refuses_is_the_hosts_verdict(tmp_path: Path) -> None:
    """The other hosts are judged all the same."""
    stage = Stage(tmp_path, answers=held_answers(HELD, is_held=True, is_clearable=True))
    path = f"/v1/node/{node_id('g1')}"
    refusal = [Answer(b"Permission denied", 403)]
    answers = {
        NODES: stage.answers,
        path: [Answer(HELD)],
        f"{path}/eligibility": refusal,
        "/v1/client/metadata": [Answer({})],
    }
    async with stage.site.serving(answers) as (url, _):
        await stage.remember(url)
        assert codes(await stage.verdicts()) == [("g1", "region_forbidden", False), ("g2", None, False)]


# --- a fleet opened for work -----------------------------------------------------------------------------------------


async def found(stage: Stage, source: str | None = None) -> list[tuple[str, str | None, str | None]]:
    async with open_fleet(stage.settings, source, None, SystemClock()) as fleet:
        return [
            (node.host.name, node.view.id if node.view else None, node.problem.code if node.problem else None)
            for node in await fleet.find()
        ]


async def test_catalogs_nodes_are_asked_for_by_their_ids(tmp_path: Path) -> None:
    """Two nodes need no list of the whole region."""
    stage = Stage(tmp_path, answers=[Answer([stub("g2")])])
    async with stage.serving() as api:
        nodes = await found(stage)
    expression = f'ID == "{node_id("g1")}" or ID == "{node_id("g2")}"'
    assert (nodes, [call.query["filter"] for call in api.seen]) == (
        [("g1", None, "node_unknown"), ("g2", node_id("g2"), None)],
        [expression],
    )


async def test_inventorys_hosts_are_found_by_name_where_the_catalog_does_not_know_them(
    tmp_path: Path,
) -> None:
    """The whole list is read then; a name that two nodes bear is nobody's."""
    stage = Stage(tmp_path, enrolled=["g1"], answers=[Answer([stub("g1"), stub("g2")])])
    async with stage.serving():
        one = await found(stage, str(tmp_path / "site.yaml"))
    (tmp_path / "twice").mkdir()
    twice = Stage(tmp_path / "twice", enrolled=["g1"])
    twice.answers = [Answer([stub("g2"), stub("g2", ID=node_id("g9"))])]
    async with twice.serving():
        two = await found(twice, str(tmp_path / "twice/site.yaml"))
    assert (one, two) == (
        [("g1", node_id("g1"), None), ("g2", node_id("g2"), None)],
        [("g1", None, "node_unknown"), ("g2", None, "node_unknown")],
    )


async def test_region_that_does_not_answer_is_the_problem_of_its_nodes(tmp_path: Path) -> None:
    """Each has the region's error, and so has one whose secret is missing."""
    stage = Stage(tmp_path, answers=[Answer.recorded("nodes: no token")])
    async with stage.serving():
        refused = await found(stage)
        stage.settings = replace(stage.settings, environ={})
        closed = await found(stage)
    assert ([code for *_, code in refused], [code for *_, code in closed]) == (
        ["region_forbidden"] * 2,
        ["secret_missing"] * 2,
    )


def test_name_that_two_regions_know_is_refused() -> None:
    """Each node is a host of its own; a rollout has every name once."""
    one = Host(HostName("g1"), "10.0.0.1", EU, "rey1")
    check_names([one, replace(one, name=HostName("g2"))])
    with pytest.raises(UsageError, match="g1 is a node of eu-north and of us-west"):
        check_names([one, replace(one, region=RegionName("us-west"))])


def test_host_of_no_region_is_where_it_is_known() -> None:
    """A region that does not answer weighs more than one that does not know it; two that know it are one too many."""
    host = Host(HostName("g1"), "10.0.0.1", EU, "rey1")
    unknown = FleetNode(host, None, RegionError("node_unknown", "it is not there"))
    silent = FleetNode(host, None, RegionError("region_unreachable", "it is silent"))
    here = FleetNode(host, view())
    codes = [
        _clearest(answers).problem for answers in ([unknown, silent], [unknown, here], [here, unknown, here])
    ]
    assert [problem.code if problem else None for problem in codes] == [
        "region_unreachable",
        None,
        "node_unknown",
    ]
