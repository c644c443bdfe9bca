"""Fakes at the ports: a host that plays its part line by line, a region that shows what hosts bring up."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import tarfile
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ionetctl.core import host_paths
from ionetctl.core.model.login_key import AccountLogin, LoginKey, LoginMethod
from ionetctl.core.model.node import (
    IntroductionToken,
    LastDrain,
    Namespace,
    NodeCertificate,
    NodeDetail,
    NodeMeta,
    RegionStatus,
    SeenNamespaces,
)
from ionetctl.core.model.plan import Form
from ionetctl.core.ports import Completed
from ionetctl.host.dependencies import Deadlines, Dependencies, RegionTools, Scripts
from ionetctl.host.retry import RetryBudget, RetryPolicy
from ionetctl.plan.bundle import managed_paths
from ionetctl.verification.node_watcher import NodeWatcher
from tests.support.clock import ManualClock
from tests.support.sample import EU_NORTH, REGION, subject, view

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from ionetctl.core.events import AnyEvent
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import HostName, NodeId, RolloutId
    from ionetctl.core.model.node import (
        DrainSpec,
        NodeUse,
        NodeView,
        PlacedAllocation,
        RunningAllocation,
        SystemJob,
    )
    from ionetctl.core.model.plan import Program
    from ionetctl.core.observed import SeenGpu
    from ionetctl.core.ports import Command, Connector, Emit

Line = str | BaseException

STAMP_IN_CONFIG: Final = re.compile(rf'"{re.escape(host_paths.STAMP_KEY)}" = "([^"]+)"'.encode())
RECEIVE: Final = ("ready\tNONCE", "step\treceive", "step\tverify", "step\tvalidate")
TOKEN: Final = ("step\ttoken", "await\ttoken")
START: Final = (
    "step\tbackup",
    "step\tinstall",
    "step\tswitch",
    "step\tstart",
    "step\tnode",
    "node\tID",
)
VERDICT: Final = ("await\tverdict",)
READ: Final = b"# read.sh\n"
PROBE: Final = b"the probe's program"
CLOSE: Final = b"# close_ssh.sh\n"
KEYS_FILE: Final = "/home/miner/.ssh/authorized_keys"
LOGIN: Final = AccountLogin("miner", LoginMethod.KEY, LoginKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIA=="))
STRICT: Final = RegionStatus(EU_NORTH, "2.0.5", "strict", frozenset({"gpu", "default"}))
FENCED: Final = SeenNamespaces(
    (Namespace("default", frozenset({"docker"})), Namespace("ionet-maintenance", frozenset({"exec"}))),
    are_all=True,
)
FINISH: Final = ("step\tfinish", "done")
DENIED: Final = ('log\terror registering: error="rpc error: Permission denied"',)
"""What a node's log says when the region refuses its registration."""
WITH_TOKEN: Final = (*RECEIVE, *TOKEN, *START, *VERDICT, *FINISH)
WITHOUT_TOKEN: Final = (*RECEIVE, *START, *VERDICT, *FINISH)


async def _heard() -> None:
    """Lines come apart: whoever listens has taken one before the next."""
    for _ in range(3):
        await asyncio.sleep(0)


def survey_text(facts: Facts, nonce: str) -> bytes:
    """What a host of these facts answers to a survey (docs/explanation/host-protocol.md)."""
    nomad = facts.nomad
    lines = [
        f"ionet-survey\t1\t{nonce}",
        f"os.id\t{facts.os_id}",
        f"os.version\t{facts.os_version}",
        f"os.name\t{facts.os_name}",
        f"arch\t{facts.architecture}",
        f"init\t{facts.init}",
        f"uid\t{0 if facts.is_root else 1000}",
        f"machine-id\t{facts.machine_id}",
        "tool\ttar",
        *(f"tool\t{tool}" for tool in sorted({"gzip", facts.best_form})),
        f"nomad.active\t{nomad.active}",
        f"nomad.enabled\t{'enabled' if nomad.is_enabled else 'disabled'}",
        *(f"nomad.config\t{path}" for path in nomad.config_files),
        *(f"file\t{f.digest}\t{f.mode:04o}\t{f.owner}\t{f.path}" for f in facts.files.values()),
        *(f"link\t{target}\t{path}" for path, target in facts.links.items()),
        *(f"manifest\t{digest}\t{path}" for path, digest in facts.manifest.items()),
    ]
    docker = facts.machine.docker
    optional = {
        "docker": docker and f"{docker.version}\t\t\t\t{' '.join(docker.runtimes)}\t\t0",
        "gpu.bus": facts.machine.gpus_on_bus,
        "driver.module": facts.machine.driver.module_version,
        "cni": facts.machine.cni_plugins and " ".join(facts.machine.cni_plugins),
        "ours": "1" if nomad.is_ours else None,
        "nomad.process": "1" if nomad.is_running else None,
        "nomad.version": nomad.agent_version,
        "nomad.client-id": nomad.node_id,
        "nomad.region": facts.machine.nomad_region,
        "nomad.stamp": nomad.stamp,
        "nomad.allocations": str(nomad.allocations) if nomad.allocations else None,
        "memory.kib": facts.memory_mib and str(facts.memory_mib << 10),
        "lock": facts.lock_owner and f"{facts.lock_owner}\tops@ctl\t2026-11-23T01:00:00Z",
        "cert": facts.node_certificate and base64.b64encode(facts.node_certificate.encode()).decode(),
    }
    lines += [f"{key}\t{value}" for key, value in optional.items() if value is not None]
    return "\n".join([*lines, f"ionet-survey-end\t{nonce}", ""]).encode()


def probe_text(facts: Facts, nonce: str) -> bytes:
    """What a host of these facts answers to a probe (docs/explanation/gpu-probe.md)."""
    verdict = "unknown\tnobody" if facts.gpus is None else f"nvml\t{json.dumps(_nvml(facts.gpus))}"
    verdict = "hanging\tnvidia-smi" if facts.is_driver_hanging else verdict
    return f"ionet-probe\t1\t{nonce}\n{verdict}\nionet-probe-end\t{nonce}\n".encode()


def _nvml(gpus: Sequence[SeenGpu]) -> dict[str, object]:
    keys = ("index", "name", "uuid", "memory_mib", "is_lost")
    cards = [{key: getattr(gpu, key) for key in keys} for gpu in gpus]
    return {"took_ms": 1, "devices_on_bus": len(gpus), "gpus": cards}


def _owner(path: str) -> str:
    return "root" if path.startswith("/etc/") else "account"


@dataclass
class FakeHost:
    """A ``ports.Session`` and its host: surveyed in turn as ``facts`` say, each apply as ``applies`` say (the last for ever).

    ``NONCE`` and ``ID`` in a line stand for the apply's nonce and the node's id; ``view`` is what the agent registers as,
    ``texts`` what its files hold, ``probed_after`` what probes see once an apply was begun.
    A line of an apply that is an error is raised: the connection is gone. ``heard`` is what the controller answered,
    ``None`` for the end of its standard input, on which the host gives up as a real one does.
    """

    facts: Sequence[Facts | BaseException]
    applies: Sequence[Sequence[Line]] = (WITHOUT_TOKEN,)
    region: FakeRegion | None = None
    view: NodeView = field(default_factory=view)
    texts: dict[str, bytes] = field(default_factory=dict)
    probed_after: Facts | None = None
    stderr: bytes = b""
    exit_status: int = 0
    commands: list[Command] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    heard: list[str | None] = field(default_factory=list)
    host_key: str | None = None
    login: AccountLogin = LOGIN
    key_lines: dict[str, int] = field(default_factory=lambda: {KEYS_FILE: 1})
    """How often which file of ``authorized_keys`` has the key that logs in."""
    closing: list[Line | None] = field(default_factory=list)
    """What the host says in turn when it is to take the key out, or fails with; with ``None``, and after that, it does so."""
    looking: list[Line | None] = field(default_factory=list)
    """The same when it is asked where the key stands."""
    is_let_in_anyhow: bool = False
    says_why: bool = True
    _surveys: int = 0
    _applies: int = 0

    @property
    def is_closed(self) -> bool:
        return not any(self.key_lines.values()) and not self.is_let_in_anyhow

    async def run(
        self,
        command: Command,
        stdin: bytes | AsyncIterable[bytes | memoryview] = b"",
        on_line: Callable[[bytes], None] | None = None,
    ) -> Completed:
        self.commands.append(command)
        if isinstance(stdin, bytes):
            return self._look(command, stdin)
        assert on_line is not None
        assert isinstance(stdin, AsyncGenerator)
        script = self.applies[min(self._applies, len(self.applies) - 1)]
        self._applies += 1
        async with aclosing(stdin) as blocks:
            return await self._play(command, deque(script), blocks, on_line)

    def _look(self, command: Command, stdin: bytes) -> Completed:
        if stdin == READ:
            return self._read(command)
        if stdin == CLOSE:
            return self._close(command)
        return self._probe(command) if stdin == PROBE else self._survey(command)

    def _close(self, command: Command) -> Completed:
        """The records of ``close_ssh.sh``."""
        nonce, task, *arguments = command.argv[3:]
        present = {path: count for path, count in self.key_lines.items() if count}
        said: dict[str, list[Line | None]] = {"remove": self.closing, "look": self.looking}
        line = said[task].pop(0) if said.get(task) else None
        if isinstance(line, BaseException):
            raise line
        if line is not None:
            lines = [line]
        elif task == "account":
            lines = ["addresses\t10.0.0.1 50000 10.0.0.2 22"]
        elif task == "look":
            lines = [f"key\t{_owner(path)}\t{count}\t{path}" for path, count in present.items()]
            if self.says_why:
                lines = lines or ["refused\tkey_not_found\tit stands in none of the files that sshd reads"]
        else:
            lines = [f"removed\t{self.key_lines[path]}\t{path}" for path in arguments[2:]]
            self.key_lines |= dict.fromkeys(arguments[2:], 0)
        text = "\n".join([f"ionet-close\t1\t{nonce}", *lines, f"ionet-close-end\t{nonce}", ""])
        return Completed(0, text.encode(), b"")

    def _probe(self, command: Command) -> Completed:
        """The GPUs of the latest survey, unless an apply has changed them."""
        surveyed = self.facts[min(self._surveys, len(self.facts)) - 1]
        found = self.probed_after if self._applies and self.probed_after else surveyed
        assert not isinstance(found, BaseException)
        return Completed(0, probe_text(found, command.argv[4]), b"")

    def _read(self, command: Command) -> Completed:
        """The files asked for, as ``read.sh`` prints them."""
        nonce, *paths = command.argv[3:]
        texts = {path: base64.b64encode(self.texts[path]).decode() for path in paths if path in self.texts}
        lines = [f"ionet-read\t1\t{nonce}", *(f"text\t{path}\t{text}" for path, text in texts.items())]
        return Completed(0, "\n".join([*lines, f"ionet-read-end\t{nonce}", ""]).encode(), b"")

    def _survey(self, command: Command) -> Completed:
        found = self.facts[min(self._surveys, len(self.facts) - 1)]
        self._surveys += 1
        if isinstance(found, BaseException):
            raise found
        nonce = command.argv[3]
        said = survey_text(found, nonce) + probe_text(found, nonce) + f"ionet-probed\t{nonce}\t100\n".encode()
        return Completed(self.exit_status, said, self.stderr)

    async def _play(
        self,
        command: Command,
        script: deque[Line],
        blocks: AsyncGenerator[bytes | memoryview],
        on_line: Callable[[bytes], None],
    ) -> Completed:
        nonce = command.argv[4]
        while script:
            line = script.popleft()
            if isinstance(line, BaseException):
                raise line
            on_line(line.replace("NONCE", nonce).replace("\tID", f"\t{self.view.id}").encode())
            await _heard()
            if line == "ready\tNONCE":
                if not await self._receive(blocks):
                    script = deque(["error\tpayload_corrupt\tit is cut short"])
            elif line.startswith("node"):
                self._come_up()
            elif line.startswith("await"):
                self.heard.append(await self._answer(blocks))
                if self.heard[-1] is None:
                    script = deque(["error\tabandoned\tthe controller gave up"])
        is_failed = isinstance(line, str) and line.startswith("error")
        return Completed(1 if is_failed else self.exit_status, b"", self.stderr)

    async def _receive(self, blocks: AsyncGenerator[bytes | memoryview]) -> bool:
        size = int(bytes(await anext(blocks, b"-1")))
        if size < 0:
            return False
        received = bytearray()
        while len(received) < size:
            block = await anext(blocks, None)
            if block is None:
                return False
            received += block
        assert len(received) == size
        self.payloads.append(bytes(received))
        return True

    async def _answer(self, blocks: AsyncGenerator[bytes | memoryview]) -> str | None:
        answer = await anext(blocks, None)
        return None if answer is None else bytes(answer).decode().removesuffix("\n")

    def _come_up(self) -> None:
        """The agent registers with the stamp of the configuration that came."""
        stamp = self.stamp
        if self.region is not None and stamp is not None:
            self.region.show(self.view, stamp)

    @property
    def members(self) -> dict[str, bytes]:
        """The files of the last payload, by member name."""
        with tarfile.open(fileobj=io.BytesIO(self.payloads[-1])) as archive:
            opened = {member.name: archive.extractfile(member) for member in archive}
            return {name: file.read() for name, file in opened.items() if file is not None}

    @property
    def steps(self) -> list[list[str]]:
        """The records of the last payload's ``steps``."""
        return [line.split("\t") for line in self.members["steps"].decode().splitlines()]

    @property
    def stamp(self) -> str | None:
        """The stamp in the configuration of the last payload."""
        found = [match for content in self.members.values() if (match := STAMP_IN_CONFIG.search(content))]
        return found[0][1].decode() if found else None


@dataclass
class FakeConnector:
    """``ports.Connector`` to fake hosts by name; ``refusals`` are raised first, one a connection.

    ``trials`` are the logins with one key, ``trial_refusals`` what they fail with first.
    """

    hosts: dict[HostName, FakeHost]
    refusals: dict[HostName, list[BaseException]] = field(default_factory=dict)
    connections: list[HostName] = field(default_factory=list)
    open: int = 0
    trials: list[HostName] = field(default_factory=list)
    trial_refusals: dict[HostName, list[BaseException]] = field(default_factory=dict)

    def connect(self, host: Host) -> AbstractAsyncContextManager[FakeHost]:
        return self._connected(host)

    @asynccontextmanager
    async def try_key(self, host: Host, key: LoginKey) -> AsyncIterator[FakeHost | None]:
        assert key == self.hosts[host.name].login.key
        self.trials.append(host.name)
        if refusals := self.trial_refusals.get(host.name):
            raise refusals.pop(0)
        yield None if self.hosts[host.name].is_closed else self.hosts[host.name]

    @asynccontextmanager
    async def _connected(self, host: Host) -> AsyncIterator[FakeHost]:
        self.connections.append(host.name)
        if refusals := self.refusals.get(host.name):
            raise refusals.pop(0)
        self.open += 1
        try:
            yield self.hosts[host.name]
        finally:
            self.open -= 1


def _nothing() -> None:
    pass


@dataclass
class FakeRegion:
    """``ports.Region``: shows each node with the stamp that it came up with.

    ``errors`` are raised by the next calls of a method, in turn. ``at_look`` runs before each look at the nodes.
    """

    clock: ManualClock = field(default_factory=ManualClock)
    shown: dict[NodeId, tuple[NodeView, str]] = field(default_factory=dict)
    minted: list[tuple[str, str, int]] = field(default_factory=list)
    queries: list[tuple[str | None, bool]] = field(default_factory=list)
    errors: dict[str, list[BaseException]] = field(default_factory=dict)
    at_look: Callable[[], None] = _nothing
    is_hidden: bool = False
    meta: dict[NodeId, dict[str, str]] = field(default_factory=dict)
    jobs: dict[NodeId, Sequence[RunningAllocation]] = field(default_factory=dict)
    static: dict[NodeId, dict[str, str]] = field(default_factory=dict)
    """The metadata of each node's configuration; ``meta`` has what was set since."""
    drains: dict[NodeId, LastDrain] = field(default_factory=dict)
    of_system: Sequence[SystemJob] = ()
    seen: SeenNamespaces = FENCED
    evaluated: list[NodeId] = field(default_factory=list)
    state: RegionStatus = STRICT

    def show(self, node: NodeView, stamp: str) -> None:
        self.shown[node.id] = (node, stamp)

    async def status(self) -> RegionStatus:
        self._fail("status")
        return self.state

    async def nodes(
        self, filter_expression: str | None = None, *, with_devices: bool = False
    ) -> Sequence[NodeView]:
        self.queries.append((filter_expression, with_devices))
        self.at_look()
        self._fail("nodes")
        if filter_expression is None:
            return [node for node, _ in self.shown.values()]
        if host_paths.ADMISSION_KEY in filter_expression:
            return [node for node, _ in self.shown.values() if self._is_marked(node.id, filter_expression)]
        asked = re.fullmatch(
            rf'Meta\["{re.escape(host_paths.STAMP_KEY)}"\] matches "(.*)"', filter_expression
        )
        assert asked is not None
        found = [node for node, stamp in self.shown.values() if re.search(asked[1], stamp)]
        return [] if self.is_hidden else found

    def _is_marked(self, node: NodeId, expression: str) -> bool:
        """Whether a node's admission is what a filter asks for; nodes are taken for released where nothing is said."""
        admission = self.meta.get(node, {}).get(host_paths.ADMISSION_KEY, host_paths.RELEASED)
        pattern = re.fullmatch(rf'Meta\.{host_paths.ADMISSION_KEY} matches "(.*)"', expression)
        if pattern is None:
            assert expression == f"Meta.{host_paths.ADMISSION_KEY} is empty"
            return not admission
        return re.search(pattern[1], admission) is not None

    async def introduce(self, name: str, pool: str, ttl_s: int) -> IntroductionToken:
        self.minted.append((name, pool, ttl_s))
        self._fail("introduce")
        return IntroductionToken(f"jwt-{len(self.minted)}", self.clock.now() + timedelta(seconds=ttl_s))

    async def node(self, node: NodeId) -> NodeDetail | None:
        self._fail("node")
        if node not in self.shown:
            return None
        meta = {**self.static.get(node, {}), **self.meta.get(node, {})}
        return NodeDetail(self.shown[node][0], meta, {}, self.drains.get(node))

    async def set_eligibility(self, node: NodeId, *, is_eligible: bool) -> None:
        self._fail("set_eligibility")
        view, stamp = self.shown[node]
        self.shown[node] = (replace(view, eligibility="eligible" if is_eligible else "ineligible"), stamp)

    async def annotate(self, node: NodeId, meta: Mapping[str, str | None]) -> NodeMeta:
        self._fail("annotate")
        merged = {**self.meta.get(node, {}), **meta}
        self.meta[node] = {key: value for key, value in merged.items() if value is not None}
        return NodeMeta(self.static.get(node, {}), {**self.meta[node]})

    async def allocations(self, node: NodeId) -> Sequence[RunningAllocation]:
        self._fail("allocations")
        return self.jobs.get(node, ())

    async def all_allocations(self) -> Sequence[PlacedAllocation]:
        raise NotImplementedError

    async def use(self, node: NodeId) -> NodeUse:
        raise NotImplementedError(node)

    async def metadata(self, node: NodeId) -> NodeMeta:
        self._fail("metadata")
        return NodeMeta(self.static.get(node, {}), {**self.meta.get(node, {})})

    async def drain(
        self, node: NodeId, spec: DrainSpec | None, meta: Mapping[str, str], *, mark_eligible: bool = False
    ) -> None:
        self._fail("drain")
        view, stamp = self.shown[node]
        eligibility = "eligible" if spec is None and mark_eligible else "ineligible"
        self.shown[node] = (replace(view, eligibility=eligibility, is_draining=spec is not None), stamp)
        before = self.drains.get(node)
        said = dict(meta) if spec else dict(before.meta if before else {})
        self.drains[node] = LastDrain("draining" if spec else "canceled", "2026-11-23T01:12:26Z", said, spec)

    async def evaluate(self, node: NodeId) -> None:
        self._fail("evaluate")
        self.evaluated.append(node)

    async def system_jobs(self) -> Sequence[SystemJob]:
        self._fail("system_jobs")
        return self.of_system

    async def namespaces(self) -> SeenNamespaces:
        self._fail("namespaces")
        return self.seen

    def _fail(self, method: str) -> None:
        if errors := self.errors.get(method):
            raise errors.pop(0)


@dataclass
class FakeIssuer:
    """``ports.Issuer`` and its check: issues ``chain`` and ``key``, the pair that converged facts have."""

    unfit: str | None = None
    error: Exception | None = None
    issued: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def check(self) -> FakeIssuer:
        return self

    async def issue(self, host: Host, request: bytes | None = None) -> NodeCertificate:
        if self.error is not None:
            raise self.error
        self.issued += 1
        assert host.region == EU_NORTH
        if request is not None:
            self.requests.append(request)
            return NodeCertificate(b"-----BEGIN\nchain\n-----END\n")
        return NodeCertificate(b"chain", b"key")

    def explain_unfit(
        self, chain_pem: str | None, now: datetime, public_key: str | None = None
    ) -> str | None:
        del now, public_key
        return "there is none" if chain_pem is None else self.unfit


@dataclass
class Emitted:
    """``ports.Emit`` that remembers; ``error`` is raised from its ``from_`` th event on, as a broken journal does."""

    events: list[AnyEvent] = field(default_factory=list)
    error: Exception | None = None
    from_: int = 0

    async def __call__(self, event: AnyEvent) -> None:
        if self.error is not None and len(self.events) >= self.from_:
            raise self.error
        self.events.append(event)

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


class FakePacker:
    """``ports.Packer``: has what is in ``made``, and makes the rest under a name of its own."""

    def __init__(self, *made: Form) -> None:
        self.made = {Form.GZIP, *made}

    async def is_packed(self, _program: Program, form: Form) -> bool:
        return form in self.made

    async def pack(self, program: Program, form: Form) -> Program:
        self.made.add(form)
        return replace(program, form=form)


async def _held() -> None:
    """The lease is not lost."""


async def _already_there(_: Iterable[tuple[Host, Facts]]) -> None:
    """All releases are in the cache."""


def dependencies(
    rollout: RolloutId,
    connector: Connector,
    region: FakeRegion,
    issuer: FakeIssuer,
    emit: Emit,
    *,
    introduces: bool = True,
    ensure_programs: Callable[[Iterable[tuple[Host, Facts]]], Awaitable[None]] | None = None,
) -> Dependencies:
    """What a pipeline works with, all of it fake; time is the region's clock."""
    watcher = NodeWatcher(region, region.clock)
    settings = replace(REGION, introduction="required" if introduces else "off")
    tools = RegionTools(settings, region, watcher, issuer, b"CA PEM\n", region.state)
    return Dependencies(
        rollout=rollout,
        owner="ops@ctl",
        started_at="2026-11-23T01:12:26+00:00",
        connector=connector,
        regions={EU_NORTH: tools},
        ensure_programs=ensure_programs or _already_there,
        packer=FakePacker(),
        subject_of=lambda host, name, facts: replace(subject(host, facts), node_name=name),
        surveyed_paths=managed_paths("2.0.5", "1.1.0"),
        servers_of=lambda _: ("10.0.0.1:4647",),
        scripts=Scripts(
            b"# survey.sh\n",
            b"# survey.sh, promised\n",
            "# receive.sh\n",
            b"# apply.sh\n",
            READ,
            "# probe.sh",
            PROBE,
            close=CLOSE,
        ),
        emit=emit,
        clock=region.clock,
        retry=RetryPolicy(region.clock.sleep, RetryBudget(10)),
        deadlines=Deadlines(),
        require_lease=_held,
    )
