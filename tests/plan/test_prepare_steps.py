"""What has to be prepared: asked for, and missing; nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from ionetctl.core.model.facts import RemoteFile
from ionetctl.core.model.host import GpuPromise, Prepare
from ionetctl.core.model.plan import Action, Change
from ionetctl.core.observed import Docker, Driver, Firewall, MachineFacts, MiningSign, Rig, SeenGpu, Workload
from ionetctl.host.prepare import INSTALL_LIMIT_S
from ionetctl.mining.systems import SYSTEMS
from ionetctl.plan.bundle import sha256
from ionetctl.plan.prepare_steps import (
    MINERS_PENDING,
    MODULES_FILE,
    MODULES_TEXT,
    SEEN_AT_START,
    needed_preparations,
    step_records,
    surveyed_paths,
)
from tests.support.sample import BARE, HOST

if TYPE_CHECKING:
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host

ALL: Final = Prepare(
    docker=True,
    docker_userns=True,
    container_toolkit=True,
    cni=True,
    driver="550",
    modules=True,
    time_sync=True,
    firewall=True,
    persistence=True,
    stop_miner=True,
)
READY: Final = MachineFacts(
    is_time_synchronized=True,
    modules=("bridge", "br_netfilter", "overlay"),
    docker=Docker("27.3.1", runtimes=("runc", "nvidia")),
    is_docker_remapped=True,
    toolkit_version="1.17.8",
    cni_plugins=("bridge", "firewall", "host-local", "loopback", "portmap", "vlan"),
    driver=Driver(module_version="550.90.07", library_version="550.90.07"),
    gpus_on_bus=2,
    firewalls=(Firewall("ufw", blocks_outbound=True, allows_rpc=True),),
    miners=(),
)
MODULES: Final = RemoteFile(MODULES_FILE, sha256(MODULES_TEXT.encode()), 0o644, "root:root")
OTHER_FILE: Final = RemoteFile("/etc/other", sha256(b""), 0o600, "root:root")
HIVE: Final = Rig("HiveOS", "0.6-201")
AGENT: Final = MiningSign("screen", "agent")
CRONTAB: Final = MiningSign("crontab", "/var/spool/cron/crontabs/root")
T_REX: Final = Workload("t-rex", 4711, "rig.service")


def seen(*files: RemoteFile, gpus: tuple[SeenGpu, ...] | None = None, **machine: Any) -> Facts:
    """Facts of a host that is ready but for what is given."""
    present = {file.path: file for file in files or (MODULES,)}
    return replace(BARE, machine=replace(READY, **machine), files=present, gpus=gpus)


def asking(prepare: Prepare = ALL, count: int | None = 2) -> Host:
    return replace(HOST, prepare=prepare, gpus=GpuPromise(None, count))


def test_prepared_host_needs_nothing() -> None:
    """What is there is not prepared again."""
    assert needed_preparations(asking(), seen()) == ()


def test_nothing_is_prepared_that_nobody_asked_for() -> None:
    """However bare the host is."""
    assert needed_preparations(asking(Prepare()), BARE) == ()


@pytest.mark.parametrize("version", [None, "535.183.01"])
def test_packages_never_cover_a_driver_of_nvidias_installer(version: str | None) -> None:
    """Neither an older one, nor one that is not loaded; a driver from packages is changed."""
    driver = Driver(module_version=version, library_version="535.183.01", is_run_file=True)
    assert needed_preparations(asking(), seen(driver=driver)) == ()
    packaged = needed_preparations(asking(), seen(driver=replace(driver, is_run_file=False)))
    assert [change.path for change in packaged] == ["driver"]


def test_what_nobody_could_see_is_not_prepared() -> None:
    """Unknown is not missing: of a survey that could not look, only absent programs ask for something."""
    unknown = replace(BARE, machine=MachineFacts(), gpus=None)
    names = [change.path for change in needed_preparations(asking(), unknown)]
    assert names == ["driver", "docker", "container_toolkit", "docker_userns", "cni"]


def test_bare_host_needs_all_in_order() -> None:
    """The cards are freed first, and the clock is set before packages are judged by their dates."""
    bare = seen(
        MODULES,
        gpus=(SeenGpu(0, "x", "GPU-1", is_persistent=False),),
        is_time_synchronized=False,
        modules=(),
        docker=None,
        toolkit_version=None,
        cni_plugins=None,
        driver=Driver(),
        firewalls=(Firewall("nftables", blocks_outbound=True, allows_rpc=False),),
        miners=(T_REX,),
    )
    changes = needed_preparations(asking(), bare)
    assert {change.action for change in changes} == {Action.PREPARE}
    assert [change.path for change in changes] == [
        *("stop_miner", "time_sync", "firewall", "modules", "driver", "docker", "container_toolkit", "cni"),
        "persistence",
    ]


CASES: Final[list[tuple[Facts, Change]]] = [
    (
        seen(miners=(T_REX,)),
        Change(
            Action.PREPARE, "stop_miner", "t-rex mines; it is stopped, watched for 120 s, and can be put back"
        ),
    ),
    (
        seen(miners=(T_REX, T_REX), rig=HIVE, mining_signs=(CRONTAB,)),
        Change(
            Action.PREPARE,
            "stop_miner",
            "HiveOS mines; it is stopped, watched for 660 s, and can be put back",
        ),
    ),
    (
        seen(rig=HIVE, mining_signs=(CRONTAB, AGENT)),
        Change(
            Action.PREPARE,
            "stop_miner",
            "HiveOS mines; it is stopped, watched for 660 s, and can be put back",
        ),
    ),
    (
        seen(rig=HIVE, mining_signs=(CRONTAB,)),
        Change(
            Action.PREPARE,
            "stop_miner",
            "HiveOS will mine; it is stopped, watched for 660 s, and can be put back",
        ),
    ),
    (
        seen(mining_signs=(MiningSign("unit", "rig.service"),)),
        Change(
            Action.PREPARE,
            "stop_miner",
            "rig.service will mine; it is stopped, watched for 120 s, and can be put back",
        ),
    ),
    (seen(is_time_synchronized=False), Change(Action.PREPARE, "time_sync", "nothing keeps the clock right")),
    (seen(modules=("overlay",)), Change(Action.PREPARE, "modules", "bridge, br_netfilter not loaded")),
    (seen(OTHER_FILE), Change(Action.PREPARE, "modules", "loaded now, and not for sure at the next boot")),
    (
        seen(replace(MODULES, digest=sha256(b"other"))),
        Change(Action.PREPARE, "modules", "loaded now, and not for sure at the next boot"),
    ),
    (seen(docker=None), Change(Action.PREPARE, "docker", "is not installed")),
    (seen(docker=Docker(None)), Change(Action.PREPARE, "docker", "is installed and does not answer")),
    (seen(driver=Driver()), Change(Action.PREPARE, "driver", "no NVIDIA driver is loaded; 550 is asked for")),
    (
        seen(driver=Driver(module_version="535.183.01")),
        Change(Action.PREPARE, "driver", "535.183.01 is loaded; 550 is asked for"),
    ),
    (
        seen(driver=Driver(module_version="550.90.07", library_version="550.107.02")),
        Change(Action.PREPARE, "driver", "550.90.07 is loaded, and 550.107.02 installed since"),
    ),
    (
        seen(driver=Driver(module_version="odd")),
        Change(Action.PREPARE, "driver", "odd is loaded; 550 is asked for"),
    ),
    (seen(toolkit_version=None), Change(Action.PREPARE, "container_toolkit", "is not installed")),
    (
        seen(docker=Docker("27.3.1", runtimes=("runc",))),
        Change(Action.PREPARE, "container_toolkit", "Docker does not know the runtime nvidia"),
    ),
    (
        seen(cni_plugins=("bridge", "host-local", "loopback", "portmap")),
        Change(Action.PREPARE, "cni", "firewall missing in /opt/cni/bin"),
    ),
    (
        seen(firewalls=(Firewall("ufw", blocks_outbound=True, allows_rpc=False),)),
        Change(Action.PREPARE, "firewall", "ufw keeps TCP 4647 from leaving"),
    ),
    (
        seen(
            gpus=(SeenGpu(0, "x", "GPU-1", is_persistent=True), SeenGpu(1, "x", "GPU-2", is_persistent=False))
        ),
        Change(Action.PREPARE, "persistence", "off on GPU 1"),
    ),
]


@pytest.mark.parametrize(("facts", "change"), CASES, ids=lambda value: getattr(value, "path", ""))
def test_what_is_missing_is_prepared(facts: Facts, change: Change) -> None:
    """With the reason that a person reads in the plan."""
    assert needed_preparations(asking(), facts) == (change,)


@pytest.mark.parametrize(("facts", "change"), CASES, ids=lambda value: getattr(value, "path", ""))
def test_what_is_missing_and_not_asked_for_stays_missing(facts: Facts, change: Change) -> None:
    """The control: every preparation has a switch of its own."""
    off: Any = {change.path: None if change.path == "driver" else False}
    assert needed_preparations(asking(replace(ALL, **off)), facts) == ()


@pytest.mark.parametrize(
    "facts",
    [
        seen(MODULES, rig=HIVE),
        seen(MODULES, rig=HIVE, mining_signs=()),
        seen(rig=Rig("RaveOS"), miners=(T_REX,), mining_signs=(AGENT,)),
        seen(rig=Rig("of tomorrow"), miners=(T_REX,), mining_signs=(AGENT,)),
        seen(is_time_synchronized=False, is_ntp_on=True),
        seen(driver=Driver(module_version="570.86.15")),
        seen(docker=Docker(None, runtimes=()), toolkit_version="1.17.8"),
        seen(firewalls=(Firewall("nftables", blocks_outbound=False, allows_rpc=None),)),
        seen(firewalls=None),
        seen(miners=None),
        seen(gpus=(SeenGpu(0, "x", "GPU-1", is_persistent=None),)),
    ],
)
def test_what_is_well_enough_is_left_alone(facts: Facts) -> None:
    """A mining system that was stopped, or that nobody knows how to stop, a clock that is being set, a newer driver, an open firewall."""
    assert needed_preparations(asking(replace(ALL, docker=False)), facts) == ()


def test_a_stop_that_was_cut_off_is_gone_on_with() -> None:
    """Even where nothing starts a miner any more: what must live on may not have its home yet."""
    mark = RemoteFile(MINERS_PENDING, sha256(b""), 0o600, "root:root")
    facts = replace(seen(MODULES, rig=HIVE, mining_signs=()), files={MINERS_PENDING: mark})
    (change,) = needed_preparations(asking(Prepare(stop_miner=True)), facts)
    assert (change.path, change.reason) == ("stop_miner", "was cut off before its end")
    assert needed_preparations(asking(Prepare()), facts) == ()


@pytest.mark.parametrize(
    ("count", "on_bus", "is_needed"),
    [(0, 8, False), (None, 0, False), (None, None, False), (None, 8, True), (8, 0, True)],
)
def test_a_driver_is_for_hosts_with_cards(count: int | None, on_bus: int | None, *, is_needed: bool) -> None:
    """As promised; where nothing is promised, as the bus shows."""
    facts = seen(driver=Driver(), gpus_on_bus=on_bus, toolkit_version=None)
    names = [change.path for change in needed_preparations(asking(count=count), facts)]
    assert names == (["driver", "container_toolkit"] if is_needed else [])


def test_records_carry_what_the_script_cannot_know() -> None:
    """Branch, firewalls and miners; a name that would break its record is left out."""
    facts = seen(
        firewalls=(
            Firewall("ufw", blocks_outbound=True, allows_rpc=False),
            Firewall("ufw", blocks_outbound=True, allows_rpc=False),
        ),
        miners=(T_REX, Workload("xm\trig"), Workload("miner")),
        docker=None,
        driver=Driver(),
    )
    host = asking()
    assert step_records(host, facts, needed_preparations(host, facts)) == (
        ("screen", "miner"),
        ("start_file", "/etc/rc.local"),
        ("watch", "120"),
        ("miner", "t-rex", "rig.service"),
        ("miner", "miner", "-"),
        ("stop_miner",),
        ("firewall", "ufw", "4647"),
        ("driver", "550"),
        ("docker",),
    )


def records_of(machine: dict[str, Any], prepare: Prepare | None = None) -> tuple[tuple[str, ...], ...]:
    host = asking(prepare or Prepare(stop_miner=True))
    facts = seen(**machine)
    return step_records(host, facts, needed_preparations(host, facts))


def test_records_of_a_mining_system_are_those_of_its_row() -> None:
    """With what the survey saw: a card that is fed, a VPN that the system started, units and start files."""
    system = SYSTEMS["HiveOS"]
    records = records_of(
        {
            "rig": HIVE,
            "watchdog_cards": ("hl340",),
            "is_vpn_by_rig": True,
            "mining_signs": (
                CRONTAB,
                MiningSign("unit", "rig.service"),
                MiningSign("unit", "odd\nunit"),
                MiningSign("start_file", "/etc/profile"),
            ),
        }
    )
    assert records == (
        *(("home", path) for path in system.homes),
        *(("spare", text) for text in system.spared),
        *(("screen", name) for name in system.screens),
        *(("own_stop", command) for command in system.stop_commands),
        ("start_file", "/etc/rc.local"),
        ("card", "hl340", "/hive/opt/qinheng/hl340.sh"),
        ("vpn", "openvpn@client.service"),
        ("gpu_modules",),
        ("overclocks", "reset"),
        ("watch", "660"),
        ("miner", "-", "rig.service"),
        ("start_file", "/etc/profile"),
        ("stop_miner",),
    )


def test_records_leave_out_what_a_system_does_not_need() -> None:
    """No VPN, no card, no driver of its own; clocks are kept by choice, and its hold is used."""
    records = records_of(
        {"rig": Rig("minerstat"), "mining_signs": (CRONTAB,)}, Prepare(stop_miner=True, overclocks="keep")
    )
    assert [record for record in records if record[0] not in {"home", "spare", "screen", "start_file"}] == [
        ("own_stop", "/home/minerstat/minerstat-os/core/stop"),
        ("hold", "/tmp/stop.pid"),
        ("overclocks", "keep"),
        ("watch", "120"),
        ("stop_miner",),
    ]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_is_watched_for_longer_than_its_slowest_restart(system: str) -> None:
    """And not for so long that the controller takes the host for silent."""
    records = records_of({"rig": Rig(system), "mining_signs": (CRONTAB,)})
    watched_s = [int(record[1]) for record in records if record[0] == "watch"]
    assert [SYSTEMS[system].restart_s < each < INSTALL_LIMIT_S for each in watched_s] == (
        [True] if SYSTEMS[system].is_known else []
    )


def test_the_survey_looks_at_what_tells() -> None:
    """The files whose digest decides are among those that a survey is asked for."""
    assert set(surveyed_paths()) == {MODULES_FILE, MINERS_PENDING}


def test_agents_look_at_start_at_what_is_named() -> None:
    """What an agent sees only when it starts can all be prepared."""
    assert {"modules", "driver", "container_toolkit", "cni"} == SEEN_AT_START


@pytest.mark.parametrize(
    ("machine", "prepare", "is_needed"),
    [
        ({}, {}, False),
        ({"is_docker_remapped": False}, {}, True),
        ({"is_docker_remapped": False}, {"docker_userns": False}, False),
        ({"is_docker_remapped": None, "docker": None}, {}, True),
        ({"is_docker_remapped": None, "docker": None}, {"docker": False}, False),
    ],
)
def test_users_of_containers(machine: dict[str, Any], prepare: dict[str, Any], is_needed: bool) -> None:  # noqa: FBT001
    """Docker's containers are given users where it has none for them, and a Docker that comes now too; its restart is named."""
    host = replace(HOST, prepare=replace(ALL, **prepare))
    changes = needed_preparations(host, replace(BARE, machine=replace(READY, **machine)))
    [reason] = [change.reason for change in changes if change.path == "docker_userns"] or [""]
    assert ("Docker is restarted, unless containers run" in reason) is is_needed
