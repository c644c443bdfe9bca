"""What ``receive.sh`` and ``apply.sh`` do on a host and report, on a modelled one.

The steps, their order, the reports and the errors are those of the scripts (``docs/explanation/host-protocol.md``); a test compares
both. Files are what really arrived: digests are compared, the configuration is validated, the agent reads what was installed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ionetctl.core.host_paths import CLIENT_ID, CONFIG_DIR, INTRODUCTION_TOKEN
from ionetctl.lab.agent.config import validate_config
from ionetctl.lab.certificates import is_of_key, new_request, private_pem
from ionetctl.lab.host.supervisor import Reply
from ionetctl.lab.modelled.host_files import HostFile, HostFiles, text_file
from ionetctl.lab.modelled.payload_reader import Member, PayloadCorruptError, read_archive, version_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ionetctl.lab.modelled.payload_reader import Program, ProgramCache, Read
    from ionetctl.lab.modelled.service import ModelledService

_FLAT: Final = str.maketrans("\n\t", "  ")
_MESSAGE_CHARS: Final = 900
_LOG_LINES: Final = 40
_START_LIMIT_S: Final = 90.0
_ELF_64: Final = bytes.fromhex("7f454c4602")
_ELF_MACHINES: Final = {"x86_64": 0x3E, "aarch64": 0xB7}
_MACHINE_BYTE: Final = 18


class _FailedError(Exception):
    """The apply ends with an error report."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Peer:
    """The controller on the other side: ``read`` and ``read_line`` get what it sends, ``say`` sends it one line."""

    read: Read
    read_line: Callable[[], Awaitable[str]]
    say: Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class Apply:
    """One apply on one host, whose ``files`` it changes; ``architecture`` is the host's."""

    peer: Peer
    service: ModelledService
    programs: ProgramCache
    files: HostFiles
    architecture: str
    _steps: list[tuple[str, ...]] = field(default_factory=list)
    _members: dict[str, Member] = field(default_factory=dict)
    _step: str = "receive"
    _before: HostFiles | None = None
    _was: tuple[str, bool] = ("inactive", False)
    _is_touched: bool = False
    _token: str = ""

    async def run(self, nonce: str) -> int:
        """Carry the payload out; returns the exit status."""
        await self.peer.say(f"ready\t{nonce}")
        await self._begin("receive")
        try:
            size = await self.peer.read_line()
            self._members = await read_archive(self.peer.read, int(size or 0), self.programs)
        except PayloadCorruptError as error:
            await self.peer.say(f"error\tpayload_corrupt\t{error}")
            return 1
        self._steps = [tuple(line.split("\t")) for line in self._text("steps").splitlines()]
        if "rollout" not in dict(self._steps_by_kind()):
            await self.peer.say(
                "error\tprepare_failed\ta modelled host cannot be prepared; rehearse without --modelled"
            )
            return 1
        try:
            await self._apply()
        except _FailedError as error:
            return await self._fail(error)
        await self.peer.say("done")
        return 0

    def _steps_by_kind(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(kind, rest) for kind, *rest in self._steps]  # type: ignore[misc]

    def _records(self, kind: str) -> list[tuple[str, ...]]:
        return [record[1:] for record in self._steps if record[0] == kind]

    def _value(self, kind: str) -> str:
        return next((record[0] for record in self._records(kind)), "")

    async def _begin(self, step: str) -> None:
        self._step = step
        await self.peer.say(f"step\t{step}")

    async def _apply(self) -> None:
        await self._obtain_certificate()
        wanted = await self._verify()
        await self._validate(wanted)
        await self._ask_token()
        await self._begin("backup")
        self._before, self._was = self.files.copy(), (self.service.active, self.service.is_enabled)
        await self._begin("install")
        self._install(wanted, self.files)
        await self._begin("switch")
        self._switch(self.files)
        await self._begin("start")
        if (verb := self._value("start")) != "no":
            await self._start(verb)
        await self._report_node()
        await self._await_verdict()
        await self._begin("finish")
        self._finish()

    # --- before any change --------------------------------------------------------------------------------------------

    async def _obtain_certificate(self) -> None:
        """Make a private key and have it certified, where that is asked for."""
        for *of_key, mode, owner, path in self._records("own_pair"):
            await self._begin("certificate")
            key, request = new_request()
            answer = await self._answer(f"certificate\t{base64.b64encode(request).decode()}")
            verb, _, lines = answer.partition(" ")
            if verb != "certificate" or not lines:
                raise _FailedError("abandoned", "the controller gave up, or is gone; nothing was changed")
            chain = "\n".join([*lines.split(","), ""]).encode()
            if not is_of_key(chain, key):
                raise _FailedError(
                    "certificate_mismatch", "the certificate is not of the key that was made here"
                )
            self._add_file("key", private_pem(key), *of_key)
            self._add_file("certificate", chain, mode, owner, path)

    def _add_file(self, name: str, content: bytes, *record: str) -> None:
        digest = hashlib.sha256(content).hexdigest()
        self._members[f"f/{name}"] = Member(digest, content)
        self._steps.append(("file", name, digest, *record))

    async def _verify(self) -> dict[str, HostFile]:
        """What is to be installed, by path."""
        await self._begin("verify")
        wanted: dict[str, HostFile] = {}
        wrong: list[str] = []
        for packed, digest, _, mode, owner, path, _, form in self._records("program"):
            program = await self._program(packed, form)
            wanted[path] = HostFile(program.digest, mode, owner, program=program)
            if program.digest != digest:
                wrong.append(path)
        for number, digest, mode, owner, path in self._records("file"):
            wanted[path] = text_file(self._content(number), mode, owner)
            if wanted[path].digest != digest:
                wrong.append(path)
        if wrong:
            shown = " ".join(f"{path}.ionet-new: FAILED" for path in wrong)
            raise _FailedError("payload_corrupt", f"digests differ: {shown}")
        for *_, path, version, _ in self._records("program"):
            self._check_program(wanted[path].program, path, version)
        return wanted

    async def _program(self, packed: str, form: str) -> Program:
        """The program in a packed file, which is always sent whole: nothing is kept of an upload that broke off."""
        try:
            return await self.programs.unpacked(self._members[f"p/{packed}.0"], form)
        except (KeyError, PayloadCorruptError) as error:
            raise _FailedError("payload_corrupt", str(error)) from None

    def _content(self, number: str) -> bytes:
        member = self._members.get(f"f/{number}")
        if member is None or member.content is None:
            raise _FailedError("apply_failed", f"f/{number}: No such file or directory")
        return member.content

    def _text(self, name: str) -> str:
        member = self._members.get(name)
        return (member.content or b"").decode() if member else ""

    def _check_program(self, program: Program | None, path: str, version: str) -> None:
        if program is None:  # the record of a file has the same path
            raise _FailedError("apply_failed", f"{path} is no program")
        head = program.head
        machine = _ELF_MACHINES.get(self.architecture)
        is_fit = head.startswith(_ELF_64) and head[_MACHINE_BYTE] == machine
        if not is_fit and b"#!" not in head:
            raise _FailedError("wrong_architecture", f"{path} is not made for {self.architecture}")
        if path.rpartition("/")[2] != "nomad":
            return
        printed = program.version_output
        if not printed:
            raise _FailedError("no_exec", f"{path} does not run: ")
        if version_of(program) != version:
            raise _FailedError(
                "wrong_version", f"{path} says that it is {printed.splitlines()[0]}, not {version}"
            )

    async def _validate(self, wanted: dict[str, HostFile]) -> None:
        validator = self._value("validate")
        if not validator:
            return
        await self._begin("validate")
        later = self.files.copy()
        self._install(wanted, later)
        self._switch(later)
        self.service.write_tree(later)
        program = later.resolved(validator)
        version = version_of(program.program) if program is not None and program.program is not None else ""
        status, lines = validate_config(self.service.tree, CONFIG_DIR, version)
        said = "\n".join(lines)
        if status != 0 or "WARNING" in said:
            raise _FailedError("config_invalid", said)

    async def _ask_token(self) -> None:
        if self._value("token") != "yes":
            return
        await self._begin("token")
        if not self._take_token(await self._answer("token")):
            raise _FailedError("abandoned", "the controller gave up, or is gone; nothing was changed")

    async def _answer(self, what: str) -> str:
        await self.peer.say(f"await\t{what}")
        return await self.peer.read_line()

    def _take_token(self, answer: str) -> bool:
        verb, _, token = answer.partition(" ")
        if verb != "token" or not token:
            return False
        self._token = "" if token == "-" else token  # noqa: S105 - a mark for none
        return True

    # --- the changes --------------------------------------------------------------------------------------------------

    def _install(self, wanted: dict[str, HostFile], host: HostFiles) -> None:
        for (path,) in self._records("aside"):
            host.files.pop(path, None)
            host.links.pop(path, None)
        for path, file in wanted.items():
            host.links.pop(path, None)
            host.files[path] = file
        for mode, owner, path in self._records("chmod"):
            if installed := host.files.get(path):
                host.files[path] = replace(installed, mode=mode, owner=owner)

    def _switch(self, host: HostFiles) -> None:
        for target, path in self._records("link"):
            host.files.pop(path, None)
            host.links[path] = target
        host.files.pop(INTRODUCTION_TOKEN, None)
        if self._token:
            host.files[INTRODUCTION_TOKEN] = text_file(self._token.encode() + b"\n")

    async def _start(self, verb: str) -> None:
        self._is_touched = True
        service = self.service
        service.files = self.files
        service.update_tree(self.files)
        reply = await self._started(verb)
        if reply is None:
            await self._tail_journal()
            message = f"systemctl {verb} nomad.service did not end within {_START_LIMIT_S:.0f} s"
            raise _FailedError("start_timeout", message)
        if reply.status != 0:
            await self._tail_journal()
            raise _FailedError("start_failed", f"systemctl {verb} nomad.service: {reply.err[0]}")
        service.keep_state()

    async def _started(self, verb: str) -> Reply | None:
        """The reply of systemctl; ``None`` where it takes too long."""
        service = self.service
        service.is_enabled = True
        if verb == "start" and service.active == "active":
            return Reply()
        service.reload()
        try:
            async with asyncio.timeout(_START_LIMIT_S):
                if verb == "restart":
                    await service.stop()
                return await service.start()
        except TimeoutError:
            return None

    async def _report_node(self) -> None:
        await self._begin("node")
        node_id = self.files.content(CLIENT_ID)
        if node_id is None:
            await self._tail_journal()
            raise _FailedError("no_node_id", f"no node id in {CLIENT_ID} within 15 s")
        if self._value("start") != "no" and self.service.active != "active":
            await self._tail_journal()
            raise _FailedError("start_failed", f"nomad.service is {self.service.active} after its start")
        await self.peer.say(f"node\t{node_id.decode().strip()}")

    async def _await_verdict(self) -> None:
        while (answer := await self._answer("verdict")) != "confirmed":
            if answer == "journal":
                await self._tail_journal()
            elif self._take_token(answer):
                self._switch(self.files)
                await self._start("restart")
                await self._report_node()
            else:
                self._finish()
                self._before = None
                raise _FailedError("abandoned", "the controller gave up, or is gone; the agent goes on")

    async def _tail_journal(self) -> None:
        for line in list(self.service.journal)[-_LOG_LINES:]:
            await self.peer.say(f"log\t{line.split(']: ', 1)[-1].translate(_FLAT)}")

    def _finish(self) -> None:
        self._token = ""
        self.files.files.pop(INTRODUCTION_TOKEN, None)

    async def _fail(self, error: _FailedError) -> int:
        if self._before is not None:
            await self._roll_back(self._before)
        elif self.service.agent is None:
            self.service.remove_tree()
        message = str(error).translate(_FLAT)[:_MESSAGE_CHARS]
        await self.peer.say(f"error\t{error.code}\t{message}")
        return 1

    async def _roll_back(self, before: HostFiles) -> None:
        self.files.files, self.files.links = before.files, before.links
        service, (was_active, was_enabled) = self.service, self._was
        service.files = self.files
        if not self._is_touched:
            return
        if was_active != "active":
            await service.stop()
            service.active = "inactive" if service.active != "failed" else service.active
        service.is_enabled = was_enabled
        service.remove_tree()
        if was_active == "active":
            service.write_tree(self.files)
            service.reload()
            await service.stop()
            await service.start()
