"""Mining systems, really stopped for good and put back under every shell: what revives them, and what must live on.

Each host has what the table of systems says of one, and its facts are those of such a host.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from ionetctl.core.model.host import Prepare
from ionetctl.core.observed import MachineFacts, MiningSign, Rig
from ionetctl.plan.prepare_steps import Record, needed_preparations, step_records
from tests.remote.preparing import SITE, Reported, add, calls, look, make_debian, restore, run, send, shown
from tests.remote.rehearsal import Host, kill_after, shim
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Callable

UNSET: Final = [
    "could not set fans back to automatic: NVML does not answer",
    "could not set power limits back to default",
]
"""Reported of a host whose driver does not answer."""
AGENT: Final = "#!/bin/sh\ni=0\nwhile [ $i -lt 600 ]; do\n    sleep 0.2\n    i=$((i + 1))\ndone\n"
HIVE_TABLE: Final = """\
*/15 * * * * /hive/bin/miner logtruncate
*/15 * * * * /hive/sbin/logrotate
*/30 * * * * /hive/bin/cache-hive-ip
*/10 * * * * /hive/bin/agent-screen dontattach || echo "STARTED BY CRON"
30 12 15 * * update-pciids
"""
HIVE_TABLE_STOPPED: Final = """\
#ionet# */15 * * * * /hive/bin/miner logtruncate
*/15 * * * * /hive/sbin/logrotate
*/30 * * * * /hive/bin/cache-hive-ip
#ionet# */10 * * * * /hive/bin/agent-screen dontattach || echo "STARTED BY CRON"
30 12 15 * * update-pciids
"""
ROOT_TABLE: Final = "/var/spool/cron/crontabs/root"
HIVE_UNITS: Final = {
    "hive.service": "enabled active\n",
    "hive-watchdog.service": "disabled active\n",
    "hivex.service": "disabled inactive\n",
}


def facts_of(system: str, **machine: Any) -> MachineFacts:
    return MachineFacts(rig=Rig(system), mining_signs=(MiningSign("screen", "miner"),), **machine)


def stop(host: Host, machine: MachineFacts, asked: Prepare | None = None) -> Reported:
    """Stop what the table says of the facts' system."""
    return run(host, records_for(host, machine, asked))


def records_for(host: Host, machine: MachineFacts, asked: Prepare | None = None) -> tuple[Record, ...]:
    site = replace(SITE, prepare=asked or Prepare(stop_miner=True))
    facts = replace(look(host), machine=machine)
    return step_records(site, facts, needed_preparations(site, facts))


def done(reported: Reported) -> list[str]:
    assert reported.is_done, reported.error
    return [what for _, what in reported.changes]


@pytest.fixture
def hive(debian: Host) -> Host:
    """HiveOS, of which nothing runs but its units; its driver does not answer."""
    make_mute(debian)
    make_hive(debian)
    debian.write("/standin/modinfo", "550.90.07\n")
    return debian


def make_hive(host: Host) -> None:
    for name, state in HIVE_UNITS.items():
        program = name.removesuffix(".service")
        host.write(f"/lib/systemd/system/{name}", f"[Service]\nExecStart=/hive/bin/{program}\n")
        host.write(f"/standin/units/{name}", state)
    host.write(ROOT_TABLE, HIVE_TABLE, 0o600)


def unit_states(host: Host) -> dict[str, str]:
    return {name: host.read(f"/standin/units/{name}") for name in HIVE_UNITS}


def make_mute(host: Host) -> None:
    for name in ("nvidia-smi", "python3"):
        shim(host, name, "exit 9")


HIVE: Final = facts_of("HiveOS")


# --- what revives it -------------------------------------------------------------------------------------------------


def test_all_of_hiveos_that_starts_a_miner_is_taken_out(hive: Host) -> None:
    """Its agent's line of the crontab, its unit, its watchdog's and its X server's; what does not mine stays."""
    changes = done(stop(hive, HIVE))
    assert hive.read(ROOT_TABLE) == HIVE_TABLE_STOPPED
    assert unit_states(hive) == dict.fromkeys(HIVE_UNITS, "masked inactive\n")
    assert f"took the miner out of {ROOT_TABLE}" in changes
    assert done(stop(hive, HIVE)) == UNSET
    restore(hive)
    assert hive.read(ROOT_TABLE) == HIVE_TABLE
    assert unit_states(hive) == HIVE_UNITS


def test_a_crontab_that_is_installed_meanwhile_is_taken_out_too(hive: Host) -> None:
    """A boot installs it, and may do so until its unit is stopped."""
    hive.write("/hive/etc/crontab.root", HIVE_TABLE)
    install = f'cat "$IONET_ROOT/hive/etc/crontab.root" >"$IONET_ROOT{ROOT_TABLE}"'
    hive.write("/standin/effects/stop-hive.service", install)
    done(stop(hive, HIVE))
    assert hive.read(ROOT_TABLE) == HIVE_TABLE_STOPPED


def cron(host: Host, directory: Path) -> Path:
    """What starts the agent whenever the crontab names it in a line that is no comment, and it does not run."""
    program = directory / "crond"
    program.write_text(
        f"#!/bin/sh\nroot=$1\ni=0\nwhile [ $i -lt 1200 ]; do\n"
        f'    if grep -q "^[*].*agent-screen" "$root{ROOT_TABLE}" && ! kill -0 "$(cat "$root/agent")" 2>/dev/null; then\n'
        f'        "$root/hive/bin/agent" &\n        echo $! >"$root/agent"\n        ln -s "/proc/$!" "$root/proc/$!"\n'
        f"    fi\n    sleep 0.1\n    i=$((i + 1))\ndone\n"
    )
    program.chmod(0o755)
    host.write("/hive/bin/agent", AGENT, 0o755)
    host.write("/agent", "99999999\n")
    return program


def agent_runs(host: Host) -> bool:
    state = Path(f"/proc/{host.read('/agent').strip()}/stat")
    return state.exists() and ") Z " not in state.read_text()


def test_cron_does_not_revive_the_agent(hive: Host, tmp_path: Path) -> None:
    """It is ended after the line that starts it is gone, and stays away for as long as it is watched."""
    hive.environment["IONET_QUIET_S"] = "2"
    with shown(hive, cron(hive, tmp_path), hive.root, name="crond", PATH="/usr/bin:/bin"):
        wait_for(lambda: agent_runs(hive))
        changes = done(stop(hive, HIVE))
        assert [what for what in changes if what.startswith("sent SIGTERM to agent")] != []
        assert not agent_runs(hive)


def test_what_revives_the_agent_otherwise_is_named(hive: Host, tmp_path: Path) -> None:
    """The control: by something that is none of the system's, it comes back and is seen."""
    hive.environment |= {"IONET_QUIET_S": "5", "IONET_SETTLE_S": "2"}
    program = cron(hive, tmp_path)
    program.write_text(
        program.read_text().replace(f'grep -q "^[*].*agent-screen" "$root{ROOT_TABLE}"', "true")
    )
    with shown(hive, program, hive.root, name="crond", PATH="/usr/bin:/bin") as process:
        wait_for(lambda: agent_runs(hive))
        reported = stop(hive, HIVE)
    assert reported.error is not None
    assert reported.error[0] == "miner_returns"
    assert f"started by crond, process {process.pid}" in reported.error[1]


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_its_own_way_to_stop_finds_its_programs(hive: Host) -> None:
    """`miner stop` calls `wd` by its bare name, which sudo's PATH lacks."""
    hive.write("/hive/bin/miner", '#!/bin/sh\nwd "$1"\nexit 1\n', 0o755)
    hive.write("/hive/bin/wd", '#!/bin/sh\necho "wd $1" >>"$IONET_ROOT/standin/hive"\n', 0o755)
    hive.write("/hive/bin/agent", AGENT, 0o755)
    with shown(hive, hive.path("/hive/bin/agent"), name="agent", PATH="/usr/bin:/bin"):
        changes = done(stop(hive, HIVE))
    assert hive.read("/standin/hive") == "wd stop\nwd stop\n"
    assert [what for what in changes if what.startswith("ran ")] == [
        "ran /hive/bin/miner stop",
        "ran /hive/bin/wd stop",
    ]


def test_the_state_before_its_own_way_to_stop_is_what_comes_back(hive: Host) -> None:
    """Its own command stops the watchdog's unit, which ran."""
    hive.write("/hive/bin/wd", "#!/bin/sh\nsystemctl stop hive-watchdog.service\n", 0o755)
    hive.write("/hive/bin/agent", AGENT, 0o755)
    with shown(hive, hive.path("/hive/bin/agent"), name="agent", PATH="/usr/bin:/bin"):
        done(stop(hive, HIVE))
    restore(hive)
    assert hive.read("/standin/units/hive-watchdog.service") == "disabled active\n"


def test_a_linked_unit_comes_back_with_its_link(hive: Host) -> None:
    """To disable it removes the link; then nothing would know the unit any more."""
    link = hive.path("/etc/systemd/system/hive.service")
    target = hive.path("/hive/etc/hive.service")
    target.parent.mkdir(parents=True)
    hive.path("/lib/systemd/system/hive.service").rename(target)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    done(stop(hive, HIVE))
    assert str(link.readlink()) == "/dev/null"
    restore(hive)
    assert (link.readlink(), hive.read("/standin/units/hive.service")) == (target, "enabled active\n")


# --- screens and processes -------------------------------------------------------------------------------------------


def test_a_screen_is_ended_with_all_that_runs_in_it(hive: Host, tmp_path: Path) -> None:
    """Whatever its programs are called; sessions of another name go on, and so does a stale socket's process."""
    server = tmp_path / "screen"
    server.write_text('#!/bin/sh\nsleep 600 &\nln -s "/proc/$!" "$1/proc/$!"\necho $! >"$1/$2"\nwait\n')
    server.chmod(0o755)
    with (
        shown(hive, server, hive.root, "mined", name="screen", PATH="/usr/bin:/bin") as miner,
        shown(hive, server, hive.root, "other", name="screen", PATH="/usr/bin:/bin") as other,
        shown(hive, "/bin/sleep", "600", name="sleep") as stale,
    ):
        wait_for(lambda: all(hive.path(f"/{name}").exists() for name in ("mined", "other")))
        hive.write(f"/run/screen/S-root/{miner.pid}.miner", "")
        hive.write(f"/run/screen/S-user/{other.pid}.work", "")
        hive.write(f"/run/screen/S-root/{stale.pid}.agent", "")
        changes = done(stop(hive, HIVE))
        assert {what.split("process ")[1] for what in changes if what.startswith("sent ")} == {
            f"{miner.pid})",
            f"{hive.read('/mined').strip()})",
        }
        assert miner.wait(timeout=10) == -15
        assert (other.poll(), stale.poll()) == (None, None)


def test_spared_processes_go_on(hive: Host) -> None:
    """What feeds a watchdog card must not be ended."""
    for name in ("/hive/opt/watchdoginua/watchdoginua", "/hive/bin/autofan"):
        hive.write(name, AGENT, 0o755)
    with (
        shown(
            hive, hive.path("/hive/opt/watchdoginua/watchdoginua"), name="watchdoginua", PATH="/bin"
        ) as fed,
        shown(hive, hive.path("/hive/bin/autofan"), name="autofan", PATH="/bin") as ended,
    ):
        done(stop(hive, HIVE))
        assert (fed.poll(), ended.wait(timeout=10)) == (None, -15)


# --- what must live on -----------------------------------------------------------------------------------------------


def test_a_watchdog_card_is_fed_by_a_unit_of_ours(hive: Host) -> None:
    """It is started before the unit is stopped in which the old feeder runs; the card would reset the board."""
    feeder = hive.path("/hive/opt/qinheng/hl340")
    hive.write("/hive/opt/qinheng/hl340", AGENT, 0o755)
    with shown(hive, feeder, name="hl340", PATH="/usr/bin:/bin"):
        done(stop(hive, facts_of("HiveOS", watchdog_cards=("hl340",))))
    text = hive.read("/etc/systemd/system/ionet-watchdog.service")
    assert "ExecStart=-/bin/sh -c '/hive/opt/qinheng/hl340.sh & wait'\n" in text
    assert "RemainAfterExit=yes\n" in text
    assert hive.read("/standin/units/ionet-watchdog.service") == "enabled active\n"
    called = calls(hive, "systemctl")
    assert called.index("start ionet-watchdog.service") < called.index("stop hive.service")
    restore(hive)
    assert not hive.path("/etc/systemd/system/ionet-watchdog.service").exists()
    assert hive.read("/standin/units/ionet-watchdog.service") == "disabled active\n"


def test_a_watchdog_card_that_nothing_feeds_is_an_error(hive: Host) -> None:
    """The board would be reset within minutes: somebody must know."""
    hive.environment["IONET_SETTLE_S"] = "1"
    reported = stop(hive, facts_of("HiveOS", watchdog_cards=("hl340",)))
    assert reported.error == (
        "prepare_failed",
        (
            "stop_miner: nothing feeds the watchdog card, which will reset the board: "
            "run /hive/opt/qinheng/hl340.sh by hand"
        ),
    )


def test_the_driver_is_loaded_at_boot_without_the_system(hive: Host) -> None:
    """It is blacklisted, so that nothing but a unit of ours loads it."""
    done(stop(hive, HIVE))
    text = hive.read("/etc/systemd/system/ionet-gpu-modules.service")
    assert f"ExecStart=-{hive.shims}/modprobe nvidia\nExecStart=-{hive.shims}/modprobe nvidia_uvm\n" in text
    assert hive.read("/standin/units/ionet-gpu-modules.service") == "enabled active\n"
    restore(hive)
    assert not hive.path("/etc/systemd/system/ionet-gpu-modules.service").exists()


def test_the_vpn_that_the_system_started_starts_by_itself(hive: Host) -> None:
    """It may be the way in."""
    hive.write("/standin/units/openvpn@client.service", "disabled active\n")
    done(stop(hive, facts_of("HiveOS", is_vpn_by_rig=True)))
    assert hive.read("/standin/units/openvpn@client.service") == "enabled active\n"
    restore(hive)
    assert hive.read("/standin/units/openvpn@client.service") == "disabled active\n"


def test_a_vpn_of_its_own_is_left_alone(hive: Host) -> None:
    """The control."""
    hive.write("/standin/units/openvpn@client.service", "disabled active\n")
    done(stop(hive, HIVE))
    assert hive.read("/standin/units/openvpn@client.service") == "disabled active\n"


# --- the GPUs --------------------------------------------------------------------------------------------------------

NVML: Final = r"""
#include <stdio.h>
#include <stdlib.h>
static int note(const char *what, int value) {
    FILE *file = fopen(getenv("NVML_CALLS"), "a");
    fprintf(file, "%s %d\n", what, value);
    return fclose(file);
}
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { return *count = 1, 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **gpu) { return *gpu = stdout, 0; }
int nvmlDeviceGetNumFans(void *gpu, unsigned *fans) { return *fans = 2, 0; }
int nvmlDeviceSetDefaultFanSpeed_v2(void *gpu, unsigned fan) { return note("fan", fan); }
int nvmlDeviceSetGpcClkVfOffset(void *gpu, int offset) { return note("core", offset); }
int nvmlDeviceSetMemClkVfOffset(void *gpu, int offset) { note("memory", offset); return 4; }
"""


@pytest.fixture
def overclocked(debian: Host) -> Host:
    """A rig whose GPU has a fixed fan speed, offsets and a lower power limit, set through an X server that runs."""
    needs("cc")
    source = debian.root.parent / "nvml.c"
    source.write_text(NVML)
    debian.path("/usr/lib").mkdir(parents=True, exist_ok=True)
    library = debian.path("/usr/lib/libnvidia-ml.so.1")
    subprocess.run(("cc", "-shared", "-fPIC", "-o", library, source), check=True)
    debian.environment["NVML_CALLS"] = str(debian.path("/standin/nvml"))
    debian.write("/standin/power", "0, 120.00, 350.00\n1, 300.00, 300.00\n2, [N/A], [N/A]\n")
    add(debian, "nvidia-settings")
    shim(debian, "python3", f'exec {sys.executable} "$@"')
    debian.write("/tmp/.X11-unix/X0", "")
    debian.write("/root/xminer.sh", AGENT, 0o755)
    return debian


def test_fans_clocks_and_power_limits_become_what_they_were_made_for(overclocked: Host) -> None:
    """By whatever can: nvidia-settings while X runs, NVML, nvidia-smi; what could not be set is said."""
    changes = done(stop(overclocked, facts_of("SimpleMining")))
    assert changes == [
        "set fans back to automatic (nvidia-settings)",
        "set clock offsets back to none (nvidia-settings)",
        "set fans back to automatic",
        "could not set clock offsets back to none: NVML error 4",
        "set power limits back to default",
    ]
    assert overclocked.read("/standin/nvml") == "fan 0\nfan 1\ncore 0\nmemory 0\n"
    smi = calls(overclocked, "nvidia-smi")
    assert [call for call in smi if call.startswith(("-i", "-r"))] == [
        "-i 0 -pl 350.00",
        "-rgc",
        "-rmc",
        "-rac",
    ]


def test_clocks_and_power_limits_are_kept_by_choice(overclocked: Host) -> None:
    """Fans are not: whatever set their speed is gone."""
    changes = done(stop(overclocked, facts_of("SimpleMining"), Prepare(stop_miner=True, overclocks="keep")))
    assert changes == ["set fans back to automatic (nvidia-settings)", "set fans back to automatic"]
    assert overclocked.read("/standin/nvml") == "fan 0\nfan 1\n"
    assert [call for call in calls(overclocked, "nvidia-smi") if call.startswith(("-i", "-r"))] == []


# --- the other systems -----------------------------------------------------------------------------------------------

MINERSTAT: Final = "/home/minerstat/minerstat-os"
MINERSTAT_TABLE: Final = f"""\
@reboot /bin/sh {MINERSTAT}/bin/onboot.sh
* * * * * /bin/bash {MINERSTAT}/core/checker
0 */2 * * * sync
@reboot /bin/bash {MINERSTAT}/core/dnser
"""


def test_minerstat_is_stopped_held_and_put_back(debian: Host) -> None:
    """Its crontab is a user's, what it starts runs from its directory, and its own file keeps it from mining."""
    table = "/var/spool/cron/crontabs/minerstat"
    debian.write(table, MINERSTAT_TABLE, 0o600)
    debian.write(
        f"{MINERSTAT}/core/stop", '#!/bin/sh\necho stop >"$IONET_ROOT/tmp/stop.pid"\nexit 1\n', 0o755
    )
    debian.write(f"{MINERSTAT}/core/init.sh", AGENT)
    debian.path("/tmp").mkdir()
    start = f"cd '{debian.path(MINERSTAT)}' && exec sh core/init.sh"
    with shown(debian, "/bin/sh", "-c", start, name="sh", PATH="/bin") as process:
        wait_for(lambda: b"core/init.sh\0" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
        changes = done(stop(debian, facts_of("minerstat")))
        assert process.wait(timeout=10) == -15
    assert f"ran {MINERSTAT}/core/stop" in changes
    assert debian.read(table).splitlines() == [
        f"#ionet# @reboot /bin/sh {MINERSTAT}/bin/onboot.sh",
        f"#ionet# * * * * * /bin/bash {MINERSTAT}/core/checker",
        "0 */2 * * * sync",
        f"@reboot /bin/bash {MINERSTAT}/core/dnser",
    ]
    assert debian.path("/tmp/stop.pid").exists()
    restore(debian)
    assert (debian.read(table), debian.path("/tmp/stop.pid").exists()) == (MINERSTAT_TABLE, False)


def test_a_hold_that_was_there_stays(debian: Host) -> None:
    """Somebody else made it."""
    debian.write("/tmp/stop.pid", "stop\n")
    done(stop(debian, facts_of("minerstat")))
    restore(debian)
    assert debian.path("/tmp/stop.pid").exists()


def test_mmpos_is_stopped_and_put_back(debian: Host) -> None:
    """Its own way stops the agent until the next boot; its unit is disabled as well."""
    debian.write("/etc/systemd/system/mmp-agent.service", "[Service]\nExecStart=/opt/mmp/bin/agent\n")
    debian.write("/standin/units/mmp-agent.service", "enabled active\n")
    debian.write("/opt/mmp/bin/agent-stop", "#!/bin/sh\nsystemctl stop mmp-agent.service\n", 0o755)
    debian.write("/opt/mmp/bin/agent", AGENT, 0o755)
    with shown(debian, debian.path("/opt/mmp/bin/agent"), name="agent", PATH="/usr/bin:/bin") as process:
        done(stop(debian, facts_of("mmpOS")))
        assert process.wait(timeout=10) == -15
    assert debian.read("/standin/units/mmp-agent.service") == "disabled inactive\n"
    restore(debian)
    assert debian.read("/standin/units/mmp-agent.service") == "enabled active\n"


def test_simplemining_is_stopped_and_put_back(debian: Host) -> None:
    """It has no way of its own: the line that starts its loop, and the loop."""
    text = "#!/bin/sh\ntouch /run/by-admin\nscreen -dmS miner /root/xminer.sh\nexit 0\n"
    debian.write("/etc/rc.local", text, 0o755)
    debian.write("/root/xminer.sh", AGENT, 0o755)
    with shown(debian, debian.path("/root/xminer.sh"), name="xminer.sh", PATH="/usr/bin:/bin") as process:
        done(stop(debian, facts_of("SimpleMining")))
        assert process.wait(timeout=10) == -15
    assert "#ionet# screen -dmS miner /root/xminer.sh\n: #ionet\n" in debian.read("/etc/rc.local")
    restore(debian)
    assert debian.read("/etc/rc.local") == text


def test_a_system_that_nobody_knows_how_to_stop_is_left_alone(debian: Host) -> None:
    """Nothing is guessed."""
    debian.write("/opt/raveos/agent", AGENT, 0o755)
    site = replace(SITE, prepare=Prepare(stop_miner=True))
    assert needed_preparations(site, replace(look(debian), machine=facts_of("RaveOS"))) == ()


# --- cut off ---------------------------------------------------------------------------------------------------------

COMMANDS: Final = ("systemctl", "mv", "sync", "cp", "awk", "grep")
STRIDE: Final = 7
MINERS: Final = "/var/lib/ionet/miners"


def test_every_command_may_be_the_last(one_host: Host, tmp_path: Path) -> None:
    """Killed at any command that it runs, the next run stops all, and what is put back is what was there at first."""
    host = make_debian(one_host)
    make_mute(host)
    host.write("/standin/modinfo", "550.90.07\n")
    host.environment["IONET_TEST_LAST"] = "0"
    records = records_for(host, HIVE)
    counter = tmp_path / "counter"
    for name in COMMANDS:
        kill_after(host, name, counter)
    deaths = 0
    for last in range(3, 2000, STRIDE):
        make_hive(host)
        counter.write_text("")
        host.environment["IONET_TEST_LAST"] = str(last)
        killed = send(host, records)
        host.environment["IONET_TEST_LAST"] = "0"
        if killed.returncode == 0:
            break
        deaths += 1
        assert (last, killed.returncode) == (last, -9)
        # The controller is told to go on with it, whatever the survey still finds.
        if host.path(f"{MINERS}/undo").exists():
            assert (last, host.path(f"{MINERS}/pending").exists()) == (last, True)
        done(run(host, records))
        assert (last, host.path(f"{MINERS}/pending").exists()) == (last, False)
        assert (last, host.read(ROOT_TABLE)) == (last, HIVE_TABLE_STOPPED)
        restore(host)
        assert (last, host.read(ROOT_TABLE)) == (last, HIVE_TABLE)
        assert (last, unit_states(host)) == (last, HIVE_UNITS)
    assert deaths > 10
