"""Queries of the catalog: rows to records."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import exists, func, or_, select

from ionetctl.core.events import HostEntry, RegionEntry
from ionetctl.core.model.facts import MachineIdentity
from ionetctl.core.model.outcome import SURVEYED, Outcome, Problem, Result
from ionetctl.history.catalog.nodes import NODE_COLUMNS
from ionetctl.history.catalog.records import HostRecord, NodeRecord, RolloutRecord
from ionetctl.history.catalog.schema import hosts, machines, nodes, outcomes, regions, rollouts

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from sqlalchemy import Column, ColumnElement, Connection, RowMapping

    from ionetctl.core.model.names import HostName


_WORDS_OF: Final = {
    "host": nodes.c.name,
    "region": nodes.c.region,
    "datacenter": nodes.c.datacenter,
    "rack": nodes.c.rack,
    "pool": nodes.c.node_pool,
}
"""The columns that words are looked for in, by what an inventory calls the property."""
_LIKE: Final = str.maketrans("*?", "%_")
_MOST_WORDS: Final = 1000
"""With more of them a database is not quicker than reading every node."""


def nodes_of(
    connection: Connection, words: Mapping[str, Sequence[str]] | None = None
) -> tuple[NodeRecord, ...]:
    """Every node, by region, datacenter, rack and name.

    With ``words`` (by property, in lower case, with ``*`` and ``?``) only nodes that match one of them; every node where the
    database cannot tell.
    """
    statement = select(*NODE_COLUMNS)
    if words is not None and _can_look_for(words):
        statement = statement.where(or_(*(_matches(_WORDS_OF[kind], words[kind]) for kind in words)))
    found = [NodeRecord(*row) for row in connection.execute(statement)]
    return tuple(sorted(found, key=lambda node: (node.region, node.datacenter, node.rack or "", node.name)))


def _can_look_for(words: Mapping[str, Sequence[str]]) -> bool:
    """Databases agree on lower case within ASCII only."""
    every = [word for kind in words for word in words[kind]]
    return words.keys() <= _WORDS_OF.keys() and len(every) <= _MOST_WORDS and all(map(str.isascii, every))


def _matches(column: Column[str], words: Sequence[str]) -> ColumnElement[bool]:
    in_lower_case = func.lower(column)
    patterns = [word for word in words if "*" in word or "?" in word]
    escaped = [re.sub(r"([%_\\])", r"\\\1", word).translate(_LIKE) for word in patterns]
    return or_(
        in_lower_case.in_([word for word in words if word not in patterns]),
        *(in_lower_case.like(pattern, escape="\\") for pattern in escaped),
    )


def all_identities(connection: Connection) -> Mapping[tuple[HostName, str], MachineIdentity]:
    """Every machine's identity, by its host's name and its machine-id."""
    rows = connection.execute(select(machines.c.name, machines.c.machine_id, machines.c.identity))
    decoder = msgspec.json.Decoder(MachineIdentity)
    return {(row.name, row.machine_id): decoder.decode(row.identity) for row in rows}


def all_regions(connection: Connection) -> tuple[RegionEntry, ...]:
    """Every region, by name."""
    rows = connection.execute(select(regions.c.entry).order_by(regions.c.name)).scalars()
    return tuple(msgspec.json.decode(entry, type=RegionEntry) for entry in rows)


def find_rollouts(connection: Connection, rollout: str | None = None) -> tuple[RolloutRecord, ...]:
    """Every rollout, newest first, or only ``rollout``."""
    statement = select(rollouts).order_by(rollouts.c.started_at.desc(), rollouts.c.id.desc())
    if rollout is not None:
        statement = statement.where(rollouts.c.id == rollout)
    rows = connection.execute(statement).mappings().all()
    running = count_results(connection, *(row["id"] for row in rows if row["results"] is None))
    surveys = _surveys_without_command(connection)
    return tuple(_rollout(row, running, surveys) for row in rows)


def hosts_of(connection: Connection, rollout: str) -> tuple[HostRecord, ...]:
    """A rollout's hosts, in the inventory's order, each with its last outcome."""
    in_order = select(outcomes).where(outcomes.c.rollout == rollout).order_by(outcomes.c.seq)
    last = {row["host"]: row for row in connection.execute(in_order).mappings()}
    statement = select(hosts).where(hosts.c.rollout == rollout).order_by(hosts.c.position)
    return tuple(_host(row, last.get(row["name"])) for row in connection.execute(statement).mappings())


def count_results(connection: Connection, *of_rollouts: str) -> Mapping[str, Mapping[Result | None, int]]:
    """Rollout → result → number of hosts, by each host's last outcome; ``None`` counts hosts without one."""
    counts: defaultdict[str, dict[Result | None, int]] = defaultdict(dict)
    if not of_rollouts:
        return counts
    last = (
        select(outcomes.c.rollout, outcomes.c.host, func.max(outcomes.c.seq).label("seq"))
        .where(outcomes.c.rollout.in_(of_rollouts))
        .group_by(outcomes.c.rollout, outcomes.c.host)
        .subquery()
    )
    is_last = (outcomes.c.rollout == last.c.rollout) & (outcomes.c.seq == last.c.seq)
    of_host = (hosts.c.rollout == last.c.rollout) & (hosts.c.name == last.c.host)
    joined = hosts.outerjoin(last, of_host).outerjoin(outcomes, is_last)
    statement = select(hosts.c.rollout, outcomes.c.result, func.count().label("hosts")).select_from(joined)
    statement = statement.where(hosts.c.rollout.in_(of_rollouts))
    for row in connection.execute(statement.group_by(hosts.c.rollout, outcomes.c.result)):
        counts[row.rollout][_result(row.result)] = row.hosts
    return counts


def _result(text: str | None) -> Result | None:
    return None if text is None else Result(text)


def _surveys_without_command(connection: Connection) -> frozenset[str]:
    """The preflights of older versions, whose journals have no command line: by the code that only they gave a host."""
    shows_it = exists().where(outcomes.c.rollout == rollouts.c.id, outcomes.c.problem_code == SURVEYED)
    return frozenset(
        connection.execute(select(rollouts.c.id).where(rollouts.c.command == "[]", shows_it)).scalars()
    )


def _rollout(
    row: RowMapping, running: Mapping[str, Mapping[Result | None, int]], surveys: Container[str]
) -> RolloutRecord:
    command = msgspec.json.decode(row["command"], type=tuple[str, ...])
    is_survey = command[:1] == ("preflight",) or row["id"] in surveys
    results = running.get(row["id"], {})
    if row["results"] is not None:
        counts = msgspec.json.decode(row["results"], type=dict[str, int])
        results = {_result(text or None): count for text, count in counts.items()}
    fields = {**row, "command": command, "results": results}
    return RolloutRecord(**fields, is_survey=is_survey)


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
