"""Mining rigs on real systemd hosts: their miners are stopped for a night and a reboot, and put back as they were.

The systems are those of ``tests/mining``. Time is compressed, but for cron, which knows no less than a minute. With
``IONETCTL_TEST_NIGHT=1`` sixteen minutes pass for real as well, after a watch of full length.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.base_root import why_unavailable
from tests.e2e.real_region import device_plugin_binary, nomad_binary
from tests.e2e.rigs import farm_of, wait_for_miner
from tests.mining.install import COMPRESSED, REAL, SYSTEMS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.rigs import Farm

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable())),
]

NIGHT_S: Final = 1.2 * max(COMPRESSED.card, COMPRESSED.wd_reboot)
REAL_NIGHT_S: Final = 16 * 60.0
REAL_ENROLMENT_S: Final = 30 * 60.0
WATCH_S: Final = 5
STOPPED: Final = {"mines": False, "reboots": 0, "card resets": 0}
NAMED: Final[dict[str, list[str]]] = {
    "hiveos": ["HiveOS", "0.6-201", "rig07"],
    "minerstat": ["minerstat", "2.8.1", "rig11"],
    "simplemining": ["SimpleMining"],
    "mmpos": ["mmpOS"],
    "plain": [],
}
"""What a preflight says of a rig: its system, the version, and its name in the panel."""
PARTLY_STARTED_AT_BOOT: Final = {"minerstat", "simplemining"}
"""Systems of which something is started by a boot alone: the miner, or what feeds the card."""
LIVING_ON: Final = {
    "hiveos": "systemctl is-active openvpn@client.service",
    "simplemining": "ls /run/by-admin",
}
"""What a mining system started besides its miner, and how one sees that it is there."""
SECRETS: Final = ("hive-secret", "minerstat-secret", "mmpos-secret")
NAIVELY: Final = {
    "hiveos": "pkill -x screen",
    "minerstat": "pkill -x mine-loop; pkill -x zx9; su minerstat -c 'screen -S minerstat-console -X quit'",
    "simplemining": "pkill -x zx9",
    "mmpos": "screen -S miner -X quit",
    "plain": "pkill -x zx9",
}
"""How one would stop a miner who does not know what starts it."""


@pytest.fixture(scope="module")
def nvml(request: pytest.FixtureRequest) -> Path | None:
    """The stand-in for NVML, where a real Nomad can see its cards."""
    if nomad_binary() is None or device_plugin_binary() is None:
        return None
    library: Path = request.getfixturevalue("nvml_library")
    return library


@pytest.fixture(scope="module")
def farm(nvml: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """Every system once, in compressed time."""
    with farm_of(SYSTEMS, COMPRESSED, tmp_path_factory.mktemp("farm"), nvml, WATCH_S) as farm:
        yield farm


def test_miners_come_back_when_stopped_naively(farm: Farm) -> None:
    """What is stopped without what starts it comes back: otherwise the tests below could not fail."""
    before = [rig.miners for rig in farm.rigs]
    for rig in farm.rigs:
        rig.machine.enter(NAIVELY[rig.system], check=False)
    for rig, miners in zip(farm.rigs, before, strict=True):
        wait_for_miner(rig, but=miners)


def test_preflight_names_the_rigs(farm: Farm) -> None:
    """System, version and the panel's name, and no password; none of the hosts is fit."""
    farm.site.write(rig.machine for rig in farm.rigs)
    done = farm.site.run("preflight", str(farm.site.inventory), "-o", "json")
    hosts = {host["name"]: host for host in done.document["hosts"]}
    for rig in farm.rigs:
        findings = hosts[rig.machine.name]["findings"]
        text = "".join(found["message"] for found in findings if found["code"] == "mining_os")
        assert [word for word in NAMED[rig.system] if word in text] == NAMED[rig.system], text
        assert bool(text) is bool(NAMED[rig.system]), text
    assert {rig.system: hosts[rig.machine.name]["outcome"] for rig in farm.rigs} == dict.fromkeys(
        SYSTEMS, "unfit"
    )
    assert not [secret for secret in SECRETS if secret in done.stdout + done.stderr]


def test_night_passes_without_mining(farm: Farm) -> None:
    """Neither cron nor agent nor watchdog starts a miner, no watchdog reboots, and cards are fed."""
    farm.enroll()
    farm.pass_night(NIGHT_S)
    assert farm.harm == dict.fromkeys(SYSTEMS, STOPPED)


def test_reboot_brings_nothing_back(farm: Farm) -> None:
    """After a real one nothing mines, cards are fed, the region sees nodes and GPUs, and nothing is left to do."""
    farm.reboot()
    verified = farm.site.run("verify", str(farm.site.inventory), "-o", "json")
    assert verified.exit_code == 0, (verified.stdout, verified.stderr)
    farm.pass_night(NIGHT_S)
    assert farm.harm == dict.fromkeys(SYSTEMS, STOPPED)
    lost = [
        rig.system
        for rig in farm.rigs
        if rig.machine.enter(LIVING_ON.get(rig.system, "true"), check=False).returncode != 0
    ]
    assert lost == []
    checked = farm.site.run("enroll", str(farm.site.inventory), "--check", "-o", "json")
    assert checked.exit_code == 0, checked.stdout


def test_restored_rigs_mine_as_before(farm: Farm) -> None:
    """One command puts back what was there; once more it does no harm. What only a boot starts waits for one."""
    for rig in farm.rigs:
        rig.machine.run("/var/lib/ionet/restore-miner")
        rig.machine.run("/var/lib/ionet/restore-miner")
    for rig in farm.rigs:
        if rig.system != "simplemining":
            wait_for_miner(rig)
    farm.reboot(PARTLY_STARTED_AT_BOOT)
    for rig in farm.rigs:
        wait_for_miner(rig)
    assert {rig.system: rig.starters for rig in farm.rigs} == farm.starters
    happened = {rig.system: (rig.count("reboots"), rig.count("card-resets")) for rig in farm.rigs}
    assert happened == dict.fromkeys(SYSTEMS, (0, 0))


@pytest.mark.timeout(3600)
@pytest.mark.skipif("IONETCTL_TEST_NIGHT" not in os.environ, reason="no IONETCTL_TEST_NIGHT: half an hour")
def test_real_night_passes_without_mining(nvml: Path | None, tmp_path: Path) -> None:
    """Sixteen minutes with the systems' own pauses, after a watch as long as the slowest of them."""
    with farm_of(SYSTEMS, REAL, tmp_path, nvml) as farm:
        farm.enroll(REAL_ENROLMENT_S)
        farm.pass_night(REAL_NIGHT_S)
        assert farm.harm == dict.fromkeys(SYSTEMS, STOPPED)
