"""The dialogue in which a host is prepared, its reboot, and what becomes of the host in a rollout."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from ionetctl.core.errors import (
    ConfigurationError,
    HostError,
    HostFailedError,
    HostLockedError,
    HostTrustError,
    HostUnreachableError,
)
from ionetctl.core.events import HostPrepared, HostRebooting, StepStarted
from ionetctl.core.model.host import GpuPromise, Prepare
from ionetctl.core.model.names import RolloutId
from ionetctl.core.observed import Docker, Driver, MachineFacts, SeenGpu
from ionetctl.core.ports import Completed
from ionetctl.host.dependencies import Scripts
from ionetctl.host.prepare import INSTALL_LIMIT_S, REBOOT_LIMIT_S, Preparer
from ionetctl.host.survey import Surveyed
from tests.support.fakes import LOGIN, Emitted, FakeConnector, FakeIssuer, FakeRegion, dependencies
from tests.support.sample import BARE, HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Sequence
    from pathlib import Path

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.login_key import AccountLogin
    from ionetctl.core.ports import Command, Session

ROLLOUT: Final = RolloutId("20261123T011226-k3f9qa")
OLD_BOOT: Final = "6a2e6f7c-0000-4000-8000-000000000001"
NEW_BOOT: Final = "6a2e6f7c-0000-4000-8000-000000000002"
LOST: Final = HostUnreachableError("connection_lost", "it went away", transient=True)
DOCKER: Final = Docker("27.3.1", runtimes=("nvidia",))
BARE_HOST: Final = replace(BARE, machine=MachineFacts(), gpus=None)
WITH_DOCKER: Final = replace(BARE, machine=MachineFacts(docker=DOCKER), gpus=None)
WITH_DRIVER: Final = replace(
    BARE,
    machine=MachineFacts(driver=Driver("550.90.07", "550.90.07")),
    gpus=(SeenGpu(0, "x", "GPU-1", is_persistent=False),),
    boot_id=NEW_BOOT,
)
PERSISTENT: Final = replace(WITH_DRIVER, gpus=(SeenGpu(0, "x", "GPU-1", is_persistent=True),))
READY: Final = "ready\tNONCE"
STEPS: Final = (
    READY,
    "Welcome to rig",
    "step\treceive",
    "step\tdocker",
    "changed\tdocker\tinstalled docker.io",
)
DONE: Final = (*STEPS, "done")
REBOOTS: Final = (READY, "step\tdriver", "reboot\tthe driver takes over", "done")

Line = str | BaseException


@dataclass
class Script:
    """A host's session: plays its part in preparations, and its boot in what follows them."""

    dialogues: Sequence[Sequence[Line]] = (DONE,)
    boots: Sequence[str | BaseException] = ()
    reboot: int | BaseException = 0
    stderr: bytes = b""
    commands: list[Command] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    host_key: str | None = None
    login: AccountLogin = LOGIN
    _dialogues: int = 0
    _boots: int = 0

    async def run(
        self,
        command: Command,
        stdin: bytes | AsyncIterable[bytes | memoryview] = b"",
        on_line: Callable[[bytes], None] | None = None,
    ) -> Completed:
        self.commands.append(command)
        if command.argv[0] == "cat":
            boot = self.boots[min(self._boots, len(self.boots) - 1)]
            self._boots += 1
            if isinstance(boot, BaseException):
                raise boot
            return Completed(0, f"{boot}\n".encode(), b"")
        if command.argv[0] == "systemctl":
            if isinstance(self.reboot, BaseException):
                raise self.reboot
            return Completed(self.reboot, b"", self.stderr)
        assert isinstance(stdin, AsyncGenerator)
        assert on_line is not None
        async with aclosing(stdin) as sent:
            return await self._play(command, sent, on_line)

    async def _play(
        self, command: Command, sent: AsyncGenerator[bytes | memoryview], on_line: Callable[[bytes], None]
    ) -> Completed:
        dialogue = self.dialogues[self._dialogues]
        self._dialogues += 1
        for line in dialogue:
            if isinstance(line, BaseException):
                raise line
            on_line(line.replace("NONCE", command.argv[4]).encode())
            if line == READY:
                size = int(bytes(await anext(sent)))
                self.received.append(b"".join([bytes(block) async for block in sent]))
                assert len(self.received[-1]) == size
        is_failed = dialogue[-1] != "done"
        return Completed(1 if is_failed else 0, b"", self.stderr)

    def members(self, dialogue: int = 0) -> dict[str, bytes]:
        """What was sent in a dialogue."""
        with tarfile.open(fileobj=io.BytesIO(self.received[dialogue])) as archive:
            opened = {member.name: archive.extractfile(member) for member in archive}
            return {name: file.read() for name, file in opened.items() if file is not None}


@dataclass
class Stage:
    """One host that is to be prepared, and what is seen of it in turn."""

    facts: Sequence[Facts | BaseException] = (BARE_HOST, WITH_DOCKER)
    script: Script = field(default_factory=Script)
    prepare: Prepare = field(default_factory=lambda: Prepare(docker=True))
    emit: Emitted = field(default_factory=Emitted)
    refusals: list[BaseException] = field(default_factory=list)
    count: int | None = 1

    def __post_init__(self) -> None:
        self.host: Host = replace(HOST, prepare=self.prepare, gpus=GpuPromise(None, self.count))
        hosts: Any = {self.host.name: self.script}
        self.connector = FakeConnector(hosts, {self.host.name: self.refusals})
        self.region = FakeRegion()
        made = dependencies(ROLLOUT, self.connector, self.region, FakeIssuer(), self.emit)
        scripts = replace(made.scripts, prepare=b"# prepare.sh\n", restore_miner=b"# restore\n")
        assert isinstance(scripts, Scripts)
        self.preparing = Preparer(replace(made, scripts=scripts))
        self._looks = iter(self.facts)

    async def look(self, session: Session) -> Surveyed:
        assert session is self.script
        found = next(self._looks)
        if isinstance(found, BaseException):
            raise found
        return Surveyed(self.host, self.host.name, found, ())

    async def run(self) -> frozenset[str]:
        async with self.preparing.prepared(self.host, self.look, 1) as (session, surveyed, done):
            assert session is self.script
            assert self.connector.open == 1
            self.last = surveyed
        return done

    async def failure(self) -> HostError:
        with pytest.raises(HostError) as caught:
            await self.run()
        assert self.connector.open == 0
        return caught.value


async def test_prepared_host_is_sent_nothing() -> None:
    """Nothing is left to prepare, and no script runs."""
    stage = Stage((WITH_DOCKER,))
    assert await stage.run() == frozenset()
    assert stage.script.commands == []


async def test_prepared_host_is_connected_to_once() -> None:
    """One connection serves the one look."""
    stage = Stage((WITH_DOCKER,))
    await stage.run()
    assert stage.connector.connections == [stage.host.name]


async def test_what_is_needed_is_done_and_reported() -> None:
    """Each step and each change is an event; then the host is looked at again."""
    stage = Stage()
    assert await stage.run() == {"docker"}
    assert stage.last.facts == WITH_DOCKER
    assert stage.emit.events == [
        StepStarted(host=HOST.name, step="prepare", attempt=1, detail="receive"),
        StepStarted(host=HOST.name, step="prepare", attempt=1, detail="docker"),
        HostPrepared(host=HOST.name, preparation="docker", detail="installed docker.io"),
    ]


async def test_payload_says_what_to_do_and_for_whom() -> None:
    """The script comes in the place of an apply's, with its records; the lock bears our name."""
    stage = Stage()
    await stage.run()
    assert stage.script.members() == {
        "apply.sh": b"# prepare.sh\n",
        "restore-miner": b"# restore\n",
        "steps": b"limit\t1800\nreboot\tno\ndocker\n",
    }
    (command,) = stage.script.commands
    assert command.argv[2] == "# receive.sh\n"
    assert command.argv[5:8] == (ROLLOUT, "ops@ctl", "2026-11-23T01:12:26+00:00")
    assert command.idle_s > INSTALL_LIMIT_S


async def test_packages_come_along(tmp_path: Path) -> None:
    """Those of the preparations that are needed, under their own names."""
    for folder in ("docker", "cni"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}_1_all.deb").write_text(folder)
    stage = Stage(prepare=Prepare(docker=True, packages=str(tmp_path)))
    await stage.run()
    members = stage.script.members()
    assert {name for name in members if name.startswith("packages/")} == {"packages/docker/docker_1_all.deb"}
    assert members["packages/docker/docker_1_all.deb"] == b"docker"
    [prepared] = [event for event in stage.emit.events if isinstance(event, HostPrepared)]
    assert prepared.digests == {"docker_1_all.deb": hashlib.sha256(b"docker").hexdigest()}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("error\tpackage_held\tdriver: x is on hold", ("package_held", "driver: x is on hold")),
        ("error\tdisk_full\tdocker: No space left", ("disk_full", "docker: No space left")),
        ("error\tunheard_of\tx", ("unheard_of", "x")),
        ("error\t../odd\tx", ("prepare_failed", "x")),
        ("step\tOdd step", ("report_malformed", "the host reports nonsense: step Odd step")),
    ],
)
async def test_failure_of_the_host_is_its_outcome(line: str, expected: tuple[str, str]) -> None:
    """Under its code and in this step, with what to do about it."""
    error = await Stage(script=Script(((*STEPS, line),))).failure()
    assert isinstance(error, HostFailedError)
    assert (error.code, error.message, error.step, bool(error.hint)) == (*expected, "prepare", True)


async def test_host_that_another_rollout_holds_is_left_alone() -> None:
    """The lock is the same that an apply takes."""
    error = await Stage(script=Script((("error\tlocked\tr1 eve@ops now",),))).failure()
    assert isinstance(error, HostLockedError)
    assert (error.code, error.message) == ("host_locked", "r1 eve@ops now is at work on this host")


async def test_script_that_ends_without_a_report_failed() -> None:
    """The last line of its standard error is shown."""
    error = await Stage(script=Script((STEPS,), stderr=b"sh: Killed\n")).failure()
    assert (error.code, error.message) == (
        "prepare_failed",
        "the preparation ended with status 1: sh: Killed",
    )


async def test_lost_connection_may_be_tried_again() -> None:
    """What was begun goes on there; a retry looks first."""
    error = await Stage(script=Script(((*STEPS, LOST),))).failure()
    assert (error, error.step, error.transient) == (LOST, "prepare", True)


async def test_look_that_fails_is_no_preparation() -> None:
    """Whoever looks knows the step."""
    error = await Stage((HostFailedError("survey_failed", "x"),)).failure()
    assert (error.code, error.step) == ("survey_failed", "")


async def test_broken_journal_ends_the_dialogue() -> None:
    """Nothing more is done that nobody could record."""
    broken = ConfigurationError("journal_broken", "no room")
    stage = Stage(emit=Emitted(error=broken))
    with pytest.raises(ConfigurationError):
        await stage.run()
    assert stage.connector.open == 0


async def test_preparation_that_does_not_last_is_not_repeated() -> None:
    """It would be for ever."""
    error = await Stage((BARE_HOST, BARE_HOST)).failure()
    assert (error.code, error.message, error.step) == (
        "prepare_failed",
        "docker was prepared, and still: is not installed",
        "prepare",
    )


DRIVER: Final = Prepare(driver="550", reboot=True)


async def test_host_reboots_is_waited_for_and_goes_on() -> None:
    """Until another boot answers; what only shows then is prepared too."""
    persist = (READY, "step\tpersistence", "changed\tpersistence\ton", "done")
    boots = (OLD_BOOT, LOST, HostFailedError("auth_failed", "booting up"), NEW_BOOT)
    script = Script((REBOOTS, persist), boots, reboot=LOST)
    stage = Stage((BARE_HOST, WITH_DRIVER, PERSISTENT), script, replace(DRIVER, persistence=True))
    assert await stage.run() == {"driver", "persistence"}
    assert HostRebooting(host=HOST.name, reason="the driver takes over") in stage.emit.events
    assert [command.argv for command in script.commands if command.argv[0] == "systemctl"] == [
        ("systemctl", "--no-block", "reboot")
    ]
    assert b"reboot\tyes\n" in script.members()["steps"]
    assert stage.region.clock.monotonic() == 4 * 5.0


def gone_for_good() -> Stage:
    """A host that reboots and is not seen again."""
    return Stage((BARE_HOST,), Script((REBOOTS,), (LOST,)), DRIVER)


async def test_host_that_does_not_come_back_is_given_up() -> None:
    """The error says that it did go down."""
    error = await gone_for_good().failure()
    assert (error.code, error.step) == ("reboot_timeout", "prepare")
    assert "it went away" in error.message


async def test_reboot_is_waited_for_as_long_as_the_slowest_servers_boot() -> None:
    """The wait ends with the limit of a reboot."""
    stage = gone_for_good()
    await stage.failure()
    assert stage.region.clock.monotonic() == REBOOT_LIMIT_S


async def test_host_that_does_not_go_down_is_named() -> None:
    """It answers all the time, and is still the same boot."""
    error = await Stage((BARE_HOST,), Script((REBOOTS,), (OLD_BOOT,)), DRIVER).failure()
    assert (error.code, "it has not gone down" in error.message) == ("reboot_timeout", True)


async def test_refused_reboot_is_reported() -> None:
    """With systemd's own message."""
    script = Script((REBOOTS,), reboot=1, stderr=b"Operation inhibited by backup\n")
    error = await Stage((BARE_HOST,), script, DRIVER).failure()
    assert (error.code, error.message) == (
        "reboot_refused",
        "systemd refuses the reboot: Operation inhibited by backup",
    )


async def test_other_host_that_answers_after_a_reboot_is_not_trusted() -> None:
    """Another key is no reason to wait."""
    other = HostTrustError("host_key_changed", "another key")
    error = await Stage((BARE_HOST,), Script((REBOOTS,), (other,)), DRIVER).failure()
    assert (error, error.step) == (other, "prepare")
