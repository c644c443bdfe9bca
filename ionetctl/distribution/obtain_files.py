"""Before an apply: the packed programs that a host lacks, fetched from a mirror or a neighbour, so that they need not be pushed.

What cannot be fetched is left to the apply, which sends it: nothing here fails a host but a connection that is lost. Sees
ports only; who fetches from whom is for ``distribution`` to say.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import HostError, HostFailedError
from ionetctl.core.events import FilesObtained, Warned
from ionetctl.core.ports import Command
from ionetctl.distribution.exchange import Obtained, Origin, Request, Seed, Source
from ionetctl.distribution.racks import addresses_of, rack_of
from ionetctl.distribution.scheduler import IDLE_LIMIT_S, PUSH, SERVING_LIMIT_S, SLOTS
from ionetctl.facts.obtain_output import CUT_OFF, OBTAIN_LIMIT_BYTES, ObtainOutput, parse_obtained
from ionetctl.plan.payload import packed_content

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import Digest
    from ionetctl.core.model.plan import Program
    from ionetctl.core.ports import Connector, Emit, Session
    from ionetctl.distribution.distributor import Distributor

TOKEN_BYTES: Final = 16
NONCE_BYTES: Final = 6
FETCH_LIMIT_S: Final = 700.0
"""A fetch is silent while it lasts; the host's own limit is a little shorter for each file."""
BLOCK_BYTES: Final = 1 << 16
STOP_LIMIT_S: Final = 60.0
ENDED_AT_ONCE: Final = 32
"""How many hosts are told at the same time to serve no longer."""
FALLS_BACK: Final = "it is sent the files over SSH instead"


@dataclass(frozen=True, slots=True)
class ObtainScripts:
    """The text of what runs on hosts: ``start`` hands ``obtain`` to the shell, ``end`` ends what that started."""

    start: str = ""
    obtain: bytes = b""
    end: str = ""


NO_SCRIPTS: Final = ObtainScripts()


@dataclass(frozen=True, slots=True)
class FileObtainer:
    """How hosts come by packed programs in one rollout. ``push_s`` bounds a push, ``idle_s`` a silence in it."""

    distributor: Distributor
    scripts: ObtainScripts
    connector: Connector
    emit: Emit
    push_s: float
    idle_s: float

    async def obtain(self, host: Host, facts: Facts, session: Session, programs: Sequence[Program]) -> None:
        """Have the host hold as many of the packed programs as can be had for it; the rest is left to the apply.

        Raises ``HostUnreachableError`` where the connection is lost.
        """
        if not programs or not self.distributor.is_needed:
            return
        files = {program.packed_digest: program for program in programs}
        addresses = addresses_of(host, facts)
        can_serve = facts.init == "systemd" and bool(facts.machine.has_python) and bool(addresses)
        request = Request(host.name, rack_of(host, facts), frozenset(files), can_serve)
        source = await self.distributor.acquire(request)
        obtained = Obtained(is_whole=False)
        try:
            obtained = await self._from(source, request, session, files, addresses)
        finally:
            await self.distributor.settle(host.name, obtained)

    async def _from(
        self,
        source: Source,
        request: Request,
        session: Session,
        files: Mapping[Digest, Program],
        addresses: Sequence[str],
    ) -> Obtained:
        """What came of it, told in an event."""
        if source == PUSH:
            await self._tell(request, source, files, {})
            return Obtained(is_whole=True)
        unit, token = f"ionet-seed-{secrets.token_hex(4)}", secrets.token_hex(TOKEN_BYTES)
        seed = f" {unit} {token} {SERVING_LIMIT_S} {IDLE_LIMIT_S} {SLOTS} {','.join(addresses)}"
        try:
            output = await self._run(session, source, seed if source.serves else "", files, addresses)
        except HostFailedError as error:
            output = ObtainOutput({}, CUT_OFF, error.message)
        if output.reason:
            await self._warn(request, source, output)
        await self._tell(request, source, files, output.got)
        if source.serves and output.not_serving:
            await self._warn_of_seed(request, output)
        is_whole = output.got.keys() == files.keys()
        return Obtained(
            is_whole,
            is_sources_fault=not is_whole and not output.is_hosts_own_fault,
            has_some=any(output.got.values()),
            seed=_seed(request, output, unit, token) if is_whole else None,
        )

    async def _run(
        self,
        session: Session,
        source: Source,
        seed: str,
        files: Mapping[Digest, Program],
        addresses: Sequence[str],
    ) -> ObtainOutput:
        nonce = secrets.token_hex(NONCE_BYTES)
        is_pushed = source.origin is Origin.PUSH
        wanted = (f"{digest}:{program.packed_bytes}" for digest, program in files.items())
        argv = ("sh", "-c", self.scripts.start, "ionet-obtain", nonce, *wanted)
        limit_s = self.push_s if is_pushed else FETCH_LIMIT_S * len(files)
        idle_s = self.idle_s + STOP_LIMIT_S if is_pushed else limit_s
        command = Command(argv, limit_s, idle_s, OBTAIN_LIMIT_BYTES)
        # Tokens are in both, which every user of the host could read among the arguments.
        opening = self.scripts.obtain + f"{source.url or '-'}{seed}\n".encode()
        stdin = _blocks(opening, files.values() if is_pushed else ())
        completed = await session.run(command, stdin)
        return parse_obtained(completed.stdout, nonce, files, addresses)

    async def _tell(
        self, request: Request, source: Source, files: Mapping[Digest, Program], got: Mapping[Digest, int]
    ) -> None:
        """Record what came from where; what did not come is pushed by the apply."""
        is_pushed = source.origin is Origin.PUSH
        lacking = sum(program.packed_bytes for digest, program in files.items() if digest not in got)
        came = sum(got.values())
        event = FilesObtained(
            host=request.host,
            origin=source.origin.value if is_pushed or got else Origin.PUSH.value,
            peer=source.seed if got else None,
            pushed_bytes=lacking + (came if is_pushed else 0),
            fetched_bytes=0 if is_pushed else came,
        )
        await self.emit(event)

    async def _warn(self, request: Request, source: Source, output: ObtainOutput) -> None:
        place = f"its peer {source.seed}" if source.seed else source.url or "the controller"
        message = f"files could not be had from {place}: {output.reason} ({output.kind}); {FALLS_BACK}"
        hint = "look at docs/how-to/distribute.md for what a mirror and peers need"
        await self.emit(Warned(host=request.host, code="files_not_fetched", message=message, hint=hint))

    async def _warn_of_seed(self, request: Request, output: ObtainOutput) -> None:
        message = f"a host cannot serve files to its rack: {output.not_serving}"
        await self.emit(Warned(host=request.host, code="host_cannot_serve", message=message))

    @asynccontextmanager
    async def seeds_ended(self, hosts: Iterable[Host]) -> AsyncIterator[None]:
        """Nothing serves files any more after the block, whatever it raised; only who is cancelled leaves that to the hosts."""
        try:
            yield
        except asyncio.CancelledError:
            raise
        except BaseException:
            await self._end_seeds(hosts)
            raise
        await self._end_seeds(hosts)

    async def _end_seeds(self, hosts: Iterable[Host]) -> None:
        """End whatever still serves files; a host that cannot be reached ends it by itself, by its time limit."""
        by_name = {host.name: host for host in hosts}
        ending = asyncio.Semaphore(ENDED_AT_ONCE)

        async def end(seed: Seed) -> None:
            argv = ("sh", "-c", self.scripts.end, "sh", seed.unit)
            async with ending:
                with suppress(HostError):
                    async with self.connector.connect(by_name[seed.host]) as session:
                        await session.run(Command(argv, STOP_LIMIT_S, STOP_LIMIT_S))

        async with asyncio.TaskGroup() as tasks:
            for seed in await self.distributor.seeds():
                tasks.create_task(end(seed))


def _seed(request: Request, output: ObtainOutput, unit: str, token: str) -> Seed | None:
    if output.serving is None:
        return None
    address, port = output.serving
    place = f"[{address}]" if ":" in address else address
    return Seed(request.host, request.files, f"http://{place}:{port}/{token}", unit)


async def _blocks(opening: bytes, programs: Iterable[Program]) -> AsyncIterator[bytes | memoryview]:
    """The opening, then the packed programs, in blocks."""
    yield opening
    for program in programs:
        content = packed_content(program)
        for start in range(0, len(content), BLOCK_BYTES):
            yield content[start : start + BLOCK_BYTES]
