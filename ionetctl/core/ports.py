"""Interfaces to SSH, regions, certificates, events and time, as Protocols. Adapters implement them, tests fake them.

Implementations raise the errors that are named here, and no others that a user or a host can cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from ionetctl.core.events import AnyEvent, Envelope
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.login_key import AccountLogin, LoginKey
    from ionetctl.core.model.names import NodeId
    from ionetctl.core.model.node import (
        DrainSpec,
        IntroductionToken,
        NodeCertificate,
        NodeDetail,
        NodeMeta,
        NodeUse,
        NodeView,
        PlacedAllocation,
        RegionStatus,
        RunningAllocation,
        SeenNamespaces,
        SystemJob,
    )
    from ionetctl.core.model.plan import Form, Program


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended on a host. Output is bytes, cut at the command's limit (``is_cut``)."""

    exit_status: int
    stdout: bytes
    stderr: bytes
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A command to be run on a host, as root unless ``as_root`` is off.

    ``argv`` is quoted by the transport, never spliced. ``timeout_s`` bounds the whole command, ``idle_s`` the time
    without a byte in either direction, ``limit_bytes`` each of the two outputs; exceeding a limit is an error
    (``HostFailedError`` code ``output_limit``, ``HostUnreachableError`` code ``step_timeout``).
    """

    argv: tuple[str, ...]
    timeout_s: float
    idle_s: float
    limit_bytes: int = 1 << 20
    as_root: bool = True


class Session(Protocol):
    """An authenticated SSH connection to one host."""

    @property
    def host_key(self) -> str | None:
        """The fingerprint of the key that the host proved to hold, ``None`` where it has none (as with a modelled host)."""
        ...

    @property
    def login(self) -> AccountLogin:
        """What opened the account."""
        ...

    async def run(
        self,
        command: Command,
        stdin: bytes | AsyncIterable[bytes | memoryview] = b"",
        on_line: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """The completed command, whatever its exit status.

        ``stdin`` is sent whole, in blocks of at most 64 KiB with bounded bytes in flight, then closed; it is no
        error where the host closes it early. ``on_line`` gets every whole line of standard output as it comes,
        without its line break, at most 4 KiB of it.

        Raises ``HostUnreachableError`` when the connection is lost (transient) or a deadline passes,
        ``HostFailedError`` for a refused sudo, a passed output limit, or a command that a signal ended.
        """
        ...


class Packer(Protocol):
    """Has programs in the form that a host can unpack."""

    async def is_packed(self, program: Program, form: Form) -> bool:
        """Whether ``pack`` returns at once."""
        ...

    async def pack(self, program: Program, form: Form) -> Program:
        """The same program in that form, which may have to be made first: about a minute, once for all hosts.

        As it is where that form cannot be made.
        """
        ...


class Connector(Protocol):
    """Opens sessions."""

    def connect(self, host: Host) -> AbstractAsyncContextManager[Session]:
        """A session, closed at the end of the block.

        Entering raises ``HostUnreachableError`` (transient), ``HostFailedError`` (authentication; never transient)
        or ``HostTrustError`` (host key).
        """
        ...

    def try_key(self, host: Host, key: LoginKey) -> AbstractAsyncContextManager[Session | None]:
        """A fresh login with that key alone: ``None`` where public key authentication refuses it, else the session.

        Entering raises ``HostFailedError`` (``key_unavailable``) where the key is not at hand any more, and as ``connect``
        does for all else that keeps the login from being tried.
        """
        ...


class Region(Protocol):
    """A regional Nomad API.

    All calls retry transient errors a bounded number of times and raise ``RegionError`` after that, ``TrustError``
    where the API's certificate is not valid.
    """

    async def status(self) -> RegionStatus:
        """The servers' version and settings, as far as our token may read them, and the node pools."""
        ...

    async def nodes(
        self, filter_expression: str | None = None, *, with_devices: bool = False
    ) -> Sequence[NodeView]:
        """All nodes that pass the filter (go-bexpr over the full node), by pages, stale reads allowed."""
        ...

    async def introduce(self, name: str, pool: str, ttl_s: int) -> IntroductionToken:
        """A new introduction token for a node of that name and pool; ``ttl_s`` may be clamped by the region."""
        ...

    async def node(self, node: NodeId) -> NodeDetail | None:
        """One node with its meta, or ``None`` where the region does not know it."""
        ...

    async def set_eligibility(self, node: NodeId, *, is_eligible: bool) -> None:
        """Let a node have new allocations, or keep them from it; those that run are left alone."""
        ...

    async def annotate(self, node: NodeId, meta: Mapping[str, str | None]) -> NodeMeta:
        """Change a node's dynamic metadata, and what it is then; ``None`` removes a key. The node must be connected to its servers."""
        ...

    async def allocations(self, node: NodeId) -> Sequence[RunningAllocation]:
        """The allocations that run on a node now."""
        ...

    async def all_allocations(self) -> Sequence[PlacedAllocation]:
        """The allocations that run in the region now, of all namespaces that our token may read."""
        ...

    async def use(self, node: NodeId) -> NodeUse:
        """What a node uses now, asked of its agent by way of the servers; an agent that does not answer is a ``RegionError``."""
        ...

    async def metadata(self, node: NodeId) -> NodeMeta:
        """A node's metadata, asked of its agent by way of the servers. The node must be connected to them."""
        ...

    async def drain(
        self, node: NodeId, spec: DrainSpec | None, meta: Mapping[str, str], *, mark_eligible: bool = False
    ) -> None:
        """Have a node's jobs moved away; ``None`` ends that, and ``mark_eligible`` lets it have new ones then."""
        ...

    async def evaluate(self, node: NodeId) -> None:
        """Have the region schedule anew what runs on a node, and its system jobs."""
        ...

    async def system_jobs(self) -> Sequence[SystemJob]:
        """The region's system jobs that are not stopped, of all namespaces that our token may list."""
        ...

    async def namespaces(self) -> SeenNamespaces:
        """The region's namespaces, and whether our token sees all of them."""
        ...


class CertificateCheck(Protocol):
    """What the certificates of a region's nodes must be. Plain data without any key."""

    def explain_unfit(
        self, chain_pem: str | None, now: datetime, public_key: str | None = None
    ) -> str | None:
        """Why a certificate found on a host must be replaced, or ``None`` where it can stay.

        It must have the issuer, role and region, and a third of its lifetime left; and ``public_key`` (as
        ``Facts.node_public_key``) where hosts make their keys themselves.
        """
        ...


class Issuer(Protocol):
    """Issues node certificates for a region."""

    @property
    def check(self) -> CertificateCheck:
        """What a certificate that is found on a host is held against."""
        ...

    async def issue(self, host: Host, request: bytes | None = None) -> NodeCertificate:
        """A certificate for the host's Nomad client: with a new key, or for that of the host's ``request`` (PKCS #10, DER).

        No name that a request asks for counts. Raises ``HostFailedError`` (``csr_refused``) for a request that is not as it must
        be, ``ConfigurationError`` where the issuer cannot issue.
        """
        ...


class Emit(Protocol):
    """Records events in their order."""

    async def __call__(self, event: AnyEvent) -> None:
        """Record one event; one that announces a change is on disk when this returns.

        Raises ``ConfigurationError`` when that fails: then nothing more may be done.
        """
        ...


class Sink(Protocol):
    """A consumer of the numbered events, in order, in batches."""

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        """Process a batch."""
        ...

    async def close(self) -> None:
        """Write what is buffered."""
        ...


class Clock(Protocol):
    """Time, so that tests can control it."""

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never decrease."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        ...
