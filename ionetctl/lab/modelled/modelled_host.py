"""One modelled host: answers ionetctl's commands from what it has received and from the recordings of its template.

Other commands are refused with a message, never guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import asyncssh

from ionetctl.lab.host.ssh_server import BYTES_PER_S, DROP_AFTER_BYTES, NOISE, write_endlessly
from ionetctl.lab.modelled.apply_dialogue_model import Apply, Peer
from ionetctl.lab.modelled.command_words import read_command
from ionetctl.lab.modelled.host_files import HostFiles, survey_records
from ionetctl.lab.modelled.service import ModelledService
from ionetctl.lab.modelled.template_host import answered, identity, without_nonce

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ionetctl.lab.modelled.payload_reader import ProgramCache
    from ionetctl.lab.modelled.shared_heartbeats import Heartbeats
    from ionetctl.lab.modelled.template_host import TemplateHost

    Process = asyncssh.SSHServerProcess[bytes]

_PIECE_BYTES: Final = 1 << 16
_LOCKED: Final = 75
_NOT_FOUND: Final = 127
_READ_LIMIT_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class HostKind:
    """What the hosts of a process share: programs, heartbeats, the directory for trees; and of one kind: its template."""

    template: TemplateHost
    programs: ProgramCache
    heartbeats: Heartbeats
    trees: Path


@dataclass(slots=True)
class ModelledHost:
    """A host at ``address`` with at most one fault. ``host_key`` is a private key in OpenSSH's format."""

    name: str
    address: str
    host_key: str = field(repr=False)
    fault: str
    kind: HostKind = field(repr=False)
    boot_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    files: HostFiles = field(default_factory=HostFiles, repr=False)
    holder: str | None = None
    fence: int = 0
    has_dropped: bool = False
    is_closed: bool = False
    """Whether the client's key was taken away."""
    _service: ModelledService | None = None

    @property
    def values(self) -> tuple[str, ...]:
        """Its identity (see ``template_host``)."""
        return identity(self.name, self.address, self.boot_id, self.kind.template.model)

    async def serve(self, channel: Process) -> None:
        """Answer one command of an SSH session."""
        with contextlib.suppress(OSError, asyncssh.Error):  # the client has disconnected
            if self.fault == "endless":
                await write_endlessly(channel)
                return
            stream = _Stream(channel, self)
            if self.fault == "noisy":
                channel.stdout.write(NOISE.encode())
                channel.stderr.write(NOISE.encode())
            channel.exit(await self._answer(stream, channel.command or ""))

    async def _answer(self, stream: _Stream, line: str) -> int:
        """Do what the command does; returns its exit status."""
        command = read_command(line)
        markers = list(command.markers)
        if command.is_sudo and self.fault == "sudo":
            await stream.mark(markers[:1])
            await stream.complain("sudo: a password is required")
            return 1
        await stream.mark(markers)
        match command.words:
            case ("sh", "-s", "--", nonce, *arguments):
                return await self._run_script(stream, nonce, arguments)
            case ("sh", "-c", _, "ionet-probe", nonce):
                return await self._replay(stream, command.words, nonce, await stream.read_all(), None)
            case ("sh", "-c", script, "sh", nonce, rollout, owner, started, fence, _, *_) if (
                "ready\\t" in script
            ):
                return await self._receive(stream, nonce, f"{rollout}\t{owner}\t{started}", fence)
        await stream.complain("sh: this modelled host does not know that command")
        return _NOT_FOUND

    async def _run_script(self, stream: _Stream, nonce: str, arguments: Sequence[str]) -> int:
        script = await stream.read_all()
        words = ("sh", "-s", "--", nonce, *arguments)
        if b"ionet-read-end" in script:
            return await self._read(stream, nonce, arguments)
        if b"ionet-survey-end" in script:
            changing = self._changed_by_apply(arguments[1:])
            return await self._replay(stream, words, nonce, script, changing)
        if b"ionet-close-end" in script:
            return await self._close(stream, nonce, arguments)
        await stream.complain("sh: this modelled host does not know that script")
        return _NOT_FOUND

    def _changed_by_apply(self, asked: Sequence[str]) -> bytes | None:
        """The survey's records that an apply changes; ``None`` for those of a host that is as it was set up."""
        service = self._service
        if service is None:
            return None
        shown = {"nomad.process": str(int(service.active == "active")), "nomad.active": service.active}
        shown["fence"] = str(self.fence)
        if service.is_enabled or service.loaded is not None:
            shown["nomad.enabled"] = "enabled" if service.is_enabled else "disabled"
        return survey_records(self.files, asked, shown, self.holder)

    async def _replay(
        self, stream: _Stream, words: Sequence[str], nonce: str, stdin: bytes, changing: bytes | None
    ) -> int:
        recording = await self.kind.template.recorded(without_nonce(words, nonce), stdin)
        values = self.values
        await stream.write(answered(recording, values, nonce, changing))
        await stream.write_error(recording.errors.filled(values))
        return recording.exit_status

    async def _read(self, stream: _Stream, nonce: str, paths: Sequence[str]) -> int:
        import base64

        rows = [f"ionet-read\t1\t{nonce}\n"]
        for path in paths:
            content = self.files.content(path)
            if content is not None:
                rows.append(f"text\t{path}\t{base64.b64encode(content[:_READ_LIMIT_BYTES]).decode()}\n")
        rows.append(f"ionet-read-end\t{nonce}\n")
        await stream.write("".join(rows).encode())
        return 0

    async def _close(self, stream: _Stream, nonce: str, arguments: Sequence[str]) -> int:
        """What ``close_ssh.sh`` says where the key stands once, in the usual file."""
        path = "/home/miner/.ssh/authorized_keys"
        answers = {
            "account": f"addresses\t127.0.0.1 1 {self.address} 22",
            "look": f"key\taccount\t1\t{path}",
            "remove": f"removed\t1\t{path}",
        }
        self.is_closed = self.is_closed or arguments[0] == "remove"
        await stream.write(
            f"ionet-close\t1\t{nonce}\n{answers[arguments[0]]}\nionet-close-end\t{nonce}\n".encode()
        )
        return 0

    async def _receive(self, stream: _Stream, nonce: str, holder: str, fence: str) -> int:
        owner = self.holder or (
            "r-rehearsed\tsomebody@elsewhere\t2026-01-01T00:00:00Z" if self.fault == "locked" else None
        )
        if owner is not None:
            await stream.say(f"error\tlocked\t{owner.replace(chr(9), ' ')}")
            return _LOCKED
        if fence != str(self.fence):
            await stream.say("error\tchanged\t")
            return 1
        self.holder = holder
        self.fence += 1
        try:
            peer = Peer(stream.read, stream.read_line, stream.say)
            apply = Apply(peer, self.service, self.kind.programs, self.files, self.kind.template.architecture)
            return await apply.run(nonce)
        finally:
            self.holder = None

    @property
    def service(self) -> ModelledService:
        """The agent's service, made when it is first needed."""
        if self._service is None:
            kind = self.kind
            self._service = ModelledService(
                kind.trees / self.name,
                self.address,
                {},
                frozenset({self.fault}),
                heartbeats=kind.heartbeats,
                system_files=lambda: kind.template.agent_files(self.values),
            )
        return self._service

    async def close(self) -> None:
        """End the agent without deregistering it, as a power cut would."""
        if self._service is not None:
            await self._service.close()


@dataclass(slots=True)
class _Stream:
    """The streams of one command, with the host's line: slow, or cut once in the middle of a large upload."""

    channel: Process
    host: ModelledHost
    _received: int = 0

    async def read(self, size: int) -> bytes:
        """The next bytes of the input, at most that many; empty at its end."""
        try:
            block = await self.channel.stdin.read(min(size, self._block_bytes))
        except (OSError, asyncssh.Error, asyncssh.SignalReceived, asyncssh.BreakReceived):
            return b""
        await self._pace(len(block))
        self._received += len(block)
        if self.host.fault == "drop" and not self.host.has_dropped and self._received >= DROP_AFTER_BYTES:
            self.host.has_dropped = True
            self.channel.channel.get_connection().abort()
        return block

    async def read_all(self) -> bytes:
        """All of the input."""
        blocks = []
        while block := await self.read(_PIECE_BYTES):
            blocks.append(block)
        return b"".join(blocks)

    async def read_line(self) -> str:
        """The next line; empty at the end of the input."""
        try:
            line = await self.channel.stdin.readline()
        except (OSError, asyncssh.Error, asyncssh.SignalReceived, asyncssh.BreakReceived):
            return ""
        return line.decode(errors="replace").removesuffix("\n")

    async def write(self, text: bytes) -> None:
        """Write to the standard output; the client may be gone."""
        with contextlib.suppress(OSError, asyncssh.Error):
            for start in range(0, len(text), self._block_bytes):
                block = text[start : start + self._block_bytes]
                self.channel.stdout.write(block)
                await self.channel.stdout.drain()
                await self._pace(len(block))

    async def write_error(self, text: bytes) -> None:
        """Write to the standard error; the client may be gone."""
        with contextlib.suppress(OSError, asyncssh.Error):
            self.channel.stderr.write(text)

    async def say(self, line: str) -> None:
        """One line to the controller."""
        await self.write(f"{line}\n".encode())

    async def complain(self, line: str) -> None:
        """One line to the standard error."""
        await self.write_error(f"{line}\n".encode())

    async def mark(self, markers: Sequence[str]) -> None:
        """The markers that come before a command's own output."""
        for marker in markers:
            await self.complain(marker)
            await self.say(marker)

    @property
    def _block_bytes(self) -> int:
        return min(BYTES_PER_S.get(self.host.fault, _PIECE_BYTES), _PIECE_BYTES)

    async def _pace(self, size: int) -> None:
        speed = BYTES_PER_S.get(self.host.fault)
        if speed is not None:
            await asyncio.sleep(size / speed)
