"""HTTP requests to one region: its addresses, failover, retries, deadlines, limits, and the errors of each status.

It knows aiohttp (by measurement the cheapest client: a POST takes a seventh of the CPU that httpx takes) and Nomad's error
responses; it must not know what is requested. A request goes to the address that answered last; after a transient failure
(no connection, 429, 5xx, a response that is not JSON) to the next one.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from ionetctl import __version__
from ionetctl.core.errors import ConfigurationError, RegionError
from ionetctl.nomad.responses import excerpt, is_secret, malformed, printable
from ionetctl.nomad.tls import explain_tls_failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONNECTIONS: Final = 4
"""A server refuses the 101st connection from an address (``http_max_conns_per_client``), and ionetctl may not be alone."""
BODY_LIMIT_BYTES: Final = 64 << 20
"""A thousand nodes with the device lists of many GPUs and cores are about 20 MB."""
_REFUSAL_LIMIT_BYTES: Final = 4096
_ENCODING: Final = re.compile(r"[a-z]{1,16}(, ?[a-z]{1,16}){0,4}")
_REDIRECTION: Final = 3
"""The class of statuses."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Attempts and timeouts of one call; ``deadline_s`` bounds all of it, retries and waits included."""

    attempts: int = 8
    first_wait_s: float = 0.5
    longest_wait_s: float = 8.0
    first_connect_s: float = 3.0
    """For the first try of each address where there are several: one that swallows packets costs seconds."""
    connect_s: float = 10.0
    silence_s: float = 30.0
    relayed_s: float = 10.0
    """Instead of ``silence_s`` where a server has to ask a node's agent: one that hangs must not keep others waiting."""
    deadline_s: float = 90.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``right`` is the ACL capability that the token needs for it, for example ``node:read``.

    ``is_relayed``: a node's agent answers it, by way of the servers.
    """

    method: str
    path: str
    right: str
    params: Mapping[str, str]
    body: bytes = b""
    is_relayed: bool = False
    is_text: bool = False
    """Whether the answer need not be JSON: a log, or nothing."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Reply:
    """A response of status 2xx whose content is JSON, or text where that was asked for; ``headers`` are found whatever the case of their names."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wait:
    """A call that failed at an address and is tried again: its attempts so far, and the seconds since the first began."""

    address: str
    attempt: int
    waited_s: float
    error: RegionError


OnWait = Callable[[Wait], Awaitable[None]]


class _TransientError(Exception):
    """A failure that may not occur again, or not on another address."""

    def __init__(self, error: RegionError) -> None:
        super().__init__(error.message)
        self.error = error
        self.address = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A region's API: its addresses, the DNS name that its certificate must have, the TLS context and the token."""

    addresses: Sequence[str]
    server_name: str
    context: ssl.SSLContext
    token: str = field(repr=False)


class RegionHttp:
    """The connections to one region's API; ``send`` makes one call.

    Raises ``ConfigurationError``: ``region_api_invalid`` for a malformed address, ``secret_malformed`` for a malformed token.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limits: CallLimits,
        sleep: Callable[[float], Awaitable[None]],
        on_wait: OnWait | None = None,
    ) -> None:
        self._addresses = [_checked_address(address) for address in endpoint.addresses]
        self._server_name = endpoint.server_name
        self._token = _checked_token(endpoint.token)
        self._limits = limits
        self._sleep = sleep
        self._on_wait = on_wait
        self.certificate: bytes | None = None
        """The certificate (DER) that the API presented last."""
        self._preferred = 0
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._relays = asyncio.Semaphore(CONNECTIONS - 1)
        self._context = self._reporting(endpoint.context)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def send(self, call: Call) -> Reply:
        """The region's response, from any of its addresses.

        Raises ``TrustError`` (``region_untrusted``) at the first certificate that is not valid, and ``RegionError``:
        at once for ``client_certificate_refused``, ``region_forbidden``, ``region_not_found``, ``region_refused`` and what concerns
        one node (``node_unknown`` by its leader, ``node_draining``); after the retries for ``region_unreachable``, ``region_no_leader``,
        ``region_no_path``, ``region_rate_limited``, ``region_failing`` and ``region_nonsense``; for a call that is relayed ``node_silent``
        after two servers, or the only one, have been waited for in vain.
        """
        # Nodes whose agents hang leave one connection to the calls that the servers answer by themselves.
        async with self._relays if call.is_relayed else nullcontext():
            return await self._send_in_time(call)

    async def _send_in_time(self, call: Call) -> Reply:
        failures: list[RegionError] = []
        try:
            async with asyncio.timeout(self._limits.deadline_s):
                return await self._send_with_retries(call, failures)
        except TimeoutError:
            pass
        message = f"{call} had no answer within {self._limits.deadline_s:g} s"
        raise failures[-1] if failures else RegionError("region_unreachable", message, _NETWORK_HINT)

    async def _send_with_retries(self, call: Call, failures: list[RegionError]) -> Reply:
        began = time.monotonic()

        async def report(state: RetryCallState) -> None:
            failure = state.outcome.exception() if state.outcome else None
            if self._on_wait is not None and isinstance(failure, _TransientError):
                waited_s = time.monotonic() - began
                await self._on_wait(Wait(failure.address, state.attempt_number, waited_s, failure.error))

        def is_enough(state: RetryCallState) -> bool:
            silent = sum(each.code == _SILENT for each in failures)
            return state.attempt_number >= self._limits.attempts or silent >= min(2, len(self._addresses))

        retrying = AsyncRetrying(
            stop=is_enough,
            wait=self._wait_s,
            retry=retry_if_exception_type(_TransientError),
            before_sleep=report,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return await retrying(self._attempt, call, failures)
        except _TransientError as failure:
            raise failure.error from failure

    def _wait_s(self, state: RetryCallState) -> float:
        """No wait while there are untried addresses; then at random, below a bound that doubles."""
        if state.attempt_number < len(self._addresses):
            return 0.0
        return wait_random_exponential(self._limits.first_wait_s, self._limits.longest_wait_s)(state)

    async def _attempt(self, call: Call, failures: list[RegionError]) -> Reply:
        async with self._slots:
            chosen = self._preferred
            is_first_round = len(failures) < len(self._addresses) > 1
            connect_s = self._limits.first_connect_s if is_first_round else self._limits.connect_s
            try:
                return await self._request(
                    self._addresses[chosen], call, min(connect_s, self._limits.connect_s)
                )
            except _TransientError as failure:
                failures.append(failure.error)
                if self._preferred == chosen:
                    self._preferred = (chosen + 1) % len(self._addresses)
                failure.address = self._addresses[chosen]
                raise

    async def _request(self, address: str, call: Call, connect_s: float) -> Reply:
        if self._session is None:
            self._session = _new_session(self._context)
        try:
            async with self._session.request(
                method=call.method,
                url=f"{address}{call.path}",
                params=call.params,
                data=call.body or None,
                # On each request, so that no list of the session shows it.
                headers={"X-Nomad-Token": self._token},
                timeout=aiohttp.ClientTimeout(sock_connect=connect_s, sock_read=self._silence_s(call)),
                server_hostname=self._server_name,
                allow_redirects=False,
            ) as response:
                return await self._read(address, call, response)
        except aiohttp.SocketTimeoutError as error:
            if call.is_relayed:
                message = (
                    f"{call} at {address}: the node's agent did not answer within {self._silence_s(call):g} s"
                )
                raise _TransientError(RegionError(_SILENT, message, _AGENT_HINT)) from error
            raise self._translated(error, address) from error
        except (
            aiohttp.ClientError,
            OSError,
        ) as error:  # an alert while reading comes through as plain ssl.SSLError
            raise self._translated(error, address) from error

    def _silence_s(self, call: Call) -> float:
        """How long a server may say nothing."""
        return (
            min(self._limits.relayed_s, self._limits.silence_s) if call.is_relayed else self._limits.silence_s
        )

    async def _read(self, address: str, call: Call, response: aiohttp.ClientResponse) -> Reply:
        if response.status // 100 != 2:  # noqa: PLR2004  (the class of successes)
            body = await _body(response, _REFUSAL_LIMIT_BYTES, cut=True)
            if response.status // 100 == _REDIRECTION:
                body = response.headers.get("Location", "").encode(errors="replace")
            raise _refusal(address, call, response.status, excerpt(body, self._token))
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        if not (is_json or call.is_text):
            raise _TransientError(malformed(f"{call} at {address}", "the answer is not JSON"))
        body = await _body(response, BODY_LIMIT_BYTES)
        if is_secret(self._token):  # no answer has it, and what an answer says is shown
            body = body.replace(self._token.encode(), b"***")
        return Reply(body, response.headers)

    def _reporting(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """The context, whose handshakes tell the certificate that they have accepted."""
        region = self

        class Handshake(ssl.SSLObject):
            def do_handshake(self) -> None:
                super().do_handshake()
                region.certificate = self.getpeercert(binary_form=True)

        context.sslobject_class = Handshake
        return context

    def _translated(self, error: Exception, address: str) -> Exception:
        if trust := explain_tls_failure(error, address, self._server_name):
            return trust
        why = excerpt(str(error).encode(errors="replace"), self._token) or type(error).__name__
        return _TransientError(
            RegionError("region_unreachable", f"{address} cannot be reached: {why}", _NETWORK_HINT)
        )


_NETWORK_HINT: Final = "check the network from here to the API's port (4646): routes, firewall, load balancer"
_AGENT_HINT: Final = "look at the node's Nomad, and at its driver: journalctl -u nomad.service"
_PURGED_HINT: Final = "was it purged? enrol the host again"
_SILENT: Final = "node_silent"
_LEADER_HINT: Final = "its servers are electing a leader, or have lost their quorum: nomad server members"


def _refusal(address: str, call: Call, status: int, text: str) -> Exception:
    """The error for a status other than 2xx (https://developer.hashicorp.com/nomad/api-docs, checked with a real region)."""
    message = f"{call} at {address} was answered {status}: {text}"
    match status:
        case _ if status // 100 == _REDIRECTION:
            moved = f"{call} at {address} was answered {status}: it leads to {text}"
            hint = "redirections are not followed: regions.….api must name the region's own servers"
            return RegionError("region_refused", moved, hint)
        case 403:
            denied = f"the region's token may not {call} (it needs {call.right})"
            hint = f"give its policy {call.right}, and look whether the token is this region's and has not expired"
            return RegionError("region_forbidden", denied, hint)
        case 404 | 409:
            return _not_there(status, message)
        case 429:
            hint = "too many connections come from this address: run fewer rollouts at once"
            return _TransientError(RegionError("region_rate_limited", message, hint))
        case _ if status >= 500:  # noqa: PLR2004  (the class of server errors)
            return _server_error(message, text)
        case _:
            return RegionError("region_refused", message, "this should not happen: please report it")


def _server_error(message: str, text: str) -> Exception:
    """The error for a status from 500 on, by which Nomad also refuses what one node alone is at fault for (``nomad/node_endpoint.go``)."""
    if "while it is draining" in text:
        return RegionError("node_draining", message, "end that first: ionetctl nodes drain --cancel")
    if "node not found" in text:
        return RegionError("node_unknown", message, _PURGED_HINT)
    if "Unknown node" in text:  # also said by a follower that has not heard of a new node yet
        return _TransientError(RegionError("node_unknown", message, _PURGED_HINT))
    return _TransientError(_failure(message, text))


def _not_there(status: int, message: str) -> RegionError:
    if status == 409:  # noqa: PLR2004  (a variable's index has changed)
        return RegionError("region_conflict", message, "somebody else changed it at the same time: run again")
    return RegionError("region_not_found", message, "the region's Nomad may be too old to have this endpoint")


def _failure(message: str, text: str) -> RegionError:
    if "No cluster leader" in text:
        return RegionError("region_no_leader", message, _LEADER_HINT)
    if "No path to region" in text:
        hint = "the region's name in the inventory must be Nomad's own: nomad server members shows it"
        return RegionError("region_no_path", message, hint)
    return RegionError("region_failing", message, "look at the servers' logs")


def _new_session(context: ssl.SSLContext) -> aiohttp.ClientSession:
    """Connections that trust by ``context`` alone: no proxies of the environment, no cookies, nothing decompressed."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=CONNECTIONS, resolver=aiohttp.ThreadedResolver()),
        headers={
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": f"ionetctl/{__version__}",
        },
        skip_auto_headers={"Content-Type"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )


async def _body(response: aiohttp.ClientResponse, limit: int, *, cut: bool = False) -> bytes:
    """The content, decompressed. Past ``limit`` bytes it is cut, or ``RegionError`` (``region_nonsense``) is raised.

    No more than ``limit`` bytes are decompressed: aiohttp would decompress all that a few kilobytes stand for at once.
    """
    path, encoding = response.url.path, response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        named = f"as {encoding!r}" if _ENCODING.fullmatch(encoding) else "in some way"
        raise malformed(path, f"it is compressed {named}, which nobody asked for")
    gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    body = bytearray()
    try:
        async for block in response.content.iter_any():
            body += gzip.decompress(block, limit + 1 - len(body)) if gzip else block
            if len(body) > limit:
                if cut:
                    break
                raise malformed(path, f"the answer has more than {limit >> 20} MB")
    except zlib.error:
        raise _TransientError(malformed(path, "its compression is broken")) from None
    return bytes(body)


def _checked_address(address: str) -> str:
    try:
        url = urlsplit(address)
    except ValueError:
        url = urlsplit("")
    if url.scheme != "https" or not url.hostname:
        hint = "an address of the API looks like https://nomad-1.eu-north.example:4646"
        raise ConfigurationError("region_api_invalid", f"{printable(address)!r} is no https address", hint)
    return address.rstrip("/")


def _checked_token(token: str) -> str:
    """The token, which can be sent in a header; a library's error about it would show it."""
    if token.isascii() and token.isprintable() and " " not in token:
        return token
    hint = "it is one line of ASCII, as nomad acl token create prints it under Secret ID"
    raise ConfigurationError("secret_malformed", "the region's token has characters that no token has", hint)
