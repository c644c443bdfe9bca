"""The preparation of one host, and the wait for one that reboots. Sees ports only.

The host is surveyed, what is needed is done in one dialogue under the host's lock, and it is surveyed again, until
nothing is needed any more. See docs/reference/preparations.md and, for what is said on the wire, docs/explanation/host-protocol.md.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import (
    HostError,
    HostFailedError,
    HostTrustError,
    HostUnreachableError,
)
from ionetctl.core.events import HostPrepared, HostRebooting, StepStarted
from ionetctl.core.ports import Command
from ionetctl.facts.report_lines import PREPARE_REPORTS, Changed, Done, Failed, RebootNeeded, Step
from ionetctl.host import apply_dialogue
from ionetctl.host.dialogue import DialogueKind, hold_dialogue, last_error_line
from ionetctl.plan.packages import packages_for
from ionetctl.plan.payload import record_line
from ionetctl.plan.prepare_steps import needed_preparations, step_records
from ionetctl.plan.ustar import archive, archive_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import Digest
    from ionetctl.core.model.plan import Change
    from ionetctl.core.ports import Session
    from ionetctl.host.dependencies import Dependencies
    from ionetctl.host.dialogue import HostDialogue
    from ionetctl.host.survey import Surveyed
    from ionetctl.plan.packages import Package

STEP: Final = "prepare"
INSTALL_LIMIT_S: Final = 1800
"""How long one installation may take on the host, which reports nothing meanwhile; longer than a mining system is watched."""
REBOOT_LIMIT_S: Final = 600.0
"""How long a host that reboots is waited for: servers with much memory take minutes before they load a kernel."""
REBOOT_PAUSE_S: Final = 5.0
BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
LIMIT_BYTES: Final = 256 * 1024

HINTS: Final[dict[str, str]] = {
    "containers_running": "stop the containers, or restart Docker by hand once they may be interrupted",
    "driver_not_loaded": "read dmesg on the host: is Secure Boot on, did DKMS build the module for this kernel?",
    "firewall_unclear": "let TCP 4647 out by hand, where that firewall's rules are kept",
    "miner_returns": "the message names what started it; stop that too (another unit, a loop, the panel), and run again",
    "module_missing": "install the kernel's extra modules, or boot a kernel that has them",
    "package_held": "release it with apt-mark unhold, or leave prepare.driver out",
    "package_missing": "add the repository that has it, or give packages with prepare.packages",
    "packages_locked": "another package manager is at work there: wait for it to end, and run again",
    "prepare_failed": "run again with -v; the message is the host's own",
    "reboot_needed": "allow it with prepare.reboot: true, or reboot the host by hand and run again",
}
KIND: Final = DialogueKind(
    title="the preparation",
    code="prepare_failed",
    reports=PREPARE_REPORTS,
    hints=apply_dialogue.HINTS | HINTS,
    awaits_answers=False,
    idle_s=lambda limits: INSTALL_LIMIT_S + limits.idle_s,
    limit_bytes=LIMIT_BYTES,
)


@dataclass(frozen=True, slots=True)
class PreparePayload:
    """All that is sent to one host for one preparation."""

    script: bytes = field(repr=False)
    restore_script: bytes = field(repr=False)
    records: tuple[tuple[str, ...], ...]
    packages: tuple[Package, ...]
    packed_digests: tuple[Digest, ...] = ()
    fence: int = 0

    def size_bytes(self, _present: Mapping[Digest, int]) -> int:
        """The size of the whole archive."""
        return archive_bytes([*(len(content) for _, content in self._texts), *self._package_sizes])

    def blocks(self, _present: Mapping[Digest, int]) -> Iterator[bytes | memoryview]:
        """The archive in blocks; raises ``ConfigurationError`` where a package has changed since."""
        texts = [(name, memoryview(content)) for name, content in self._texts]
        packages = [(package.member, package.content()) for package in self.packages]
        yield from archive([*texts, *packages])

    @property
    def _texts(self) -> tuple[tuple[str, bytes], ...]:
        records = "".join(record_line(record) for record in self.records).encode()
        # The name is that of what receive.sh runs once all is unpacked.
        return ("apply.sh", self.script), ("restore-miner", self.restore_script), ("steps", records)

    @property
    def _package_sizes(self) -> list[int]:
        return [package.size_bytes for package in self.packages]


class Preparer:
    """How hosts are prepared in one rollout."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._deps = dependencies

    @asynccontextmanager
    async def prepared(
        self, host: Host, survey: Callable[[Session], Awaitable[Surveyed]], attempt: int
    ) -> AsyncIterator[tuple[Session, Surveyed, frozenset[str]]]:
        """A session to the host with nothing left to prepare, its survey as of now, and what was prepared.

        ``survey`` surveys it and raises where it must not be touched. The host reboots where it has to and may. Raises
        what the session raises, and ``HostFailedError`` for a preparation that fails or does not last.
        """
        done: frozenset[str] = frozenset()
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(self._deps.connector.connect(host))
            surveyed = await survey(session)
            while changes := needed_preparations(host, surveyed.facts):
                _refuse_again(changes, done)
                with _in_step():
                    reboot_reason = await self._carry_out(session, surveyed, changes, attempt)
                    done |= {change.path for change in changes}
                    if reboot_reason is not None:
                        await self._reboot(session, surveyed, reboot_reason)
                        await stack.aclose()
                        await self._wait_until_back(surveyed)
                        session = await stack.enter_async_context(self._deps.connector.connect(host))
                surveyed = await survey(session)
            yield session, surveyed, done

    async def _carry_out(
        self, session: Session, surveyed: Surveyed, changes: Sequence[Change], attempt: int
    ) -> str | None:
        """Why the host must be rebooted, or ``None`` where it need not."""
        payload = self._payload(surveyed, changes)

        async def lead(dialogue: HostDialogue) -> str | None:
            return await self._follow(dialogue, surveyed.host, attempt, payload.packages)

        return await hold_dialogue(session, self._deps, KIND, payload, lead)

    def _payload(self, surveyed: Surveyed, changes: Sequence[Change]) -> PreparePayload:
        host, facts, scripts = surveyed.host, surveyed.facts, self._deps.scripts
        names = [change.path for change in changes]
        allowed = "yes" if host.prepare.reboot else "no"
        records = (
            ("limit", str(INSTALL_LIMIT_S)),
            ("reboot", allowed),
            *step_records(host, facts, changes),
        )
        packages = packages_for(host.prepare.packages, names, facts.architecture)
        return PreparePayload(scripts.prepare, scripts.restore_miner, records, packages, fence=facts.fence)

    async def _follow(
        self, dialogue: HostDialogue, host: Host, attempt: int, packages: Sequence[Package]
    ) -> str | None:
        """Why the host must be rebooted, once it is done; every step and change is an event as it comes."""
        reboot_reason = None
        while not isinstance(report := await dialogue.next_report(), Done):
            match report:
                case Step(name=name):
                    await self._deps.emit(
                        StepStarted(host=host.name, step=STEP, attempt=attempt, detail=name)
                    )
                case Changed(preparation=name, detail=detail):
                    digests = await asyncio.to_thread(_digests, packages, name)
                    event = HostPrepared(host=host.name, preparation=name, detail=detail, digests=digests)
                    await self._deps.emit(event)
                case RebootNeeded(reason=reason):
                    reboot_reason = reason
                case Failed(code=code, message=message):
                    raise dialogue.failure(code, message)
                case _:
                    pass
        return reboot_reason

    async def _reboot(self, session: Session, surveyed: Surveyed, reason: str) -> None:
        await self._deps.emit(HostRebooting(host=surveyed.host.name, reason=reason))
        limit_s = self._deps.deadlines.step_s
        command = Command(("systemctl", "--no-block", "reboot"), limit_s, limit_s, LIMIT_BYTES)
        try:
            completed = await session.run(command)
        except HostUnreachableError:
            return  # it went at once
        if completed.exit_status != 0:
            message = f"systemd refuses the reboot: {last_error_line(completed)}"
            raise HostFailedError("reboot_refused", message, "see systemd-inhibit --list on the host")

    async def _wait_until_back(self, surveyed: Surveyed) -> None:
        """Return once the host has booted anew and accepts logins; at first it may still be the old boot that answers."""
        clock, host = self._deps.clock, surveyed.host
        give_up_at = clock.monotonic() + REBOOT_LIMIT_S
        state = "it does not answer"
        while clock.monotonic() < give_up_at:
            await clock.sleep(REBOOT_PAUSE_S)
            try:
                boot_id = await self._boot_id(host)
            except HostTrustError:
                raise
            except HostError as error:  # while it goes down or comes up, logins are refused as well
                state = error.message
                continue
            if boot_id != surveyed.facts.boot_id:
                return
            state = "it has not gone down"
        message = f"the host did not come back within {REBOOT_LIMIT_S:.0f} s of its reboot: {state}"
        raise HostFailedError("reboot_timeout", message, "look at its console; run again when it is up")

    async def _boot_id(self, host: Host) -> str:
        limit_s = self._deps.deadlines.step_s
        async with self._deps.connector.connect(host) as session:
            completed = await session.run(Command(("cat", BOOT_ID), limit_s, limit_s, LIMIT_BYTES))
        return completed.stdout.decode(errors="replace").strip()


def _digests(packages: Sequence[Package], preparation: str) -> dict[str, Digest]:
    """Those of the packages that were brought for it, by file name."""
    return {Path(each.path).name: each.digest for each in packages if each.preparation == preparation}


@contextmanager
def _in_step() -> Iterator[None]:
    """Errors in here happen in this step, whoever raises them."""
    try:
        yield
    except HostError as error:
        error.step = STEP
        raise


def _refuse_again(changes: Sequence[Change], done: frozenset[str]) -> None:
    """A preparation that went well and is needed all the same would be repeated for ever."""
    for change in changes:
        if change.path in done:
            message = f"{change.path} was prepared, and still: {change.reason}"
            error = HostFailedError("prepare_failed", message, "log in by hand to see why it does not last")
            error.step = STEP
            raise error
