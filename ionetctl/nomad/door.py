"""The region's side of the maintenance door: the fences of namespaces, the door's job, words and their answers.

Words lie in variables of the namespace ``ionet-maintenance``, which the job ``ionet-door`` may read; its log has what hosts
answer (``docs/explanation/maintenance.md``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

import msgspec

from ionetctl.core.errors import RegionError
from ionetctl.core.model.node import DOOR_JOB, DOOR_NAMESPACE, Namespace, SeenNamespaces
from ionetctl.nomad.http import Call
from ionetctl.nomad.python_nomad import node_allocations, parse_job, plan_job, register_job
from ionetctl.nomad.responses import decoded, malformed

if TYPE_CHECKING:
    from ionetctl.core.model.names import NodeId, RegionName
    from ionetctl.nomad.http import RegionHttp, Reply

TASK: Final = "door"
POLICIES_READ: Final = 64
"""A token with more policies counts as one that may not see all namespaces."""
LOG_BYTES: Final = 64 * 1024
"""As much of the end of the task's log as is read."""

_CONFLICT: Final = "region_conflict"
_NAME: Final = re.compile(r"[a-zA-Z0-9-]{1,128}")
"""A namespace's name by Nomad's own rule, and nothing that a shell reads as more than a name."""
_NO_LOG_NOW: Final = frozenset({"region_not_found", "region_failing"})
"""Its task has just started, or its agent restarts."""

JobChange = Literal["added", "edited", "unchanged"]


class _Capabilities(msgspec.Struct, rename="pascal"):
    enabled_task_drivers: list[str] | None = None
    disabled_task_drivers: list[str] | None = None


class _Namespace(msgspec.Struct, rename="pascal"):
    name: str
    capabilities: _Capabilities | None = None


class _Token(msgspec.Struct, rename="pascal"):
    type: str


class _PolicyStub(msgspec.Struct, rename="pascal"):
    name: str


class _NamespaceRule(msgspec.Struct, rename="pascal"):
    name: str
    capabilities: list[str] | None = None


class _Rules(msgspec.Struct, rename="pascal"):
    namespaces: list[_NamespaceRule] | None = None


class _Policy(msgspec.Struct):
    rules: _Rules | None = msgspec.field(name="RulesJSON", default=None)
    """What Nomad has made of the policy's HCL: shorthands stand there as the capabilities that they mean."""


class _Variable(msgspec.Struct, rename="pascal"):
    modify_index: int = 0
    items: dict[str, str] = {}


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

    async def namespaces(self) -> SeenNamespaces:
        """The namespaces that our token sees, and whether these are all.

        Nomad leaves out of its list, without a word, those in which the token has no capability; so its own policies are read, which
        needs no right. Raises ``RegionError`` and ``TrustError``.
        """
        path = "/v1/namespaces"
        found = decoded(list[_Namespace], await self._read(path, "namespace:list-jobs"), path)
        return SeenNamespaces(tuple(_namespace(one) for one in found), await self._sees_all())

    async def _sees_all(self) -> bool:
        """Whether our token's rights leave no namespace out."""
        path = "/v1/acl/token/self"
        if decoded(_Token, await self._read(path, "no right"), path).type == "management":
            return True
        path = "/v1/acl/policies"
        own = decoded(list[_PolicyStub], await self._read(path, "no right"), path)
        if len(own) > POLICIES_READ:
            return False
        return _show_all([await self._policy(stub.name) for stub in own])

    async def _policy(self, name: str) -> _Policy:
        path = f"/v1/acl/policy/{quote(name, safe='')}"
        return decoded(_Policy, await self._read(path, "no right"), "/v1/acl/policy/:name")

    async def set_up_job(self, hcl: str) -> JobChange:
        """Register the door's job where the region has none, and say how it differs where it has another.

        A job that differs is left as it is: Nomad would stop it on ineligible nodes, and not start it again. Needs submit-job and
        read-job in ``ionet-maintenance``. Raises ``RegionError`` and ``TrustError``.
        """
        job = await parse_job(self._http, self._region, DOOR_NAMESPACE, hcl)
        planned = await plan_job(self._http, self._region, DOOR_NAMESPACE, DOOR_JOB, job)
        diff = decoded(_JobPlan, planned, "the plan of the door's job").diff
        match diff.type if diff else "":
            case "None":
                return "unchanged"
            case "Added":
                await register_job(self._http, self._region, DOOR_NAMESPACE, DOOR_JOB, job)
                return "added"
            case _:
                return "edited"

    async def put_word(self, node: NodeId, word: bytes) -> int:
        """Leave a word for a node, instead of one that lies there; not where another controller does so at the same time.

        Returns the index by which ``take_back`` knows it. Needs read and write on the variables ``ionet/maintenance/*``. Raises
        ``RegionError`` (``region_conflict``) and ``TrustError``.
        """
        path = _variable(node)
        text = word.decode()
        body = {"Namespace": DOOR_NAMESPACE, "Path": f"ionet/maintenance/{node}", "Items": {"word": text}}
        index = str((await self._lying(path)).modify_index)
        try:
            reply = await self._send(
                "PUT", path, "variables:write", {"cas": index}, msgspec.json.encode(body)
            )
        except RegionError as error:
            if error.code != _CONFLICT:
                raise
            # The answer to an attempt that did write may have been lost, and the next one finds what that has written.
            lying = await self._lying(path)
            if lying.items.get("word") != text:
                raise
            return lying.modify_index
        return decoded(_Variable, reply.body, "a variable").modify_index

    async def take_back(self, node: NodeId, index: int) -> None:
        """Remove what was left for a node under that index; what others have left there since stays.

        Needs destroy on its variable. Raises ``RegionError`` and ``TrustError``.
        """
        path, params = _variable(node), {"cas": str(index)}
        try:
            await self._send("DELETE", path, "variables:destroy", params, is_text=True)
        except RegionError as error:
            if error.code != _CONFLICT:
                raise

    async def answers(self, node: NodeId) -> str:
        """The end of the log of the node's door, where the host's answers are; empty while there is none.

        Needs read-job and read-logs in ``ionet-maintenance``. Raises ``RegionError`` and ``TrustError``.
        """
        body = await node_allocations(self._http, self._region, node)
        found = decoded(list[_Allocation], body, "the list of allocations")
        logs = [
            await self._log(each.id)
            for each in found
            if (each.namespace, each.job, each.status) == (DOOR_NAMESPACE, DOOR_JOB, "running")
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

    async def _lying(self, path: str) -> _Variable:
        """What lies at a variable's path; index 0 where nothing does."""
        try:
            reply = await self._send("GET", path, "variables:read", {})
        except RegionError as error:
            if error.code != "region_not_found":
                raise
            return _Variable()
        return decoded(_Variable, reply.body, "a variable")

    async def _read(self, path: str, right: str) -> bytes:
        """The answer to a question about the region as a whole."""
        return (await self._http.send(Call("GET", path, right, {"region": self._region}))).body

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
        target = {"namespace": DOOR_NAMESPACE, "region": self._region}
        return await self._http.send(Call(method, path, right, {**params, **target}, body, is_text=is_text))


def _namespace(given: _Namespace) -> Namespace:
    if not _NAME.fullmatch(given.name):
        raise malformed("/v1/namespaces", f"{given.name!r} is no namespace's name")
    limits = given.capabilities or _Capabilities()
    enabled = limits.enabled_task_drivers
    return Namespace(
        given.name,
        frozenset(enabled) if enabled else None,
        frozenset(limits.disabled_task_drivers or ()),
    )


def _show_all(policies: list[_Policy]) -> bool:
    """Whether policies together show every namespace: one rule is for all of them, and none takes any of them out again.

    The closest rule counts for a namespace: one that denies, or that grants nothing but variables, hides it.
    """
    granted: dict[str, set[str]] = {}
    for policy in policies:
        if policy.rules is None:
            return False
        for rule in policy.rules.namespaces or ():
            granted.setdefault(rule.name, set()).update(rule.capabilities or ())
    return "*" in granted and all(rights and "deny" not in rights for rights in granted.values())


def _variable(node: NodeId) -> str:
    return f"/v1/var/ionet/maintenance/{quote(node, safe='')}"
