"""Queries of the catalog: rows to records."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import func, select

from ionetctl.core.events import HostEntry, RegionEntry
from ionetctl.core.model.outcome import SURVEYED, Outcome, Problem, Result
from ionetctl.history.catalog.records import HostRecord, NodeRecord, RolloutRecord
from ionetctl.history.catalog.schema import hosts, nodes, outcomes, regions, rollouts

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from sqlalchemy import Connection, RowMapping


def all_nodes(connection: Connection) -> tuple[NodeRecord, ...]:
    """Every node, by region, datacenter, rack and name."""
    found = [NodeRecord(**row) for row in connection.execute(select(nodes)).mappings()]
    return tuple(sorted(found, key=lambda node: (node.region, node.datacenter, node.rack or "", node.name)))


def all_regions(connection: Connection) -> tuple[RegionEntry, ...]:
    """Every region, by name."""
    rows = connection.execute(select(regions.c.entry).order_by(regions.c.name)).scalars()
    return tuple(msgspec.json.decode(entry, type=RegionEntry) for entry in rows)


def find_rollouts(connection: Connection, rollout: str | None = None) -> tuple[RolloutRecord, ...]:
    """Every rollout, newest first, or only ``rollout``."""
    statement = select(rollouts).order_by(rollouts.c.started_at.desc(), rollouts.c.id.desc())
    if rollout is not None:
        statement = statement.where(rollouts.c.id == rollout)
    results, surveys = _results(connection, rollout), _surveys_without_command(connection, rollout)
    return tuple(_rollout(row, results, surveys) for row in connection.execute(statement).mappings())


def hosts_of(connection: Connection, rollout: str) -> tuple[HostRecord, ...]:
    """A rollout's hosts, in the inventory's order, each with its last outcome."""
    in_order = select(outcomes).where(outcomes.c.rollout == rollout).order_by(outcomes.c.seq)
    last = {row["host"]: row for row in connection.execute(in_order).mappings()}
    statement = select(hosts).where(hosts.c.rollout == rollout).order_by(hosts.c.position)
    return tuple(_host(row, last.get(row["name"])) for row in connection.execute(statement).mappings())


def _results(connection: Connection, rollout: str | None) -> Mapping[str, Mapping[Result | None, int]]:
    """Rollout → result → number of hosts, by each host's last outcome; ``None`` counts hosts without one."""
    last = (
        select(outcomes.c.rollout, outcomes.c.host, func.max(outcomes.c.seq).label("seq"))
        .group_by(outcomes.c.rollout, outcomes.c.host)
        .subquery()
    )
    is_last = (outcomes.c.rollout == last.c.rollout) & (outcomes.c.seq == last.c.seq)
    of_host = (hosts.c.rollout == last.c.rollout) & (hosts.c.name == last.c.host)
    joined = hosts.outerjoin(last, of_host).outerjoin(outcomes, is_last)
    statement = select(hosts.c.rollout, outcomes.c.result, func.count().label("hosts")).select_from(joined)
    if rollout is not None:
        statement = statement.where(hosts.c.rollout == rollout)
    counts: defaultdict[str, dict[Result | None, int]] = defaultdict(dict)
    for row in connection.execute(statement.group_by(hosts.c.rollout, outcomes.c.result)):
        counts[row.rollout][_result(row.result)] = row.hosts
    return counts


def _result(text: str | None) -> Result | None:
    return None if text is None else Result(text)


def _surveys_without_command(connection: Connection, rollout: str | None) -> frozenset[str]:
    """The preflights of older versions, whose journals have no command line: by the code that only they gave a host."""
    of_rollout = outcomes.join(rollouts, outcomes.c.rollout == rollouts.c.id)
    statement = select(outcomes.c.rollout).select_from(of_rollout).distinct()
    statement = statement.where(rollouts.c.command == "[]", outcomes.c.problem_code == SURVEYED)
    if rollout is not None:
        statement = statement.where(outcomes.c.rollout == rollout)
    return frozenset(connection.execute(statement).scalars())


def _rollout(
    row: RowMapping, results: Mapping[str, Mapping[Result | None, int]], surveys: Container[str]
) -> RolloutRecord:
    command = msgspec.json.decode(row["command"], type=tuple[str, ...])
    is_survey = command[:1] == ("preflight",) or row["id"] in surveys
    fields = {**row, "command": command}
    return RolloutRecord(**fields, results=results.get(row["id"], {}), is_survey=is_survey)


def _host(row: RowMapping, last_outcome: RowMapping | None) -> HostRecord:
    entry = HostEntry(
        name=row["name"],
        address=row["address"],
        region=row["region"],
        datacenter=row["datacenter"],
        rack=row["rack"],
        node_pool=row["node_pool"],
        gpus_expected=row["gpus_expected"],
        gpu_model=row["gpu_model"],
    )
    if last_outcome is None:
        return HostRecord(entry, None, None, None)
    return HostRecord(entry, _outcome(last_outcome), last_outcome["finished_at"], last_outcome["stamp"])


def _outcome(row: RowMapping) -> Outcome:
    return Outcome(
        host=row["host"],
        address=row["address"],
        region=row["region"],
        datacenter=row["datacenter"],
        result=Result(row["result"]),
        node_id=row["node_id"],
        gpus_expected=row["gpus_expected"],
        gpus_seen=row["gpus_seen"],
        gpus_probed=row["gpus_probed"],
        duration_s=row["duration_s"],
        attempts=row["attempts"],
        problem=_problem(row),
    )


def _problem(row: RowMapping) -> Problem | None:
    if row["problem_code"] is None:
        return None
    return Problem(
        code=row["problem_code"],
        step=row["problem_step"],
        message=row["problem_message"],
        hint=row["problem_hint"],
        exit_code=row["problem_exit_code"],
    )
