"""One Nomad region: the API calls that ionetctl makes, the capabilities they need, and their paging.

Implements ``ports.Region``. It knows Nomad's API (https://developer.hashicorp.com/nomad/api-docs) and nothing of hosts
or rollouts. Lists are stale reads, in pages. A server without a leader answers these with 403 or, just restarted, from an
old log: they are repeated without ``stale`` then, which only the leader answers.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self, TypeVar

import msgspec

from ionetctl.core.errors import RegionError
from ionetctl.core.model.node import RegionStatus, RunningAllocation
from ionetctl.core.versions import precedence
from ionetctl.nomad.http import Call, CallLimits, Endpoint, RegionHttp, Reply
from ionetctl.nomad.responses import (
    AgentSelf,
    Allocation,
    ClientMetadata,
    JobStub,
    Members,
    MintedToken,
    NodeStub,
    Pool,
    WholeNode,
    decoded,
    introduction_token,
    malformed,
    node_detail,
    node_meta,
    node_view,
    printable,
    system_job,
)
from ionetctl.nomad.tls import client_context, expiry
from ionetctl.nomad.work_responses import (
    AllocationStub,
    ClientStatistics,
    node_use,
    placed_allocation,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from types import TracebackType

    from ionetctl.core.model.inventory import RegionSettings
    from ionetctl.core.model.names import NodeId, RegionName
    from ionetctl.core.model.node import (
        DrainSpec,
        IntroductionToken,
        NodeDetail,
        NodeMeta,
        NodeUse,
        NodeView,
        PlacedAllocation,
        SeenNamespaces,
        SystemJob,
    )
    from ionetctl.core.model.secret import SecretRef
    from ionetctl.nomad.door import RegionDoor
    from ionetctl.nomad.http import OnWait

_Answer = TypeVar("_Answer")

PAGE_SIZE: Final = 1000
PAGE_LIMIT: Final = 100
"""A region has up to 10,000 nodes; a list without end is not Nomad's."""
ALLOCATIONS_PAGE_LIMIT: Final = 1000
_RUNNING: Final = 'ClientStatus == "running" or ClientStatus == "pending"'
LIST_LIMIT_BYTES: Final = 512 << 20
"""All pages together; 10,000 nodes with their devices are about 200 MB."""
RUNNING: Final = frozenset({"pending", "running"})
STALE_LIMIT_MS: Final = 5_000
"""A server that heard of its leader longer ago than this may answer from an old log."""
_OF_SYSTEM: Final = 'Type == "system"'
_NS_PER_S: Final = 1_000_000_000
_OF_NODE_PERHAPS: Final = frozenset({"node_silent", "region_unreachable", "region_failing"})
"""Failures of a call about a node that are the region's where it does not answer otherwise."""
_SICK_HINT: Final = "look at the node's Nomad: journalctl -u nomad.service"
_FORBIDDEN: Final = "region_forbidden"
_METADATA: Final = "/v1/client/metadata"
_NUMBER: Final = re.compile(r"[0-9]{1,19}")


class NomadRegion:
    """A region's API; an async context manager that closes its connections at the end."""

    def __init__(self, name: RegionName, http: RegionHttp) -> None:
        self._name = name
        self._http = http
        self._newest_index = 0

    @classmethod
    def open(
        cls,
        settings: RegionSettings,
        reveal: Callable[[SecretRef], str],
        limits: CallLimits | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_wait: OnWait | None = None,
    ) -> Self:
        """The region of some settings; connects at the first call. ``on_wait`` is told of each failure that is tried again.

        Raises ``ConfigurationError``: ``region_api_invalid``, ``secret_malformed``, ``certificate_unreadable``,
        ``key_unreadable``, ``pair_mismatch``, and what ``reveal`` raises.
        """
        endpoint = Endpoint(
            addresses=settings.api,
            server_name=settings.tls.server_name,
            context=client_context(settings.tls, reveal),
            token=reveal(settings.token),
        )
        return cls(settings.name, RegionHttp(endpoint, limits or CallLimits(), sleep, on_wait))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def status(self) -> RegionStatus:
        """The region's servers, node pools and client settings, read before a rollout touches a host.

        ``server_version`` is the oldest among its servers. Needs node:read (or agent:read) and node_pool:read; fields
        that come from a server's own configuration are ``None`` without agent:read. Raises ``RegionError`` and ``TrustError``.
        """
        agent = await self._agent()
        members = await self._members()
        return RegionStatus(
            name=self._name,
            server_version=self._oldest_server(members),
            enforcement=agent.enforcement if agent else None,
            pools=frozenset(printable(pool.name) for pool in await self._pools()),
            connections_per_client=agent.connections_per_client if agent else None,
            servers=members.servers(self._name, await self._leader()),
            heartbeats=agent.heartbeats if agent else None,
            certificate_expires_at=expiry(self._http.certificate),
        )

    async def nodes(
        self, filter_expression: str | None = None, *, with_devices: bool = False
    ) -> Sequence[NodeView]:
        """All nodes that pass the filter (go-bexpr over the full node). Needs node:read.

        Raises ``RegionError`` and ``TrustError``.
        """
        params = {"per_page": str(PAGE_SIZE)}
        if filter_expression:
            params["filter"] = filter_expression
        if with_devices:
            params["resources"] = "true"
        return [
            node_view(stub, with_devices=with_devices)
            async for page in self._node_pages(params)
            for stub in page
        ]

    async def introduce(self, name: str, pool: str, ttl_s: int) -> IntroductionToken:
        """A new introduction token, with the expiry that the region gave it. Needs node:write and Nomad 1.11.

        Raises ``RegionError`` (``introduction_unsupported`` from an older region, among others) and ``TrustError``.
        """
        # Nomad reads a number as nanoseconds.
        body = {"NodeName": name, "NodePool": pool, "TTL": f"{ttl_s}s"}
        path = "/v1/acl/identity/client-introduction-token"
        call = self._call("POST", path, "node:write", body=msgspec.json.encode(body))
        try:
            reply = await self._http.send(call)
        except RegionError as error:
            if error.code != "region_not_found":
                raise
            message = f"{self._name} does not know introduction tokens: they came with Nomad 1.11"
            hint = "upgrade the servers, or set introduction: off for the region"
            raise RegionError("introduction_unsupported", message, hint) from error
        return introduction_token(decoded(MintedToken, reply.body, path).jwt)

    async def node(self, node: NodeId) -> NodeDetail | None:
        """One node, its static and dynamic meta merged; ``None`` where it is not known. Needs node:read.

        Dynamic metadata shows here some seconds after it was set. Raises ``RegionError`` and ``TrustError``.
        """
        try:
            reply = await self._about(node, self._get(f"/v1/node/{node}", "node:read"))
        except RegionError as error:
            if error.code != "region_not_found":
                raise
            return None
        return node_detail(decoded(WholeNode, reply.body, "/v1/node/:id"))

    async def set_eligibility(self, node: NodeId, *, is_eligible: bool) -> None:
        """Make a node eligible or ineligible for new allocations. Needs node:write.

        Raises ``RegionError`` and ``TrustError``.
        """
        body = {"NodeID": node, "Eligibility": "eligible" if is_eligible else "ineligible"}
        path = f"/v1/node/{node}/eligibility"
        call = self._call("POST", path, "node:write", body=msgspec.json.encode(body))
        await self._about(node, self._http.send(call))

    async def annotate(self, node: NodeId, meta: Mapping[str, str | None]) -> NodeMeta:
        """The node's metadata after a change of the dynamic one, by way of its servers. Needs node:write and a connected node.

        Its agent has it at once and keeps it across restarts; the servers have it up to ten seconds later.
        Raises ``RegionError`` (of the node alone: ``node_disconnected``, ``node_silent``, ``node_failing``) and ``TrustError``.
        """
        body = msgspec.json.encode({"NodeID": node, "Meta": dict(meta)})
        reply = await self._asked_of_agent(node, "POST", _METADATA, "node:write", body)
        return node_meta(decoded(ClientMetadata, reply.body, _METADATA))

    async def allocations(self, node: NodeId) -> Sequence[RunningAllocation]:
        """A node's running and pending allocations. Needs read-job in their namespaces.

        Raises ``RegionError`` and ``TrustError``.
        """
        from ionetctl.nomad.python_nomad import node_allocations

        body = await self._about(node, node_allocations(self._http, self._name, node))
        found = decoded(list[Allocation], body, "the list of allocations")
        return [
            RunningAllocation(
                printable(allocation.name),
                allocation.drivers,
                printable(allocation.job_id),
                printable(allocation.namespace),
                printable(allocation.job.type) if allocation.job else "",
            )
            for allocation in found
            if allocation.client_status in RUNNING
        ]

    @property
    def door(self) -> RegionDoor:
        """The region's side of the maintenance door."""
        from ionetctl.nomad.door import RegionDoor

        return RegionDoor(self._name, self._http)

    async def namespaces(self) -> SeenNamespaces:
        """The namespaces that our token sees, and whether its policies say that these are all. Raises ``RegionError`` and ``TrustError``."""
        return await self.door.namespaces()

    async def all_allocations(self) -> Sequence[PlacedAllocation]:
        """The running and pending allocations of all namespaces that the token may read (read-job).

        Raises ``RegionError`` and ``TrustError``.
        """
        from ionetctl.nomad.python_nomad import allocations_page

        found: list[PlacedAllocation] = []
        what, following, seen = "the list of allocations", None, set[str]()
        for _ in range(ALLOCATIONS_PAGE_LIMIT):
            reply = await allocations_page(self._http, self._name, _RUNNING, PAGE_SIZE, following)
            rows = decoded(list[AllocationStub], reply.body, what)
            found += map(placed_allocation, rows)
            following = reply.headers.get("X-Nomad-NextToken")
            if not following:
                return found
            if following in seen:
                raise malformed(what, "a page leads to an earlier one")
            seen.add(following)
        raise malformed(what, f"it has more than {ALLOCATIONS_PAGE_LIMIT} pages")

    async def use(self, node: NodeId) -> NodeUse:
        """What a node uses now. Needs node:read and a connected node.

        Raises ``RegionError`` (of the node alone: ``node_disconnected``, ``node_silent``, ``node_failing``) and ``TrustError``.
        """
        reply = await self._asked_of_agent(node, "GET", "/v1/client/stats", "node:read")
        return node_use(decoded(ClientStatistics, reply.body, "/v1/client/stats"))

    async def metadata(self, node: NodeId) -> NodeMeta:
        """A node's metadata, as its agent has it at once. Needs node:read and a connected node.

        Raises ``RegionError`` (of the node alone: ``node_disconnected``, ``node_silent``, ``node_failing``) and ``TrustError``.
        """
        reply = await self._asked_of_agent(node, "GET", _METADATA, "node:read")
        return node_meta(decoded(ClientMetadata, reply.body, _METADATA))

    async def drain(
        self, node: NodeId, spec: DrainSpec | None, meta: Mapping[str, str], *, mark_eligible: bool = False
    ) -> None:
        """Begin a node's drain, or end it; ``meta`` stands in the node's last drain. Needs node:write.

        python-nomad's call has no room for ``meta``. Raises ``RegionError`` and ``TrustError``.
        """
        wanted = spec and {
            "Deadline": round(spec.deadline_s * _NS_PER_S),
            "IgnoreSystemJobs": spec.ignores_system_jobs,
        }
        body = {"NodeID": node, "DrainSpec": wanted, "MarkEligible": mark_eligible, "Meta": dict(meta)}
        call = self._call("POST", f"/v1/node/{node}/drain", "node:write", body=msgspec.json.encode(body))
        await self._about(node, self._http.send(call))

    async def evaluate(self, node: NodeId) -> None:
        """Have the node's jobs and all system jobs of its place evaluated anew. Needs node:write.

        Raises ``RegionError`` and ``TrustError``.
        """
        call = self._call("POST", f"/v1/node/{node}/evaluate", "node:write")
        await self._about(node, self._http.send(call))

    async def system_jobs(self) -> Sequence[SystemJob]:
        """The system jobs that are not stopped, of all namespaces. Needs list-jobs in each that is to be seen.

        Raises ``RegionError`` and ``TrustError``.
        """
        what, params = (
            "the list of jobs",
            {"namespace": "*", "filter": _OF_SYSTEM, "per_page": str(PAGE_SIZE)},
        )
        found: list[SystemJob] = []
        for _ in range(PAGE_LIMIT):
            reply = await self._get("/v1/jobs", "list-jobs", params)
            found += [system_job(job) for job in decoded(list[JobStub], reply.body, what) if not job.stop]
            following = reply.headers.get("X-Nomad-NextToken")
            if not following:
                return found
            params = {**params, "next_token": following}
        raise malformed(what, f"it has more than {PAGE_LIMIT} pages")

    async def _about(self, node: NodeId, answer: Awaitable[_Answer]) -> _Answer:
        """The answer to a call about one node.

        Where it fails and the region answers otherwise, the node alone is at fault: ``RegionError`` (``node_failing``, ``node_silent``).
        """
        try:
            return await answer
        except RegionError as error:
            failure = error
        if failure.code not in _OF_NODE_PERHAPS:
            raise failure
        await self._nodes_page({"per_page": "1"})
        message = f"{self._name} answers, and not about the node {node}: {failure.message}"
        if failure.code == "region_failing":
            raise RegionError("node_failing", message, _SICK_HINT) from failure
        raise RegionError("node_silent", message, _SICK_HINT) from failure

    async def _asked_of_agent(
        self, node: NodeId, method: str, path: str, right: str, body: bytes = b""
    ) -> Reply:
        """The reply of a node's agent. Raises ``RegionError`` (``node_disconnected`` where no server is connected to it)."""
        try:
            call = self._call(method, path, right, {"node_id": node}, body)
            return await self._about(node, self._http.send(replace(call, is_relayed=True)))
        except RegionError as error:
            if error.code != "region_not_found":
                raise
            message = f"{self._name} has no way to the node {node} now"
            raise RegionError("node_disconnected", message, "is its Nomad running? Then run again") from error

    async def _node_pages(self, params: dict[str, str]) -> AsyncIterator[list[NodeStub]]:
        """The pages of a list, each node once. Raises ``RegionError`` (``region_nonsense``) for a list without end."""
        what, seen, size_bytes = "the list of nodes", set[str](), 0
        for _ in range(PAGE_LIMIT):
            reply = await self._nodes_page(params)
            page = decoded(list[NodeStub], reply.body, what)
            before = len(seen)
            seen.update(stub.id for stub in page)
            if len(seen) < before + len(page):
                raise malformed(what, "a node is in it twice")
            size_bytes += len(reply.body)
            if size_bytes > LIST_LIMIT_BYTES:
                raise malformed(what, f"it has more than {LIST_LIMIT_BYTES >> 20} MB")
            yield page
            following = reply.headers.get("X-Nomad-NextToken")
            if not following:
                return
            if following == params.get("next_token"):
                raise malformed(what, "a page leads to itself")
            params = {**params, "next_token": following}
        raise malformed(what, f"it has more than {PAGE_LIMIT} pages")

    async def _nodes_page(self, params: Mapping[str, str]) -> Reply:
        """A page of nodes by a stale read, or by a consistent one where the stale one is refused or too old."""
        try:
            reply = await self._get("/v1/nodes", "node:read", {**params, "stale": "true"})
        except RegionError as error:
            if error.code != _FORBIDDEN:
                raise
        else:
            if not self._is_too_old(reply):
                return reply
        reply = await self._get("/v1/nodes", "node:read", params)
        self._newest_index = max(self._newest_index, _number(reply, "X-Nomad-Index"))
        return reply

    def _is_too_old(self, reply: Reply) -> bool:
        """Whether a stale answer may lack what the region knew before.

        For some seconds after its restart a server answers from its old log: without a leader, or with an index below one
        that was seen already.
        """
        index, newest = _number(reply, "X-Nomad-Index"), self._newest_index
        self._newest_index = max(index, newest)
        return (
            reply.headers.get("X-Nomad-KnownLeader") == "false"
            or _number(reply, "X-Nomad-LastContact") > STALE_LIMIT_MS
            or index < newest
        )

    async def _agent(self) -> AgentSelf | None:
        """The configuration of the server that answers; ``None`` without agent:read, and for a server of another region."""
        try:
            reply = await self._get("/v1/agent/self", "agent:read")
        except RegionError as error:
            if error.code != _FORBIDDEN:
                raise
            return None
        agent = decoded(AgentSelf, reply.body, "/v1/agent/self")
        return agent if agent.config.region == self._name else None

    async def _members(self) -> Members:
        reply = await self._get("/v1/agent/members", "node:read")
        return decoded(Members, reply.body, "/v1/agent/members")

    async def _leader(self) -> str:
        """The RPC address of the region's leader; needs no capability."""
        reply = await self._get("/v1/status/leader", "no right")
        return decoded(str, reply.body, "/v1/status/leader")

    def _oldest_server(self, members: Members) -> str:
        """The oldest version among the region's servers: a client must not be newer than any of them."""
        builds = members.builds(self._name)
        if not builds:
            hint = "the region's name in the inventory must be Nomad's own: nomad server members shows it"
            raise RegionError("region_no_path", f"its API knows no living server of {self._name}", hint)
        try:
            return min(builds, key=precedence)
        except ValueError as error:
            why = str(error)
        raise malformed("/v1/agent/members", why)

    async def _pools(self) -> list[Pool]:
        reply = await self._get("/v1/node/pools", "node_pool:read")
        return decoded(list[Pool], reply.body, "/v1/node/pools")

    async def _get(self, path: str, right: str, params: Mapping[str, str] | None = None) -> Reply:
        return await self._http.send(self._call("GET", path, right, params or {}))

    def _call(
        self, method: str, path: str, right: str, params: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Call:
        """A call to this region, whose requests any federated server forwards; ``/v1/agent`` is about the server that answers."""
        target = {} if path.startswith("/v1/agent/") else {"region": self._name}
        return Call(method, path, right, {**(params or {}), **target}, body)


def _number(reply: Reply, header: str) -> int:
    """A number in a header; 0 where there is none."""
    text = reply.headers.get(header, "")
    return int(text) if _NUMBER.fullmatch(text) else 0
