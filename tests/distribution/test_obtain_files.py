"""A host comes by its files: from a mirror, a neighbour or the controller; what it does not get is left to the apply."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import HostFailedError, HostUnreachableError
from ionetctl.core.events import FilesObtained, Warned
from ionetctl.core.model.names import Digest, HostName
from ionetctl.core.observed import Reach
from ionetctl.core.ports import Completed
from ionetctl.distribution.distributor import EVERYTHING_PUSHED, Distributor
from ionetctl.distribution.exchange import Obtained, Origin, Request, Seed, Source
from ionetctl.distribution.obtain_files import FileObtainer, ObtainScripts
from tests.support.fakes import LOGIN, Emitted
from tests.support.sample import BARE, HOST, NOMAD, PLUGIN

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable
    from pathlib import Path

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.login_key import AccountLogin, LoginKey
    from ionetctl.core.model.plan import Program
    from ionetctl.core.ports import Command

MIRROR = Source(Origin.MIRROR, "http://mirror.example:8480")
BOTH = (NOMAD, PLUGIN)
ALL_BYTES = NOMAD.packed_bytes + PLUGIN.packed_bytes
LOST = HostUnreachableError("connection_lost", "it went away", transient=True)
SCRIPT = b"# obtain.sh\n"
GOT_ALL = tuple(f"got\t{program.packed_digest}\t{program.packed_bytes}" for program in BOTH)
GOT_NOMAD = (GOT_ALL[0], f"missed\t{PLUGIN.packed_digest}\tfetch_failed\tcurl: (22) 404")


@dataclass
class Neighbour:
    """A session and a connector to its host, which answers an obtain with ``lines``, or raises."""

    lines: tuple[str, ...] | Exception = ()
    commands: list[Command] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    connected: list[HostName] = field(default_factory=list)
    refused: frozenset[HostName] = frozenset()
    host_key: str | None = None
    login: AccountLogin = LOGIN

    async def run(
        self,
        command: Command,
        stdin: bytes | AsyncIterable[bytes | memoryview] = b"",
        on_line: Callable[[bytes], None] | None = None,
    ) -> Completed:
        assert on_line is None
        self.commands.append(command)
        blocks = [] if isinstance(stdin, bytes) else [bytes(block) async for block in stdin]
        self.sent.append(b"".join(blocks))
        if isinstance(self.lines, Exception):
            raise self.lines
        nonce = command.argv[4] if len(command.argv) > 4 else ""
        text = "\n".join([f"ionet-obtain\t1\t{nonce}", *self.lines, f"ionet-obtain-end\t{nonce}", ""])
        return Completed(0, text.encode(), b"")

    def connect(self, host: Host) -> AbstractAsyncContextManager[Neighbour]:
        return self._connected(host)

    def try_key(self, host: Host, key: LoginKey) -> AbstractAsyncContextManager[Neighbour | None]:
        raise NotImplementedError

    @asynccontextmanager
    async def _connected(self, host: Host) -> AsyncIterator[Neighbour]:
        self.connected.append(host.name)
        if host.name in self.refused:
            raise LOST
        yield self


@dataclass
class Told:
    """A distributor that gives everybody the same source, and remembers what it was told."""

    source: Source
    asked: list[Request] = field(default_factory=list)
    settled: list[tuple[HostName, Obtained]] = field(default_factory=list)
    serving: tuple[Seed, ...] = ()
    is_needed: bool = True

    async def acquire(self, request: Request) -> Source:
        self.asked.append(request)
        return self.source

    async def settle(self, host: HostName, obtained: Obtained) -> None:
        self.settled.append((host, obtained))

    async def seeds(self) -> tuple[Seed, ...]:
        return self.serving


@dataclass
class Stage:
    distributor: Distributor
    lines: tuple[str, ...] | Exception = ()
    host: Host = HOST
    facts: Facts = BARE
    emit: Emitted = field(default_factory=Emitted)

    def __post_init__(self) -> None:
        self.session = Neighbour(self.lines)
        scripts = ObtainScripts("# start", SCRIPT, "# end")
        self.obtainer = FileObtainer(self.distributor, scripts, self.session, self.emit, 3600.0, 60.0)

    async def obtain(self, *programs: Program) -> None:
        await self.obtainer.obtain(self.host, self.facts, self.session, programs or BOTH)

    @property
    def argv(self) -> tuple[str, ...]:
        return self.session.commands[-1].argv

    @property
    def traffic(self) -> list[tuple[str, int, int, str | None]]:
        return [
            (e.origin, e.pushed_bytes, e.fetched_bytes, e.peer)
            for e in self.emit.events
            if isinstance(e, FilesObtained)
        ]

    @property
    def warnings(self) -> list[Warned]:
        return [event for event in self.emit.events if isinstance(event, Warned)]


def serving_facts(address: str | None = None) -> Facts:
    reaches = (Reach("10.0.0.1", 4647, 1.0, None, address),)
    return replace(BARE, machine=replace(BARE.machine, has_python=True, reaches=reaches))


def served_from(address: str) -> tuple[str, ...]:
    return (*GOT_ALL, f"serving\t{address}\t40000")


async def test_nothing_is_asked_where_all_is_pushed() -> None:
    """The apply does it, as ever."""
    stage = Stage(EVERYTHING_PUSHED)
    await stage.obtain()
    assert (stage.session.commands, stage.emit.events) == ([], [])


async def test_host_that_lacks_nothing_asks_for_nothing() -> None:
    """No program, no call."""
    told = Told(MIRROR)
    stage = Stage(told)
    await stage.obtainer.obtain(HOST, BARE, stage.session, ())
    assert (told.asked, stage.session.commands) == ([], [])


async def test_host_fetches_from_a_mirror() -> None:
    """It is told the URL and the files; all that came is counted as inside the site."""
    told = Told(MIRROR)
    stage = Stage(told, GOT_ALL)
    await stage.obtain()
    wanted = tuple(f"{each.packed_digest}:{each.packed_bytes}" for each in BOTH)
    assert stage.argv[:4] == ("sh", "-c", "# start", "ionet-obtain")
    assert stage.argv[5:] == wanted
    assert stage.session.sent == [SCRIPT + f"{MIRROR.url}\n".encode()]
    assert stage.traffic == [("mirror", 0, ALL_BYTES, None)]
    assert (stage.warnings, told.settled) == ([], [(HOST.name, Obtained(is_whole=True, has_some=True))])


async def test_what_cannot_be_fetched_is_pushed() -> None:
    """The host is warned of, with the reason, and the missing file counts as pushed."""
    told = Told(MIRROR)
    stage = Stage(told, GOT_NOMAD)
    await stage.obtain()
    assert stage.traffic == [("mirror", PLUGIN.packed_bytes, NOMAD.packed_bytes, None)]
    assert [(warned.host, warned.code) for warned in stage.warnings] == [(HOST.name, "files_not_fetched")]
    assert "http://mirror.example:8480: curl: (22) 404 (fetch_failed)" in stage.warnings[0].message
    assert told.settled == [(HOST.name, Obtained(is_whole=False, is_sources_fault=True, has_some=True))]


@pytest.mark.parametrize(
    "answer",
    [
        (f"missed\t{NOMAD.packed_digest}\tno_tool\tnothing fetches",),
        HostFailedError("output_limit", "too much"),
    ],
)
async def test_host_that_cannot_fetch_is_pushed(answer: tuple[str, ...] | Exception) -> None:
    """Nothing came, nobody else is blamed, and nothing fails."""
    told = Told(MIRROR)
    stage = Stage(told, answer)
    await stage.obtain()
    assert stage.traffic == [("push", ALL_BYTES, 0, None)]
    assert (len(stage.warnings), told.settled) == (1, [(HOST.name, Obtained(is_whole=False))])


async def test_lost_connection_is_settled_and_raised() -> None:
    """The host is tried again; meanwhile nobody waits for it."""
    told = Told(MIRROR)
    stage = Stage(told, LOST)
    with pytest.raises(HostUnreachableError):
        await stage.obtain()
    assert told.settled == [(HOST.name, Obtained(is_whole=False))]


async def test_plain_push_is_counted() -> None:
    """A host that is pushed in a fan-out, and serves nobody, needs no call of its own."""
    stage = Stage(Told(Source(Origin.PUSH)))
    await stage.obtain()
    assert (stage.session.commands, stage.traffic) == ([], [("push", ALL_BYTES, 0, None)])


async def test_first_host_is_sent_the_files_and_serves_them(tmp_path: Path) -> None:
    """The packed files follow the script; where it serves them becomes a seed, with token and limits."""
    packed = tmp_path / "packed"
    packed.write_bytes(b"x" * 100_000)
    programs = [replace(each, packed_path=str(packed), packed_bytes=100_000) for each in BOTH]
    host = replace(HOST, address="2001:db8::5")
    told = Told(Source(Origin.PUSH, serves=True))
    stage = Stage(told, served_from("2001:db8::5"), host, serving_facts("10.9.9.9"))
    await stage.obtain(*programs)
    opening, _, content = stage.session.sent[0].removeprefix(SCRIPT).partition(b"\n")
    source, unit, token, *limits, addresses = opening.decode().split(" ")
    assert source == "-"
    assert (limits, addresses) == (["3600", "900", "4"], "2001:db8::5,10.9.9.9")
    assert (len(token), unit.startswith("ionet-seed-")) == (32, True)
    assert content == b"x" * 200_000
    assert not [argument for argument in stage.argv if token in argument]
    seed = told.settled[0][1].seed
    assert seed is not None
    assert (seed.url, seed.unit) == (f"http://[2001:db8::5]:40000/{token}", unit)
    assert seed.files == {each.packed_digest for each in BOTH}
    assert stage.traffic == [("push", ALL_BYTES, 0, None)]


async def test_peer_fetches_and_serves_in_turn() -> None:
    """What came from a peer is told with its name."""
    source = Source(Origin.PEER, "http://10.0.0.9:1234/token", HostName("first"), serves=True)
    told = Told(source)
    stage = Stage(told, served_from("10.0.0.5"), replace(HOST, address="10.0.0.5"), serving_facts())
    await stage.obtain()
    seed = told.settled[0][1].seed
    assert (seed and seed.url.startswith("http://10.0.0.5:40000/")) is True
    assert stage.traffic == [("peer", 0, ALL_BYTES, "first")]


async def test_peer_whose_seed_is_gone_is_pushed() -> None:
    """The warning names the seed, which is to blame."""
    told = Told(Source(Origin.PEER, "http://10.0.0.9:1234/token", HostName("first")))
    stage = Stage(told, tuple(f"missed\t{each.packed_digest}\tfetch_failed\trefused" for each in BOTH))
    await stage.obtain()
    assert "its peer first" in stage.warnings[0].message
    assert stage.traffic == [("push", ALL_BYTES, 0, None)]
    assert told.settled == [(HOST.name, Obtained(is_whole=False, is_sources_fault=True))]


async def test_host_that_cannot_serve_is_warned_of() -> None:
    """It has its files all the same, and is no seed."""
    told = Told(Source(Origin.PEER, "http://10.0.0.9:1/token", HostName("first"), serves=True))
    stage = Stage(told, (*GOT_ALL, "not-serving\tFailed to start"), facts=serving_facts())
    await stage.obtain()
    assert [warned.code for warned in stage.warnings] == ["host_cannot_serve"]
    assert told.settled == [(HOST.name, Obtained(is_whole=True, has_some=True))]


@pytest.mark.parametrize(
    ("facts", "address", "expected"),
    [
        (serving_facts(), "10.0.0.5", True),
        (BARE, "10.0.0.5", False),
        (replace(serving_facts(), init="runit"), "10.0.0.5", False),
        (serving_facts(), "gpu1.example", False),
    ],
)
async def test_who_can_serve(facts: Facts, address: str, *, expected: bool) -> None:
    """A host with systemd, python3 and an address."""
    told = Told(MIRROR)
    await Stage(told, GOT_ALL, replace(HOST, address=address), facts).obtain()
    assert told.asked[0].can_serve is expected


SEEDS = tuple(
    Seed(HostName(name), frozenset({Digest("a" * 64)}), "http://x", f"unit-{name}")
    for name in ("gone", "first")
)
HOSTS = [replace(HOST, name=HostName(name)) for name in ("gone", "first", "other")]


async def test_seeds_are_ended() -> None:
    """Each is told to stop; one that cannot be reached ends by itself."""
    stage = Stage(Told(MIRROR, serving=SEEDS))
    stage.session.refused = frozenset({HostName("gone")})
    async with stage.obtainer.seeds_ended(HOSTS):
        assert stage.session.connected == []
    assert stage.session.connected == ["gone", "first"]
    assert [command.argv for command in stage.session.commands] == [("sh", "-c", "# end", "sh", "unit-first")]


@pytest.mark.parametrize(("error", "connected"), [(OSError, 2), (asyncio.CancelledError, 0)])
async def test_seeds_are_ended_after_a_failure(error: type[BaseException], connected: int) -> None:
    """Whatever ended the rollout; only a second signal waits for no host."""
    stage = Stage(Told(MIRROR, serving=SEEDS))
    with pytest.raises(error):
        async with stage.obtainer.seeds_ended(HOSTS):
            raise error
    assert len(stage.session.connected) == connected
