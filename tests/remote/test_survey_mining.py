"""Which mining system a host has, what its panel calls it, and what will start a miner there."""

from __future__ import annotations

import os
import subprocess
from dataclasses import fields
from typing import TYPE_CHECKING, Final

import pytest

from ionetctl.core.observed import MiningSign, Rig, Workload
from ionetctl.mining import PLAIN, SYSTEMS, Identity, MiningSystem, WatchdogCard
from ionetctl.remote import mining_table
from tests.remote.rehearsal import shim

if TYPE_CHECKING:
    from pathlib import Path

    from ionetctl.core.observed import MachineFacts
    from tests.remote.rehearsal import Host

SYSTEM_UNITS: Final = "/etc/systemd/system"
MINERSTAT: Final = "/home/minerstat/minerstat-os"
RIG_CONF: Final = (
    'HIVE_HOST_URL="https://api.example"\n#RIG_ID=1\nRIG_ID=123456\nRIG_PASSWD="s3cret"\nMY_RIG_ID=9\n'
    'WORKER_NAME="rig 07"\r\n'
)
PID: Final = 700


def machine(host: Host) -> MachineFacts:
    return host.survey().machine


def signs(host: Host) -> set[tuple[str, str]]:
    """What was found, on a host of which all was looked at."""
    found = machine(host).mining_signs
    assert found is not None
    return {(sign.kind, sign.name) for sign in found}


def process(host: Host, pid: int, program: str, *arguments: str, cwd: str = "/") -> None:
    """A process of that program."""
    name = program.removesuffix(" (deleted)").rpartition("/")[2]
    host.write(f"/proc/{pid}/comm", f"{name[:15]}\n")
    host.write(f"/proc/{pid}/cmdline", "".join(f"{word}\0" for word in arguments))
    host.path(f"/proc/{pid}/exe").symlink_to(program)
    host.path(f"/proc/{pid}/cwd").symlink_to(cwd)


def unit(host: Host, name: str, text: str, *, enabled: bool = True) -> None:
    host.write(f"{SYSTEM_UNITS}/{name}", text)
    if enabled:
        wanted_by = host.path(f"{SYSTEM_UNITS}/multi-user.target.wants/{name}")
        wanted_by.parent.mkdir(exist_ok=True)
        wanted_by.symlink_to(f"../{name}")


def running_units(host: Host, *names: str) -> None:
    cases = "".join(f"{name}) echo active; exit 0 ;; " for name in names)
    shim(
        host,
        "systemctl",
        f'case "$1 $2" in is-active*) ;; *) exit 1 ;; esac; case $2 in {cases}*) echo inactive ;; esac',
    )


def hive(host: Host) -> Host:
    host.write("/hive/bin/miner", "")
    return host


# --- which system ---


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_known_by_each_of_its_signs(one_host: Host, name: str) -> None:
    """By what lies there, whether it mines just now or not."""
    for sign in SYSTEMS[name].signs:
        one_host.write(sign, "")
        assert machine(one_host).rig == Rig(name)
        one_host.path(sign).unlink()
    assert machine(one_host).rig is None


def test_a_name_alone_makes_no_system(host: Host) -> None:
    """Units and users may be called anything."""
    unit(host, "hive.service", "[Service]\nExecStart=/usr/bin/beekeeper\n")
    unit(host, "minerstat.service", "[Service]\nExecStart=/usr/bin/stat\n")
    host.write("/home/minerstat/notes", "")
    assert (machine(host).rig, signs(host)) == (None, set())


def test_hiveos_says_its_version_number_and_name(host: Host) -> None:
    """Of its configuration only what the panel calls it is reported: the password never leaves the host."""
    host.write("/hive-config/rig.conf", RIG_CONF)
    host.write(
        "/var/lib/dpkg/status",
        "Package: hive-x\nVersion: 9\n\nPackage: hive\nStatus: install ok\nVersion: 0.6-201\n\nPackage: z\nVersion: 1\n",
    )
    assert machine(host).rig == Rig("HiveOS", "0.6-201", "123456", "rig 07")
    assert b"s3cret" not in host.survey_output()


def test_minerstat_says_its_version_and_name(host: Host) -> None:
    """They lie in the file of its boot stick, in another notation; the access key beside it stays there."""
    host.write(f"{MINERSTAT}/core/checker", "")
    host.write(
        "/media/storage/config.js",
        'global.accesskey = "s3cret";\nglobal.worker = "garage-1";\nglobal.worker2 = "x";\n',
    )
    host.write("/etc/lsb-release", "DISTRIB_ID=msOS\nDISTRIB_RELEASE=1.8.4\n")
    assert machine(host).rig == Rig("minerstat", "1.8.4", None, "garage-1")
    assert b"s3cret" not in host.survey_output()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("WORKER_NAME=a", "a"),
        ("WORKER_NAME='a b' # rig", "a b"),
        ("export WORKER_NAME=a;", "a"),
        ('WORKER_NAME="a\\tb"', "a\\tb"),
        ("WORKER_NAME=\tx\ty", "x"),
        ("WORKER_NAME=a\nWORKER_NAME=b", "b"),
        ("WORKER_NAME=", None),
        ("", None),
    ],
)
def test_assignments_are_read_as_shells_do(one_host: Host, line: str, expected: str | None) -> None:
    """With or without quotes; the last one counts."""
    one_host.write("/hive-config/rig.conf", f"{line}\nRIG_PASSWD=s3cret\n")
    rig = machine(one_host).rig
    assert rig is not None
    assert rig.rig_name == expected


# --- what starts a miner ---


def test_a_stopped_hiveos_still_mines_by_its_crontab(host: Host) -> None:
    """Nothing runs, and cron starts the agent again within ten minutes."""
    hive(host).write(
        "/var/spool/cron/crontabs/root", "*/10 * * * * /hive/bin/agent-screen dontattach || echo x\n"
    )
    assert signs(host) == {("crontab", "/var/spool/cron/crontabs/root")}


def test_minerstat_mines_by_its_user_s_crontab(host: Host) -> None:
    """It has no unit: cron starts it at boot, and looks every minute."""
    host.write(f"{MINERSTAT}/core/checker", "")
    table = f"@reboot /bin/sh {MINERSTAT}/bin/onboot.sh\n* * * * * /bin/bash {MINERSTAT}/core/checker\n"
    host.write("/var/spool/cron/crontabs/minerstat", table)
    assert signs(host) == {("crontab", "/var/spool/cron/crontabs/minerstat")}


def test_simplemining_mines_by_its_login(host: Host) -> None:
    """A login of root starts its loop, by a path that is relative to its home."""
    host.write("/root/xminer.sh", "")
    host.write("/root/.bash_profile", "sleep 1\n./xminer.sh\n")
    assert (machine(host).rig, signs(host)) == (Rig("SimpleMining"), {("start_file", "/root/.bash_profile")})


def test_mmpos_mines_by_a_unit_of_any_name(host: Host) -> None:
    """What counts is where its program lies."""
    host.write("/opt/mmp/bin/agent", "")
    unit(host, "supervisor7.service", "[Service]\nType=simple\nExecStart=-/opt/mmp/bin/agent run\n")
    assert signs(host) == {("unit", "supervisor7.service")}


def test_lines_that_do_not_mine_are_no_signs(host: Host) -> None:
    """Comments, those that we made among them; names of users, directories and sessions; parts that are spared; other places."""
    hive(host).write(
        "/var/spool/cron/crontabs/root",
        "PATH=/hive/sbin:/hive/bin\n# */10 * * * * /hive/bin/agent-screen\n#ionet# */10 * * * * /hive/bin/agent-screen\n"
        "*/15 * * * * /hive/sbin/logrotate\n0 * * * * (for file in /run/hive/miner.* ; do :; done)\n"
        "* * * * * tar czf /backup/miner /srv\n",
    )
    host.write(
        "/etc/cron.d/backup", "* * * * * miner /usr/bin/backup\n@daily miner sudo -u miner /usr/bin/tidy\n"
    )
    host.write("/etc/rc.local", "alias mstart='/hive/bin/miner start'\n")
    unit(host, "netpre.service", "[Service]\nExecStart=/hive/sbin/netpre\nExecStop=/hive/bin/miner stop\n")
    assert signs(host) == set()


@pytest.mark.parametrize(
    "line",
    [
        "@reboot root /opt/t-rex/t-rex -a kawpow",
        "  * * * * * root cd /opt; ./lolMiner",
        "* * * * * root screen -dmS rig /opt/x/SRBMiner-MULTI",
        "* * * * * root nohup nice -n 5 ./xmrig &",
        "* * * * * root if true; then GPU=1 rigel; fi",
        "* * * * * root bash -c 'cd /x && ./gminer'",
    ],
)
def test_known_miners_are_found_on_any_host(host: Host, line: str) -> None:
    """A crontab that starts one is a sign without any mining system."""
    host.write("/etc/cron.d/x", f"{line}\n")
    assert (machine(host).rig, signs(host)) == (None, {("crontab", "/etc/cron.d/x")})


def test_a_start_file_of_a_plain_host_is_looked_at(host: Host) -> None:
    """As every boot runs it."""
    host.write("/etc/rc.local", "#!/bin/sh\n/opt/t-rex &\nexit 0\n")
    assert signs(host) == {("start_file", "/etc/rc.local")}


def test_units_count_where_something_starts_them(host: Host) -> None:
    """A boot, a timer or somebody by hand; one that nothing starts is harmless, and so is one that is masked."""
    mines = "[Service]\nExecStart=/hive/bin/{}\n"
    unit(hive(host), "hive.service", mines.format("hive"))
    unit(host, "hive-watchdog.service", mines.format("wd run"), enabled=False)
    unit(host, "hivex.service", mines.format("hivex"), enabled=False)
    unit(host, "timed.service", mines.format("miner"), enabled=False)
    unit(host, "other.timer", "[Timer]\nUnit=timed.service\n")
    unit(host, "same.service", mines.format("miner"), enabled=False)
    unit(host, "same.socket", "[Socket]\n")
    unit(host, "unrelated.timer", "[Timer]\n")
    host.write("/lib/systemd/system/masked.service", mines.format("hive"))
    unit(host, "masked.service", "")
    running_units(host, "hive-watchdog.service")
    assert signs(host) == {
        ("unit", name) for name in ("hive.service", "hive-watchdog.service", "other.timer", "same.socket")
    }


def test_units_are_read_as_systemd_does(host: Host) -> None:
    """Lines go on after a backslash, drop-ins add to a unit, instances are told by name, the first directory counts."""
    unit(host, "long.service", "[Service]\nExecStart=/bin/sh -c \\\n  'cd /opt; ./t-rex'\n")
    unit(host, "added.service", "[Service]\nExecStart=/usr/bin/web\n")
    host.write(f"{SYSTEM_UNITS}/added.service.d/x.conf", "[Service]\nExecStartPost=@/opt/t-rex t-rex\n")
    unit(host, "rig@.service", "[Service]\nExecStart=/opt/t-rex -d %i\n", enabled=False)
    host.path(f"{SYSTEM_UNITS}/multi-user.target.wants/rig@0.service").symlink_to("../rig@.service")
    unit(host, "mine.service", "[Service]\nExecStart=/usr/bin/web\n")
    host.write("/usr/lib/systemd/system/mine.service", "[Service]\nExecStart=/opt/t-rex\n")
    assert signs(host) == {("unit", name) for name in ("long.service", "added.service", "rig@0.service")}


def test_screens_count_while_they_live(host: Host) -> None:
    """By the system's names of them, whatever runs inside and whoever started them."""
    process(hive(host), PID, "/usr/bin/screen", "SCREEN")
    for session in (f"S-root/{PID}.agent", f"S-user/{PID}.miner", f"S-root/{PID}.notes", "S-root/99.autofan"):
        host.write(f"/run/screen/{session}", "")
    assert signs(host) == {("screen", "agent"), ("screen", "miner")}


def test_a_screen_called_miner_is_a_sign_on_any_host(host: Host) -> None:
    """Custom miners have names that no list knows."""
    process(host, PID, "/usr/bin/screen", "SCREEN")
    host.write(f"/run/screen/S-root/{PID}.miner", "")
    host.write(f"/run/screen/S-root/{PID}.agent", "")
    assert signs(host) == {("screen", "miner")}


def test_processes_are_known_by_where_they_lie(host: Host) -> None:
    """Programs and scripts of the system, of names that no list knows; those of an admin who looks around are not."""
    process(hive(host), 7, "/hive/miners/custom/FAHClient", "FAHClient")
    process(host, 8, "/hive/miners/gminer/miner (deleted)", "./miner")
    process(host, 9, "/bin/bash", "/bin/bash", "/hive/bin/agent")
    process(host, 10, "/usr/bin/python3.8", "python3", "-u", "/hive/sbin/fans", "-x")
    process(host, 11, "/usr/bin/node", "node", "--max-old-space-size=384", "start", cwd="/hive/web")
    process(host, 12, "/bin/sh", "sh", "-c", "/hive/bin/wd run || true")
    process(host, 13, "/usr/bin/vim", "vim", "/hive/bin/miner")
    process(host, 14, "/bin/bash", "-bash", cwd="/hive/bin")
    process(host, 15, "/hive/opt/octofan/octofan", "octofan")
    process(host, 16, "/bin/bash", "bash", "/hive/sbin/netpre")
    process(host, 17, "/hived/web", "web")
    names = ("FAHClient", "miner", "agent", "fans", "start", "wd")
    assert signs(host) == {("process", name) for name in names}
    assert machine(host).miners == (Workload("miner", 8),)


def test_a_process_counts_on_rigs_alone(host: Host) -> None:
    """Without a mining system there is no place that it could lie in; known names are miners, as ever."""
    process(host, 7, "/hive/x", "x")
    process(host, 8, "/opt/t-rex", "t-rex")
    found = machine(host)
    assert (found.mining_signs, found.miners) == ((), (Workload("t-rex", 8),))


def test_a_process_that_is_stuck_keeps_nothing_back(one_host: Host) -> None:
    """What was found before its command line was read is reported; that this is not all is reported too."""
    hive(one_host).write("/var/spool/cron/crontabs/root", "* * * * * /hive/bin/x\n")
    process(one_host, 7, "/bin/bash")
    stuck = one_host.path("/proc/7/cmdline")
    stuck.unlink()
    os.mkfifo(stuck)
    try:
        output = one_host.survey_output()
    finally:
        os.close(os.open(stuck, os.O_RDWR | os.O_NONBLOCK))
    assert b"mining-sign\tcrontab\t/var/spool/cron/crontabs/root\n" in output
    assert b"looked\tmining\n" not in output


def test_many_signs_are_bounded(one_host: Host) -> None:
    """A host of hundreds is still surveyed, and what feeds its card is still told."""
    hive(one_host)
    for number in range(200):
        process(one_host, 1000 + number, f"/hive/miners/m{number}", "m")
        one_host.write(f"/etc/cron.d/m{number}", "* * * * * root /hive/bin/miner\n")
    process(one_host, 5000, "/hive/opt/watchdoginua/watchdoginua", "x")
    found = machine(one_host)
    assert (len(found.mining_signs or ()), found.watchdog_cards) == (32 + 16, ("watchdoginua",))


def test_names_cannot_forge_records(host: Host) -> None:
    """A name is one value, whatever is in it."""
    process(hive(host), 7, "/hive/x\ty\nrig.vpn\t1", "x")
    found = machine(host)
    assert found.is_vpn_by_rig is False
    assert all(sign.kind == "process" for sign in found.mining_signs or ())


# --- what must live on ---


def test_feeders_of_watchdog_cards_are_told_and_are_no_signs(host: Host) -> None:
    """Without them the board is reset within minutes."""
    process(
        hive(host), 7, "/hive/opt/watchdoginua/watchdoginua", "/hive/opt/watchdoginua/watchdoginua", "180"
    )
    utility = "/hive/opt/esonics/WatchDogUtility/src/utility.py"
    process(host, 8, "/usr/bin/python3", "python3", utility, "--reset", "300")
    found = machine(host)
    assert set(found.watchdog_cards) == {"watchdoginua", "WatchDogUtility/src/utility.py"}
    assert found.mining_signs == ()


def test_minerstat_s_feeder_is_told(host: Host) -> None:
    """A script that sudo and bash run, wherever they stand."""
    host.write(f"{MINERSTAT}/watchdog", "")
    process(host, 7, "/usr/bin/sudo", "sudo", "bash", f"{MINERSTAT}/watchdog", cwd=MINERSTAT)
    found = machine(host)
    assert (found.watchdog_cards, found.mining_signs) == (("minerstat-os/watchdog",), ())


@pytest.mark.parametrize(
    ("active", "enabled", "expected"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_vpn_that_only_the_rig_starts_is_told(
    host: Host, *, active: bool, enabled: bool, expected: bool
) -> None:
    """It may be the way in, and ends with the mining system unless a boot starts it."""
    unit(hive(host), "openvpn@client.service", "[Service]\nExecStart=/usr/sbin/openvpn\n", enabled=enabled)
    running_units(host, *(["openvpn@client.service"] if active else []))
    assert machine(host).is_vpn_by_rig is expected


# --- the table ---


FULL: Final = MiningSystem(
    signs=("/a b", "/it's; reboot"),
    homes=("/$HOME/`x`/", '/"/'),
    spared=("/\\n",),
    version_package="p",
    version_file=("/v", "V"),
    identity=Identity("/i", "NAME"),
    screens=("s",),
    start_files=("/start",),
    cards=(WatchdogCard("c", "/c.sh"),),
    vpn_unit="v@x.service",
    restart_s=1,
    night=(),
    panel="",
)


def rows(shell: list[str], assignment: str) -> list[list[str]]:
    script = f"{assignment}printf '%s\\n' \"$mining_systems\""
    run = subprocess.run((*shell, "-c", script), capture_output=True, check=True)
    return [line.split("\t") for line in run.stdout.decode().splitlines()]


def test_every_row_of_the_table_arrives(host: Host, tmp_path: Path) -> None:
    """Whatever is in it: the shell takes each value as it is written."""
    del tmp_path
    shell = host.argv()
    assert rows(shell, mining_table({"It's": FULL})) == [
        ["It's", *row]
        for row in (
            ["sign", "/a b"],
            ["sign", "/it's; reboot"],
            ["home", "/$HOME/`x`/"],
            ["home", '/"/'],
            ["spared", "/\\n"],
            ["screen", "s"],
            ["start_file", "/start"],
            ["card", "c"],
            ["vpn_unit", "v@x.service"],
            ["version_package", "p"],
            ["version_file", "/v", "V"],
            ["identity", "/i", "NAME", "-"],
        )
    ]


def test_every_system_is_in_the_script(host: Host) -> None:
    """Each value that the survey uses of each system, in the table's order."""
    systems = {**SYSTEMS, "-": PLAIN}
    found = rows(host.argv(), mining_table(systems))
    kinds = {
        "signs": "sign",
        "homes": "home",
        "spared": "spared",
        "screens": "screen",
        "start_files": "start_file",
    }
    for name, system in systems.items():
        for field in fields(system):
            if field.name in kinds:
                values = [row[2] for row in found if row[:2] == [name, kinds[field.name]]]
                assert values == list(getattr(system, field.name))


def test_signs_are_records_of_the_protocol(host: Host) -> None:
    """The host's words are the controller's."""
    hive(host).write("/etc/cron.d/x", "* * * * * root /hive/bin/x\n")
    assert machine(host).mining_signs == (MiningSign("crontab", "/etc/cron.d/x"),)
