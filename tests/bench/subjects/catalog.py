"""``status`` from a catalog of many nodes: text, JSON, and a filtered query on the largest catalog."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import create_engine, insert

from ionetctl.core.clock import SystemClock
from ionetctl.core.model.names import HostName, NodeId, RegionName, RolloutId
from ionetctl.history.catalog import Catalog
from ionetctl.history.catalog.records import NodeRecord
from ionetctl.history.catalog.schema import nodes
from tests.bench.records import Figure, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.bench import Bench
    from tests.bench.records import Finding

NAME: Final = "catalog"
TITLE: Final = "Catalog and status"
_BATCH: Final = 10_000
_NODES_A_RACK: Final = 16


def measure(bench: Bench) -> Iterator[Finding]:
    """``status --offline`` on one catalog, then by rack on a larger one."""
    count, rounds = bench.sizes.nodes, bench.sizes.rounds
    admin = _admin_with(bench, count)
    for target, output in (("status-text", "human"), ("status-json", "json")):
        command = ("status", "--offline", "-o", output)
        samples = [bench.run(*bench.ionetctl, *command, environ=admin).sample for _ in range(rounds)]
        row = Row(f"status, {count:,} nodes, {output}", f"ionetctl {' '.join(command)}", samples, count)
        yield row
        yield Figure(target, row.cpu_s, f"CPU of the whole command, {count:,} nodes")
    count = bench.sizes.queried_nodes
    admin = _admin_with(bench, count)
    query = ("status", "--offline", "--limit", "rack:r00001", "-o", "json")
    samples = [bench.run(*bench.ionetctl, *query, environ=admin).sample for _ in range(rounds)]
    row = Row(f"one rack of {count:,} nodes", f"ionetctl {' '.join(query)}", samples)
    yield row
    yield Figure("query", row.cpu_s, f"CPU of the whole command, {count:,} nodes")


def _admin_with(bench: Bench, count: int) -> dict[str, str]:
    """An admin whose catalog has so many nodes, written as rows: the journals that they come from are not there."""
    admin = bench.admin()
    state = Path(admin["IONETCTL_STATE_DIR"])
    state.mkdir(mode=0o700)
    _fill(state / "catalog.sqlite", count)
    return admin


def _fill(path: Path, count: int) -> None:
    Catalog.open(path, SystemClock()).close()
    names = [field.name for field in fields(NodeRecord)]
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        for start in range(0, count, _BATCH):
            records = map(_node, range(start, min(start + _BATCH, count)))
            connection.execute(
                insert(nodes),
                [
                    {name: getattr(record, name) for name in names} | {"computed_until": ""}
                    for record in records
                ],
            )
    engine.dispose()


def _node(index: int) -> NodeRecord:
    return NodeRecord(
        region=RegionName("eu-north"),
        name=HostName(f"rey1-r{index // _NODES_A_RACK:05}-g{index % _NODES_A_RACK:02}"),
        node_id=NodeId(f"{index:08x}-0000-4000-8000-000000000000"),
        address=f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}",
        datacenter="rey1",
        rack=f"r{index // _NODES_A_RACK:05}",
        node_pool="gpu",
        gpu_model="rtx-4090",
        gpus_expected=8,
        gpus_seen=8,
        gpus_probed=8,
        machine_id=f"{index:032x}",
        stamp=f"{index:016x}-0a1b2c3d4e5f",
        rollout=RolloutId("20260301T120000-abcdef"),
        enrolled_at="2026-03-01T12:00:00.000Z",
        last_seen_at="2026-03-02T12:00:00.000Z",
    )
