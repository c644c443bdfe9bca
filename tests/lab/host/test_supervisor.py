"""The stand-in for systemd: units, starts and their failures, as systemctl and journalctl show them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from ionetctl.lab.host.programs import SYSTEM_PATH
from ionetctl.lab.host.supervisor import Reply, Supervisor
from ionetctl.lab.host.systemd_commands import OtherUnits, SystemdCommands

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.lab.running import Rig

UNIT = """\
[Unit]
Description=Nomad
[Service]
Type=notify
ExecStart=/usr/local/bin/nomad agent -config /etc/nomad.d
[Install]
WantedBy=multi-user.target
"""
PROGRAM = "#!/bin/sh\necho 'Nomad v2.0.5'\n"


@pytest.fixture
def rig(rig: Rig) -> Rig:
    """The rig with a unit and a program."""
    (rig.tree / "etc/systemd/system/nomad.service").write_text(UNIT)
    program = rig.tree / "opt/nomad/releases/2.0.5/nomad"
    program.parent.mkdir(parents=True)
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (rig.tree / "usr/local/bin/nomad").symlink_to("/opt/nomad/releases/2.0.5/nomad")
    return rig


class Machine:
    """A host's supervisor with its programs; ``ctl`` is systemctl."""

    def __init__(self, rig: Rig, *faults: str) -> None:
        environment = {"PATH": SYSTEM_PATH, "IONET_ROOT": str(rig.tree)}
        self.supervisor = Supervisor(rig.tree, "127.0.0.1", environment, frozenset(faults))
        self.commands = SystemdCommands(self.supervisor, OtherUnits(self.supervisor.tree))

    async def ctl(self, *arguments: str) -> Reply:
        return await self.commands.run("systemctl", list(arguments))

    async def log(self, *arguments: str) -> list[str]:
        return list((await self.commands.run("journalctl", list(arguments))).out)


@pytest.fixture
async def machine(rig: Rig) -> AsyncIterator[Machine]:
    machine = Machine(rig)
    yield machine
    await machine.supervisor.close()


async def test_a_start_makes_the_unit_active_and_visible(machine: Machine, rig: Rig) -> None:
    """After a start systemctl says active, and the process table has an agent."""
    replies = [await machine.ctl("start", "nomad.service"), await machine.ctl("is-active", "nomad")]
    comm = (rig.tree / "proc/4242/comm").read_text()
    cmdline = (rig.tree / "proc/4242/cmdline").read_text()
    assert (replies, comm) == ([Reply(), Reply(0, ("active",))], "nomad\n")
    assert cmdline == "/usr/local/bin/nomad\0agent\0-config\0/etc/nomad.d\0"


async def test_other_units_are_what_their_files_are(machine: Machine, rig: Rig) -> None:
    """They run nothing: they are enabled, started, stopped and disabled; one without a file is not installed."""
    missing = [await machine.ctl(verb, "own.service") for verb in ("enable", "is-enabled", "is-active")]
    assert [reply.status for reply in missing] == [5, 1, 4]
    unit = rig.tree / "etc/systemd/system/own.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n")
    verbs = ("show", "is-enabled", "enable", "start", "is-enabled", "is-active", "stop", "disable")
    states = [(verb, (await machine.ctl(verb, "own.service")).out) for verb in verbs]
    assert states == [
        ("show", ("LoadState=loaded",)),
        ("is-enabled", ("disabled",)),
        ("enable", ()),
        ("start", ()),
        ("is-enabled", ("enabled",)),
        ("is-active", ("active",)),
        ("stop", ()),
        ("disable", ()),
    ]
    ended = [await machine.ctl(verb, "own.service") for verb in ("is-enabled", "is-active", "edit")]
    assert [reply.status for reply in ended] == [1, 4, 5]


async def test_a_stop_ends_it(machine: Machine, rig: Rig) -> None:
    """After a stop systemctl says inactive with status 3, and the process is gone."""
    await machine.ctl("start", "nomad")
    await machine.ctl("stop", "nomad")
    assert await machine.ctl("is-active", "nomad") == Reply(3, ("inactive",))
    assert not (rig.tree / "proc/4242").exists()


async def test_enabling_makes_the_link_and_disabling_removes_it(machine: Machine, rig: Rig) -> None:
    """``is-enabled`` looks for the link on the host."""
    before = await machine.ctl("is-enabled", "nomad")
    enabled = await machine.ctl("enable", "nomad")
    during = await machine.ctl("is-enabled", "nomad")
    link = rig.tree / "etc/systemd/system/multi-user.target.wants/nomad.service"
    assert (before, during, link.is_symlink()) == (Reply(1, ("disabled",)), Reply(0, ("enabled",)), True)
    assert enabled.err[0].startswith(
        "Created symlink /etc/systemd/system/multi-user.target.wants/nomad.service"
    )
    await machine.ctl("disable", "nomad")
    assert await machine.ctl("is-enabled", "nomad") == Reply(1, ("disabled",))


@pytest.mark.parametrize("command", [("daemon-reload",), ("enable", "nomad")], ids=" ".join)
async def test_a_changed_unit_counts_after_a_reload_only(
    machine: Machine, rig: Rig, command: tuple[str, ...]
) -> None:
    """The loaded unit is started, and ``NeedDaemonReload`` is ``yes``; enabling any unit reads all of them anew."""
    await machine.ctl("enable", "nomad")
    await machine.ctl("start", "nomad")
    await machine.ctl("stop", "nomad")
    (rig.tree / "etc/systemd/system/nomad.service").write_text(UNIT.replace("/usr/local/bin", "/nowhere"))
    stale = await machine.ctl("show", "-p", "NeedDaemonReload", "--value", "nomad")
    old = await machine.ctl("start", "nomad")
    await machine.ctl(*command)
    new = await machine.ctl("restart", "nomad")
    assert (stale, old, new.status) == (Reply(0, ("yes",)), Reply(), 1)


async def test_without_a_unit_nothing_starts(machine: Machine, rig: Rig) -> None:
    """With systemctl's message and status."""
    (rig.tree / "etc/systemd/system/nomad.service").unlink()
    assert await machine.ctl("start", "nomad") == Reply(
        5, err=("Failed to start nomad.service: Unit nomad.service not found.",)
    )


@pytest.mark.parametrize(
    ("path", "content", "line"),
    [
        ("etc/nomad.d/nomad.hcl", "nonsense {", "Error loading /etc/nomad.d/nomad.hcl"),
        (
            "etc/nomad.d/other.hcl",
            "bogus_key = 1\n",
            "Error loading /etc/nomad.d/other.hcl: unexpected keys bogus_key",
        ),
        ("etc/nomad.d/tls/client.pem", "", "Failed to load cert/key pair"),
        ("etc/nomad.d/tls/ca.pem", "", "Failed to read CA file"),
        (
            "opt/nomad/releases/2.0.5/nomad",
            "#!/bin/sh\nexit 3\n",
            "Main process exited, code=exited, status=3",
        ),
    ],
)
async def test_a_failed_start_is_in_the_journal(
    machine: Machine, rig: Rig, path: str, content: str, line: str
) -> None:
    """The message of systemctl refers to the journal, which has the reason."""
    (rig.tree / path).write_text(content)
    reply = await machine.ctl("start", "nomad")
    journal = await machine.log("-u", "nomad.service", "-n", "40", "-o", "cat", "--no-pager")
    assert (reply.status, await machine.ctl("is-active", "nomad")) == (1, Reply(3, ("failed",)))
    assert [entry for entry in journal if line in entry] != []


async def test_reset_failed_forgets_a_failure(machine: Machine, rig: Rig) -> None:
    """The unit is inactive afterwards."""
    (rig.tree / "etc/nomad.d/nomad.hcl").write_text("x")
    await machine.ctl("start", "nomad")
    await machine.ctl("reset-failed", "nomad")
    assert await machine.ctl("is-failed", "nomad") == Reply(3, ("inactive",))


async def test_a_start_that_hangs_ends_with_a_stop(rig: Rig) -> None:
    """The unit is activating meanwhile, and a stop cancels the start."""
    machine = Machine(rig, "start-hangs")
    starting = asyncio.create_task(machine.ctl("start", "nomad"))
    await asyncio.sleep(0)
    during = await machine.ctl("is-active", "nomad")
    await machine.ctl("stop", "nomad")
    assert (during, await starting) == (
        Reply(3, ("activating",)),
        Reply(1, err=("Job for nomad.service canceled.",)),
    )


async def test_a_stop_overtakes_a_start_whose_program_is_still_asked(machine: Machine, rig: Rig) -> None:
    """A loaded machine takes its time to run the program; the agent must not come up behind the stop."""
    program = rig.tree / "opt/nomad/releases/2.0.5/nomad"
    program.write_text(
        f"#!/bin/sh\n: >{rig.tree}/asked\nwhile [ ! -e {rig.tree}/go ]; do sleep 0.05; done\n{PROGRAM}"
    )
    starting = asyncio.create_task(machine.ctl("start", "nomad"))
    while not (rig.tree / "asked").exists():  # noqa: ASYNC110 - a file that another process makes
        await asyncio.sleep(0.01)
    await machine.ctl("stop", "nomad")
    (rig.tree / "go").touch()
    assert (await starting, await machine.ctl("is-active", "nomad"), machine.supervisor.agent) == (
        Reply(1, err=("Job for nomad.service canceled.",)),
        Reply(3, ("inactive",)),
        None,
    )


async def test_a_program_that_does_not_answer_fails_the_start(
    machine: Machine, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended, and the unit has failed."""
    monkeypatch.setattr("ionetctl.lab.host.supervisor._VERSION_TIMEOUT_S", 0.1)
    (rig.tree / "opt/nomad/releases/2.0.5/nomad").write_text("#!/bin/sh\nexec sleep 60\n")
    reply = await machine.ctl("start", "nomad")
    assert (reply.status, await machine.ctl("is-active", "nomad")) == (1, Reply(3, ("failed",)))


async def test_an_agent_that_fails_to_start_logs_the_reason(rig: Rig) -> None:
    """The journal has the missing cgroup."""
    machine = Machine(rig, "start-fails")
    reply = await machine.ctl("start", "nomad")
    assert reply.status == 1
    assert [line for line in await machine.log() if "failed to create nomad cgroup" in line] != []


async def test_a_foreign_agent_is_shown_as_running(rig: Rig) -> None:
    """It is active and in ``/proc``, although nothing was started."""
    machine = Machine(rig)
    machine.supervisor.mark_running()
    assert await machine.ctl("is-active", "nomad") == Reply(0, ("active",))
    assert (rig.tree / "proc/4242/comm").read_text() == "nomad\n"


@pytest.mark.parametrize(
    ("arguments", "reply"),
    [
        (("is-active", "docker.service"), Reply(4, ("inactive",))),
        (("is-active", "-q", "nomad"), Reply(3)),
        (
            ("start", "docker"),
            Reply(5, err=("Failed to start docker.service: Unit docker.service not found.",)),
        ),
        (("is-system-running",), Reply(0, ("running",))),
        (("frobnicate", "nomad"), Reply(1, err=("Unknown command verb frobnicate.",))),
        (("reload", "nomad"), Reply(1, err=("nomad.service is not active.",))),
        (
            ("show", "--property=ActiveState,SubState", "nomad"),
            Reply(0, ("ActiveState=inactive", "SubState=dead")),
        ),
    ],
)
async def test_what_systemctl_says(machine: Machine, arguments: tuple[str, ...], reply: Reply) -> None:
    """Other units do not exist; unknown verbs are refused; properties can be asked for."""
    assert await machine.ctl(*arguments) == reply


async def test_validation_passes_a_sound_configuration(machine: Machine) -> None:
    """The control of the refusals below."""
    reply = await machine.commands.run("nomad-config-validate", ["2.0.5", "/etc/nomad.d"])
    assert reply == Reply(0, ("==> Configuration is valid!",))


async def test_validation_only_warns_of_missing_tls_files(machine: Machine, rig: Rig) -> None:
    """A warning and exit status 0, as with Nomad."""
    (rig.tree / "etc/nomad.d/tls/ca.pem").unlink()
    reply = await machine.commands.run("nomad-config-validate", ["2.0.5", "/etc/nomad.d"])
    assert (reply.status, "WARNING" in reply.out[0]) == (0, True)


@pytest.mark.parametrize(
    "text",
    [
        "client {\n  bogus = 1\n}\n",
        "client {\n  enabled = [1]\n}\n",
        "client {\n  servers = 7\n}\n",
        "client = 1\n",
        "name = ",
        "data_dir = 'x'\n",
    ],
)
async def test_validation_catches_what_the_original_catches(machine: Machine, rig: Rig, text: str) -> None:
    """Unknown keys of blocks, wrong types, and what is not HCL 1."""
    (rig.tree / "etc/nomad.d/zz.hcl").write_text(text)
    reply = await machine.commands.run("nomad-config-validate", ["2.0.5", "/etc/nomad.d"])
    assert (reply.status, reply.out[0].startswith("==> Config validation failed: Error loading")) == (1, True)


async def test_status_shows_the_journals_end(machine: Machine) -> None:
    """Its last lines are printed."""
    await machine.ctl("start", "nomad")
    reply = await machine.ctl("status", "nomad")
    assert (reply.status, reply.out[1]) == (0, "     Active: active")
