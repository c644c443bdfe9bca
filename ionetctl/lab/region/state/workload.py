"""The jobs of a region and their allocations, placed and moved by the rules of a Nomad server as far as drains show them.

Every task runs as soon as it is placed, and until it is stopped. One that ignores signals (``IGNORES_SIGNALS`` in its metadata) takes its kill timeout.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ionetctl.lab.json_object import JsonObject

IGNORES_SIGNALS: Final = "rehearsal_ignores_signals"
_Group = tuple[str, str, str]
"""Namespace, job and task group."""
PER_NODE: Final = frozenset({"system", "sysbatch"})
_DEFAULT_KILL_NS: Final = 5_000_000_000
_NS: Final = 1_000_000_000
_OF_STUB: Final = (
    "CreateIndex",
    "Datacenters",
    "ID",
    "JobModifyIndex",
    "ModifyIndex",
    "Name",
    "Namespace",
    "NodePool",
    "Priority",
    "Status",
    "Stop",
    "Type",
)


@dataclass(slots=True)
class Workload:
    """Jobs by namespace and id, allocations by id; ``next_index`` gives the Raft index of a write.

    ``forgets_system_jobs``: as Nomad 1.11.2 does, a node that is eligible again gets its system jobs by an evaluation alone.
    """

    nodes: dict[str, JsonObject]
    next_index: Callable[[], int]
    forgets_system_jobs: bool = False
    jobs: dict[tuple[str, str], JsonObject] = field(default_factory=dict)
    allocations: dict[str, JsonObject] = field(default_factory=dict)
    _stops_at: dict[str, float] = field(default_factory=dict)
    _of_group: defaultdict[_Group, list[JsonObject]] = field(default_factory=lambda: defaultdict(list))
    _of_node: defaultdict[str, list[JsonObject]] = field(default_factory=lambda: defaultdict(list))
    _loads: Counter[str] = field(default_factory=Counter)
    """By node, how many allocations are to run there."""

    def register(self, job: JsonObject) -> str:
        """Add or replace a job, and place it; returns the evaluation's id."""
        index = self.next_index()
        name = str(job["ID"])
        stored = {
            "Namespace": "default",
            "NodePool": "default",
            "Datacenters": ["*"],
            "Type": "service",
            "Priority": 50,
            "Name": name,
            **job,
            "Status": "running",
            "Stop": False,
            "CreateIndex": index,
            "ModifyIndex": index,
            "JobModifyIndex": index,
        }
        self.jobs[str(stored["Namespace"]), name] = stored
        self.place()
        return str(uuid.uuid4())

    def stubs(self, namespace: str) -> Iterator[JsonObject]:
        """The jobs of a namespace (``*``: of all) as the API lists them."""
        for key in sorted(self.jobs):
            if namespace in ("*", key[0]):
                yield {name: self.jobs[key][name] for name in _OF_STUB} | {
                    "ParentID": "",
                    "StatusDescription": "",
                }

    def documents(self, node_id: str | None) -> list[JsonObject]:
        """The allocations of a node, or of all, those that have ended too, each with its job."""
        found = list(self.allocations.values()) if node_id is None else self._of_node[node_id]
        return [one | {"Job": self.jobs[str(one["Namespace"]), str(one["JobID"])]} for one in found]

    def place(self, *, system_jobs: bool = True) -> list[str]:
        """Place what is missing; returns an evaluation's id for each job that was looked at."""
        looked_at = []
        for job in self.jobs.values():
            if job["Type"] in PER_NODE and not system_jobs:
                continue
            looked_at.append(str(uuid.uuid4()))
            for group in job["TaskGroups"]:
                self._place_group(job, group)
        return looked_at

    def _place_group(self, job: JsonObject, group: JsonObject) -> None:
        able = [node for node in self.nodes.values() if _takes(node, job)]
        wanted = [one for one in self._of(job, group) if one["DesiredStatus"] == "run"]
        if job["Type"] in PER_NODE:
            placed = self._of(job, group) if job["Type"] == "sysbatch" else wanted
            having = {one["NodeID"] for one in placed}
            for node in able:
                if node["ID"] not in having:
                    self._add(job, group, node, 0)
            return
        if job["Type"] == "batch":
            # What a drain has stopped does not begin again.
            wanted = [one for one in self._of(job, group) if one["ClientStatus"] != "lost"]
        used = {one["Name"] for one in wanted}
        for number in range(int(group.get("Count") or 1)):
            if f"{job['ID']}.{group['Name']}[{number}]" not in used and able:
                self._add(job, group, min(able, key=lambda node: self._loads[str(node["ID"])]), number)

    def _of(self, job: JsonObject, group: JsonObject) -> list[JsonObject]:
        return self._of_group[str(job["Namespace"]), str(job["ID"]), str(group["Name"])]

    def _running(self, node_id: str) -> list[JsonObject]:
        return [one for one in self._of_node[node_id] if one["ClientStatus"] == "running"]

    def _add(self, job: JsonObject, group: JsonObject, node: JsonObject, number: int) -> None:
        index, new = self.next_index(), str(uuid.uuid4())
        self.allocations[new] = placed = {
            "ID": new,
            "EvalID": str(uuid.uuid4()),
            "Name": f"{job['ID']}.{group['Name']}[{number}]",
            "Namespace": job["Namespace"],
            "NodeID": node["ID"],
            "NodeName": node["Name"],
            "JobID": job["ID"],
            "TaskGroup": group["Name"],
            "DesiredStatus": "run",
            "ClientStatus": "running",
            "ClientDescription": "Tasks are running",
            "CreateIndex": index,
            "ModifyIndex": index,
        }
        self._of_group[str(job["Namespace"]), str(job["ID"]), str(group["Name"])].append(placed)
        self._of_node[str(node["ID"])].append(placed)
        self._loads[str(node["ID"])] += 1

    def stop(self, allocation: JsonObject, now: float) -> None:
        """Have an allocation end: at once, or after the kill timeout of a task that ignores signals."""
        job = self.jobs[str(allocation["Namespace"]), str(allocation["JobID"])]
        group = next(group for group in job["TaskGroups"] if group["Name"] == allocation["TaskGroup"])
        slowest = max(
            (
                (task.get("KillTimeout") or _DEFAULT_KILL_NS) / _NS
                for task in group["Tasks"]
                if IGNORES_SIGNALS in (task.get("Meta") or {})
            ),
            default=0.0,
        )
        allocation["DesiredStatus"] = "stop"
        self._loads[str(allocation["NodeID"])] -= 1
        allocation["ModifyIndex"] = self.next_index()
        self._stops_at.setdefault(str(allocation["ID"]), now + slowest)
        self.update(now)

    def update(self, now: float) -> None:
        """End what is due."""
        for allocation_id, at in list(self._stops_at.items()):
            if now >= at:
                del self._stops_at[allocation_id]
                self.allocations[allocation_id]["ClientStatus"] = "complete"

    def lose(self, node_id: str) -> None:
        """Replace what ran on a node that is down."""
        for one in self._running(node_id):
            one["DesiredStatus"], one["ClientStatus"] = "stop", "lost"
        del self._loads[node_id]
        self.place()

    def drain_step(self, node_id: str, *, ignores_system_jobs: bool, is_due: bool, now: float) -> bool:
        """Go on with a node's drain; whether nothing is left to be moved. ``is_due``: what is left is stopped.

        Services go one of a group at a time, once there is room elsewhere; batch jobs may end by themselves; system jobs go last.
        """
        here = [one for one in self._running(node_id) if one["DesiredStatus"] == "run"]
        kinds = {one["ID"]: self.jobs[str(one["Namespace"]), str(one["JobID"])]["Type"] for one in here}
        system = [one for one in here if kinds[one["ID"]] == "system"]
        others = [one for one in here if kinds[one["ID"]] != "system"]
        if is_due:
            going = [*others, *([] if ignores_system_jobs else system)]
        elif others:
            groups = {
                (one["JobID"], one["TaskGroup"]): one for one in others if kinds[one["ID"]] == "service"
            }
            going = [one for one in groups.values() if self._has_room(one)]
        else:
            going = [] if ignores_system_jobs else system
        for one in going:
            self.stop(one, now)
        if going:
            self.place()
        return is_due or not (others or (system and not ignores_system_jobs))

    def _has_room(self, allocation: JsonObject) -> bool:
        job = self.jobs[str(allocation["Namespace"]), str(allocation["JobID"])]
        return any(_takes(node, job) for node in self.nodes.values())


def _takes(node: JsonObject, job: JsonObject) -> bool:
    """Whether a node may have new allocations of a job."""
    if node["SchedulingEligibility"] != "eligible" or node["Status"] != "ready" or node["Drain"]:
        return False
    in_pool = job["NodePool"] in ("all", node["NodePool"])
    return in_pool and any(fnmatchcase(str(node["Datacenter"]), pattern) for pattern in job["Datacenters"])
