"""Miners on hosts without a mining system, really stopped and put back under every shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import pytest

from ionetctl.core.model.host import Prepare
from tests.remote.preparing import MINERS_UNDO, prepare, restore, run, shown, still_needed
from tests.remote.rehearsal import Host, shim

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def miner(tmp_path: Path, debian: Host) -> Iterator[subprocess.Popen[bytes]]:
    """A process by a miner's name, which the host shows among its own."""
    with shown(debian, make_miner(tmp_path), "86400", name="t-rex") as process:
        yield process


def make_miner(directory: Path, name: str = "t-rex") -> Path:
    """A program that sleeps, by a miner's name."""
    program = directory / name
    shutil.copy(shutil.which("sleep") or "sleep", program)
    return program


def test_a_miner_is_ended(debian: Host, miner: subprocess.Popen[bytes]) -> None:
    """By a signal that lets it tidy up; what it was is written down."""
    asked = Prepare(stop_miner=True)
    reported = prepare(debian, asked)
    assert reported.changes == [("stop_miner", f"sent SIGTERM to t-rex (process {miner.pid})")]
    assert miner.wait(timeout=10) == -15
    assert "t-rex 86400" in debian.read(MINERS_UNDO)
    assert still_needed(debian, asked) == []
    (line,) = restore(debian)
    assert line.startswith("was started by hand, or by something unknown: ")


def test_a_miner_that_heeds_nothing_is_killed(debian: Host, tmp_path: Path) -> None:
    """After a while."""
    program = tmp_path / "t-rex"
    shutil.copy(sys.executable, program)
    ready = tmp_path / "deaf"
    text = (
        f"import signal, time; signal.signal(15, signal.SIG_IGN); open({str(ready)!r}, 'w'); time.sleep(60)"
    )
    with shown(debian, program, "-S", "-c", text, name="t-rex", PYTHONHOME=sys.base_prefix) as process:
        deadline = time.monotonic() + 30
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        reported = prepare(debian, Prepare(stop_miner=True))
        assert [what.split()[1] for _, what in reported.changes] == ["SIGTERM", "SIGKILL"]
        assert process.wait(timeout=10) == -9


def test_a_loop_that_starts_it_again_is_named(debian: Host, tmp_path: Path) -> None:
    """Nobody knows that loop: it is not ended, and who looks for it is told where it is."""
    make_miner(tmp_path)
    loop = tmp_path / "loop"
    loop.write_text(
        '#!/bin/sh\ni=0\nwhile [ $i -lt 30 ]; do\n    "$1/t-rex" 86400 &\n'
        '    ln -s "/proc/$!" "$2/proc/$!"\n    wait\n    i=$((i + 1))\ndone\n'
    )
    loop.chmod(0o755)
    with shown(debian, loop, tmp_path, debian.root, name="loop", PATH="/usr/bin:/bin") as process:
        debian.environment["IONET_SETTLE_S"] = "1"
        reported = run(debian, (("miner", "t-rex", "-"), ("stop_miner",)))
    assert reported.error is not None
    code, message = reported.error
    assert (code, f"started by loop, process {process.pid}" in message) == ("miner_returns", True), message


def test_what_begins_to_compute_while_it_is_watched_is_named(debian: Host) -> None:
    """A miner may have any name; what computed before is not meant, nor what runs in a container."""
    debian.environment["IONET_QUIET_S"] = "3"
    debian.write("/proc/77/comm", "old\n")
    debian.write("/proc/78/comm", "job\n")
    debian.write("/proc/78/cgroup", "0::/docker/4c01\n")
    debian.write("/proc/79/comm", "zx9\n")
    smi = 'if [ -e "$IONET_ROOT/asked" ]; then echo "78, job"; {more} fi; echo "77, old"; : >"$IONET_ROOT/asked"'
    shim(debian, "nvidia-smi", smi.format(more=""))
    assert run(debian, (("stop_miner",),)).is_done
    debian.path("/asked").unlink()
    shim(debian, "nvidia-smi", smi.format(more='echo "79, zx9";'))
    reported = run(debian, (("stop_miner",),))
    assert reported.error == ("miner_returns", "stop_miner: zx9 (process 79) began to use the GPUs")


# --- units -----------------------------------------------------------------------------------------------------------


def test_a_miner_s_unit_is_stopped_and_put_back(debian: Host) -> None:
    """What it was is written down before it is changed, and one command undoes it."""
    debian.write("/standin/units/rig.service", "enabled active\n")
    reported = run(debian, (("miner", "t-rex", "rig.service"), ("stop_miner",)))
    assert [what for _, what in reported.changes] == [
        "disabled rig.service",
        "stopped rig.service",
        "masked rig.service",
    ]
    assert debian.read("/standin/units/rig.service") == "masked inactive\n"
    assert run(debian, (("miner", "t-rex", "rig.service"), ("stop_miner",))).changes == []
    assert restore(debian) == ["started rig.service"]
    assert debian.read("/standin/units/rig.service") == "enabled active\n"
    assert restore(debian) == ["no miner was stopped here"]


@pytest.mark.parametrize("before", ["disabled active\n", "disabled inactive\n", "enabled inactive\n"])
def test_a_unit_is_put_back_as_it_was(debian: Host, before: str) -> None:
    """Undone means as before, not better."""
    debian.write("/standin/units/rig.service", before)
    run(debian, (("miner", "t-rex", "rig.service"), ("stop_miner",)))
    restore(debian)
    assert debian.read("/standin/units/rig.service") == before


def test_a_unit_that_an_admin_wrote_is_disabled_only(debian: Host) -> None:
    """Its file lies where the mask would, and is not moved."""
    debian.write("/etc/systemd/system/rig.service", "[Service]\nExecStart=/opt/t-rex/t-rex -a kawpow\n")
    debian.write("/standin/units/rig.service", "enabled active\n")
    reported = run(debian, (("stop_miner",),))
    assert [what for _, what in reported.changes] == ["disabled rig.service", "stopped rig.service"]
    restore(debian)
    assert debian.read("/standin/units/rig.service") == "enabled active\n"


def test_what_starts_a_unit_later_is_stopped_with_it(debian: Host) -> None:
    """A timer starts it whether it is enabled or not."""
    debian.write("/lib/systemd/system/rig.service", "[Service]\nExecStart=-/opt/t-rex/t-rex -a kawpow\n")
    debian.write("/standin/units/rig.service", "static inactive\n")
    debian.write("/standin/units/rig.timer", "enabled active\n")
    debian.write("/lib/systemd/system/rig.timer", "[Timer]\nOnCalendar=hourly\n")
    run(debian, (("stop_miner",),))
    assert debian.read("/standin/units/rig.timer") == "masked inactive\n"
    assert debian.read("/standin/units/rig.service") == "masked inactive\n"
    restore(debian)
    assert debian.read("/standin/units/rig.timer") == "enabled active\n"


def test_a_unit_that_will_not_stay_away_is_named(debian: Host) -> None:
    """What starts it again is none of what was taken out."""
    debian.write("/etc/systemd/system/rig.service", "[Service]\nExecStart=/opt/t-rex/t-rex\n")
    debian.write("/standin/units/rig.service", "enabled active\n")
    debian.write("/standin/effects/stop-rig.service", 'echo "enabled inactive" >"$state/units/rig.service"')
    reported = run(debian, (("stop_miner",),))
    assert reported.error == ("miner_returns", "stop_miner: rig.service is active or enabled again")


@pytest.mark.parametrize(
    "unit",
    [
        *("ssh.service", "cron.service", "user@1000.service", "session-3.scope", "nomad.service"),
        "rc-local.service",
    ],
)
def test_a_unit_that_carries_more_than_a_miner_runs_on(debian: Host, unit: str) -> None:
    """A miner that somebody started by hand runs in the unit of his login."""
    debian.write(f"/standin/units/{unit}", "enabled active\n")
    reported = run(debian, (("miner", "t-rex", unit), ("stop_miner",)))
    assert (reported.changes, reported.is_done) == ([], True)
    assert debian.read(f"/standin/units/{unit}") == "enabled active\n"


# --- crontabs and start files ----------------------------------------------------------------------------------------

TABLE: Final = """\
# t-rex is started here
@reboot /opt/t-rex/t-rex -a kawpow >/dev/null 2>&1
*/5 * * * * /usr/bin/backup --not-t-rex
5 * * * * cd /home/miner && ./backup
0 4 * * * cd /opt && ./t-rex
"""
MARKED: Final = """\
# t-rex is started here
#ionet# @reboot /opt/t-rex/t-rex -a kawpow >/dev/null 2>&1
*/5 * * * * /usr/bin/backup --not-t-rex
5 * * * * cd /home/miner && ./backup
#ionet# 0 4 * * * cd /opt && ./t-rex
"""


def test_crontabs_no_longer_start_a_miner(debian: Host) -> None:
    """Its lines become comments, those of others stay, and all come back; whether it runs just now or not."""
    table = "/var/spool/cron/crontabs/root"
    debian.write(table, TABLE, 0o600)
    reported = run(debian, (("stop_miner",),))
    assert reported.changes == [("stop_miner", f"took the miner out of {table}")]
    assert (debian.read(table), debian.path(table).stat().st_mode & 0o777) == (MARKED, 0o600)
    assert run(debian, (("stop_miner",),)).changes == []
    restore(debian)
    assert (debian.read(table), debian.path(table).stat().st_mode & 0o777) == (TABLE, 0o600)


def test_what_starts_a_miner_of_any_name_is_found_by_where_it_lies(debian: Host, tmp_path: Path) -> None:
    """Its screen shows that it mines; the crontab line and the unit that lead into its directory start it."""
    program = debian.path("/home/rigger/rig/zx9")
    program.parent.mkdir(parents=True)
    make_miner(program.parent, "zx9")
    server = tmp_path / "screen"
    server.write_text('#!/bin/sh\n"$1/home/rigger/rig/zx9" 600 &\nln -s "/proc/$!" "$1/proc/$!"\nwait\n')
    server.chmod(0o755)
    table, text = (
        "/var/spool/cron/crontabs/rigger",
        "* * * * * /home/rigger/rig/keep\n0 3 * * * /home/rigger/backup\n",
    )
    debian.write(table, text, 0o600)
    debian.write("/etc/systemd/system/rig.service", "[Service]\nExecStart=/home/rigger/rig/keep\n")
    debian.write("/standin/units/rig.service", "enabled active\n")
    with shown(debian, server, debian.root, name="screen", PATH="/usr/bin:/bin") as process:
        debian.write(f"/run/screen/S-rigger/{process.pid}.miner", "")
        reported = run(debian, (("screen", "miner"), ("stop_miner",)))
        assert reported.is_done, reported.error
        assert process.wait(timeout=10) == -15
    assert debian.read(table) == f"#ionet# {text}"
    assert debian.read("/standin/units/rig.service") == "disabled inactive\n"
    restore(debian)
    assert (debian.read(table), debian.read("/standin/units/rig.service")) == (text, "enabled active\n")


RC_LOCAL: Final = """\
#!/bin/sh
touch /run/by-admin
if ! /opt/t-rex/t-rex --version; then
    /opt/t-rex/t-rex -a kawpow &
fi
while ! /opt/t-rex/t-rex; do
    sleep 10
done
exit 0
"""
RC_LOCAL_MARKED: Final = """\
#!/bin/sh
touch /run/by-admin
#ionet# if ! /opt/t-rex/t-rex --version; then
if false; then #ionet
#ionet#     /opt/t-rex/t-rex -a kawpow &
: #ionet
fi
#ionet# while ! /opt/t-rex/t-rex; do
while false; do #ionet
    sleep 10
done
exit 0
"""


def test_a_start_file_stays_valid_without_the_miner(debian: Host) -> None:
    """What else it does is still done, and every line comes back."""
    debian.write("/etc/rc.local", RC_LOCAL, 0o755)
    run(debian, (("start_file", "/etc/rc.local"), ("stop_miner",)))
    script = debian.path("/etc/rc.local")
    assert script.read_text() == RC_LOCAL_MARKED
    subprocess.run(("sh", "-n", script), check=True)
    subprocess.run(("bash", "-n", script), check=True)
    restore(debian)
    assert (debian.read("/etc/rc.local"), script.stat().st_mode & 0o777) == (RC_LOCAL, 0o755)


def test_a_start_file_that_would_break_is_left_as_it_is(debian: Host) -> None:
    """A login that fails locks people out: somebody has to look."""
    text = "start() { /opt/t-rex/t-rex\n}\nstart\n"
    debian.write("/root/.profile", text)
    reported = run(debian, (("start_file", "/root/.profile"), ("stop_miner",)))
    assert reported.error is not None
    assert (reported.error[0], "/root/.profile" in reported.error[1]) == ("prepare_failed", True)
    assert debian.read("/root/.profile") == text


# --- putting back ----------------------------------------------------------------------------------------------------


def undone(debian: Host, *records: str) -> None:
    """A host with what restores, and a record of what was done."""
    run(debian, (("stop_miner",),))
    debian.write(MINERS_UNDO, "".join(f"{record}\n" for record in records))


def test_what_earlier_versions_recorded_is_still_put_back(debian: Host) -> None:
    """Units were active then; a start command that ends with 1 says nothing, and the rest goes on."""
    undone(
        debian, "hive", "unit\trig.service\tenabled", "crontab\t/etc/cron.d/m", "process\tx", "command\tx -y"
    )
    debian.write("/hive/bin/miner", '#!/bin/sh\necho "$1" >>"$IONET_ROOT/standin/hive"\nexit 1\n', 0o755)
    debian.write("/standin/units/rig.service", "disabled inactive\n")
    debian.write("/etc/cron.d/m", "#ionet# * * * * * root x\n")
    assert restore(debian) == [
        "was started by hand, or by something unknown: x -y",
        "put the lines back into /etc/cron.d/m",
        "started rig.service",
        "asked HiveOS to start its miner, which ended with status 1",
    ]
    assert debian.read("/standin/units/rig.service") == "enabled active\n"
    assert (debian.read("/etc/cron.d/m"), debian.read("/standin/hive")) == ("* * * * * root x\n", "start\n")


def test_a_step_that_fails_is_kept_and_the_others_are_done(debian: Host) -> None:
    """Exactly that one is left for the next time; then there is nothing left to do."""
    undone(debian, "unit\ta.service\tenabled\tactive\t-", "unit\tb.service\tenabled\tactive\t-", "command\tx")
    for name in ("a", "b"):
        debian.write(f"/standin/units/{name}.service", "disabled inactive\n")
    debian.write("/standin/complaints/start-b.service", "Job for b.service failed.\n")
    assert restore(debian, fails=True) == [
        "Job for b.service failed.",
        "could not be put back: unit b.service enabled active -",
        "what failed is tried again by the next run of this program",
    ]
    assert debian.read("/standin/units/a.service") == "enabled active\n"
    assert debian.read(MINERS_UNDO) == "unit\tb.service\tenabled\tactive\t-\n"
    debian.path("/standin/complaints/start-b.service").unlink()
    assert restore(debian) == ["started b.service"]
    assert restore(debian) == ["no miner was stopped here"]
