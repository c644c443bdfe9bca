"""The region's side of the maintenance door: the fences of namespaces, the door's job, words and their answers.

Words lie in variables of the namespace ``ionet-maintenance``, which the job ``ionet-door`` may read; its log has what hosts
answer (``docs/explanation/maintenance.md``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

import msgspec

from ionetctl.core.errors import RegionError
from ionetctl.core.model.node import Namespace
from ionetctl.nomad.http import Call
from ionetctl.nomad.python_nomad import node_allocations, parse_job, plan_job, register_job
from ionetctl.nomad.responses import decoded, printable

if TYPE_CHECKING:
    from ionetctl.core.model.names import NodeId, RegionName
    from ionetctl.nomad.http import RegionHttp, Reply

NAMESPACE: Final = "ionet-maintenance"
JOB: Final = "ionet-door"
TASK: Final = "door"
LOG_BYTES: Final = 64 * 1024
"""As much of the end of the task's log as is read."""

_NO_LOG_NOW: Final = frozenset({"region_not_found", "region_failing"})
"""Its task has just started, or its agent restarts."""

JobChange = Literal["added", "edited", "unchanged"]


class _Capabilities(msgspec.Struct, rename="pascal"):
    enabled_task_drivers: list[str] | None = None
    disabled_task_drivers: list[str] | None = None


class _Namespace(msgspec.Struct, rename="pascal"):
    name: str
    capabilities: _Capabilities | None = None


class _Variable(msgspec.Struct, rename="pascal"):
    modify_index: int = 0


class _Allocation(msgspec.Struct):
    id: str = msgspec.field(name="ID")
    job: str = msgspec.field(name="JobID")
    namespace: str = msgspec.field(name="Namespace")
    status: str = msgspec.field(name="ClientStatus")


class _Diff(msgspec.Struct, rename="pascal"):
    type: str = ""


class _JobPlan(msgspec.Struct, rename="pascal"):
    diff: _Diff | None = None


class RegionDoor:
    """The calls of one region's door; its connections are the region's."""

    def __init__(self, region: RegionName, http: RegionHttp) -> None:
        self._region = region
        self._http = http

    async def namespaces(self) -> tuple[Namespace, ...]:
        """The namespaces that our token may see: all of them with any capability in ``namespace "*"``.

        Raises ``RegionError`` and ``TrustError``.
        """
        path = "/v1/namespaces"
        reply = await self._send("GET", path, "namespace:list-jobs", {})
        found = decoded(list[_Namespace], reply.body, path)
        return tuple(_namespace(one) for one in found)

    async def set_up_job(self, hcl: str) -> JobChange:
        """Register the door's job where the region has none, and say how it differs where it has another.

        A job that differs is left as it is: Nomad would stop it on ineligible nodes, and not start it again. Needs submit-job and
        read-job in ``ionet-maintenance``. Raises ``RegionError`` and ``TrustError``.
        """
        job = await parse_job(self._http, self._region, NAMESPACE, hcl)
        planned = await plan_job(self._http, self._region, NAMESPACE, JOB, job)
        diff = decoded(_JobPlan, planned, "the plan of the door's job").diff
        match diff.type if diff else "":
            case "None":
                return "unchanged"
            case "Added":
                await register_job(self._http, self._region, NAMESPACE, JOB, job)
                return "added"
            case _:
                return "edited"

    async def put_word(self, node: NodeId, word: bytes) -> None:
        """Leave a word for a node, instead of one that lies there; not where another controller does so at the same time.

        Needs read and write on the variables ``ionet/maintenance/*``. Raises ``RegionError`` (``region_conflict``) and ``TrustError``.
        """
        path = _variable(node)
        body = {
            "Namespace": NAMESPACE,
            "Path": f"ionet/maintenance/{node}",
            "Items": {"word": word.decode()},
        }
        index = str(await self._index(path))
        await self._send("PUT", path, "variables:write", {"cas": index}, msgspec.json.encode(body))

    async def take_back(self, node: NodeId) -> None:
        """Remove what was left for a node. Needs destroy on its variable. Raises ``RegionError`` and ``TrustError``."""
        await self._send("DELETE", _variable(node), "variables:destroy", {}, is_text=True)

    async def answers(self, node: NodeId) -> str:
        """The end of the log of the node's door, where the host's answers are; empty while there is none.

        Needs read-job and read-logs in ``ionet-maintenance``. Raises ``RegionError`` and ``TrustError``.
        """
        body = await node_allocations(self._http, self._region, node)
        found = decoded(list[_Allocation], body, "the list of allocations")
        logs = [
            await self._log(each.id)
            for each in found
            if (each.namespace, each.job, each.status) == (NAMESPACE, JOB, "running")
        ]
        return "\n".join(logs)

    async def _log(self, allocation: str) -> str:
        path = f"/v1/client/fs/logs/{quote(allocation, safe='')}"
        params = {"task": TASK, "type": "stdout", "plain": "true", "origin": "end", "offset": str(LOG_BYTES)}
        try:
            reply = await self._send("GET", path, "namespace:read-logs", params, is_text=True)
        except RegionError as error:
            if error.code not in _NO_LOG_NOW:
                raise
            return ""
        return reply.body.decode(errors="replace")

    async def _index(self, path: str) -> int:
        """The index of what lies at a variable's path; 0 where nothing does."""
        try:
            reply = await self._send("GET", path, "variables:read", {})
        except RegionError as error:
            if error.code != "region_not_found":
                raise
            return 0
        return decoded(_Variable, reply.body, "a variable").modify_index

    async def _send(
        self,
        method: str,
        path: str,
        right: str,
        params: dict[str, str],
        body: bytes = b"",
        *,
        is_text: bool = False,
    ) -> Reply:
        target = {"namespace": NAMESPACE, "region": self._region}
        return await self._http.send(Call(method, path, right, {**params, **target}, body, is_text=is_text))


def _namespace(given: _Namespace) -> Namespace:
    limits = given.capabilities or _Capabilities()
    enabled = limits.enabled_task_drivers
    return Namespace(
        printable(given.name),
        frozenset(enabled) if enabled else None,
        frozenset(limits.disabled_task_drivers or ()),
    )


def _variable(node: NodeId) -> str:
    return f"/v1/var/ionet/maintenance/{quote(node, safe='')}"
