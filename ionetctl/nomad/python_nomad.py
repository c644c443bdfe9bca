"""Calls by python-nomad, for endpoints that it covers.

Its own HTTP is not used: it reads the environment, verifies certificates only on request, has one address only and shows
the token in its repr. It gets a ``requests`` session whose adapter sends every request by ``RegionHttp``, and never has
the token. It blocks, so it runs in a thread.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from nomad.api.allocations import Allocations
from nomad.api.job import Job
from nomad.api.jobs import Jobs
from nomad.api.node import Node
from requests import PreparedRequest, Response, Session
from requests.adapters import BaseAdapter

from ionetctl.nomad.http import CONNECTIONS, Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from ionetctl.core.model.names import NodeId, RegionName
    from ionetctl.nomad.http import RegionHttp, Reply

_PLACEHOLDER: Final = "https://region.invalid"
"""python-nomad requires an address; ``RegionHttp`` chooses the server."""
_threads: Final = ThreadPoolExecutor(CONNECTIONS, "python-nomad")
"""Of its own: journal and leases never wait for a region that does not answer."""


async def node_allocations(http: RegionHttp, region: RegionName, node: NodeId) -> bytes:
    """The JSON of ``GET /v1/node/:id/allocations``. Raises as ``RegionHttp.send`` does."""

    def request(session: Session) -> None:
        nodes = Node(address=_PLACEHOLDER, verify=True, region=region, session=session)
        nodes.request(node, "allocations", method="get")

    return (await _carry(http, "node:read", request)).body


async def allocations_page(
    http: RegionHttp, region: RegionName, expression: str, size: int, following: str | None
) -> Reply:
    """A page of ``GET /v1/allocations`` of all namespaces, with what the allocations take. Raises as ``RegionHttp.send`` does."""
    params = {
        "namespace": "*",
        "filter": expression,
        "per_page": str(size),
        "resources": "true",
        "task_states": "false",
        **({"next_token": following} if following else {}),
    }

    def request(session: Session) -> None:
        allocations = Allocations(address=_PLACEHOLDER, verify=True, region=region, session=session)
        # Its ``get_allocations`` would parse what is parsed here, and hides the header that names the next page.
        allocations.request(method="get", params=params)

    return await _carry(http, "read-job", request)


async def parse_job(http: RegionHttp, region: RegionName, namespace: str, hcl: str) -> dict[str, Any]:
    """A job of HCL as Nomad's JSON. Raises as ``RegionHttp.send`` does."""

    def request(session: Session) -> None:
        jobs = Jobs(address=_PLACEHOLDER, verify=True, region=region, namespace=namespace, session=session)
        jobs.parse(hcl, canonicalize=True)

    job: dict[str, Any] = json.loads((await _carry(http, "namespace:parse-job", request)).body)
    return job


async def plan_job(
    http: RegionHttp, region: RegionName, namespace: str, name: str, job: dict[str, Any]
) -> bytes:
    """The JSON of what registering a job would change. Raises as ``RegionHttp.send`` does."""

    def request(session: Session) -> None:
        jobs = Job(address=_PLACEHOLDER, verify=True, region=region, namespace=namespace, session=session)
        jobs.plan_job(name, {"Job": job}, diff=True)

    return (await _carry(http, "namespace:submit-job", request)).body


async def register_job(
    http: RegionHttp, region: RegionName, namespace: str, name: str, job: dict[str, Any]
) -> None:
    """Register a job. Raises as ``RegionHttp.send`` does."""

    def request(session: Session) -> None:
        jobs = Job(address=_PLACEHOLDER, verify=True, region=region, namespace=namespace, session=session)
        jobs.register_job(name, {"Job": job})

    await _carry(http, "namespace:submit-job", request)


async def _carry(http: RegionHttp, right: str, request: Callable[[Session], None]) -> Reply:
    """The region's reply to the one request that ``request`` makes."""
    adapter = _RegionAdapter(http, asyncio.get_running_loop(), right)

    def send() -> None:
        with Session() as session:
            session.trust_env = False
            session.mount("https://", adapter)
            request(session)

    await asyncio.get_running_loop().run_in_executor(_threads, send)
    return adapter.replies[-1]


class _RegionAdapter(BaseAdapter):
    """Sends python-nomad's requests by ``RegionHttp``, on the event loop that it belongs to."""

    def __init__(self, http: RegionHttp, loop: asyncio.AbstractEventLoop, right: str) -> None:
        super().__init__()
        self._http = http
        self._loop = loop
        self._right = right
        self.replies: list[Reply] = []

    def send(self, request: PreparedRequest, *_args: Any, **_kwargs: Any) -> Response:  # noqa: ANN401  (requests' signature)
        url = urlsplit(request.url or "")
        body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
        call = Call(str(request.method), url.path, self._right, dict(parse_qsl(url.query)), body)
        reply = asyncio.run_coroutine_threadsafe(self._http.send(call), self._loop).result()
        self.replies.append(reply)
        response = Response()
        response.status_code = 200
        response.url = str(request.url)
        response.request = request
        response._content = reply.body  # noqa: SLF001  (requests offers no other way to make a response)
        return response

    def close(self) -> None:
        """Nothing to close: the connections are the region's."""
