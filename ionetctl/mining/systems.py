"""Table of mining systems. A new one is a row here, and a fixture in ``tests/mining`` that behaves as the row says.

A row says where a system lies; what starts its miner is then found by that: units, crontab lines, start files, screens and
processes that lead into ``homes`` and are not ``spared``. The facts of HiveOS are from its client scripts up to 0.6-201
(minershive/hiveos-linux), those of minerstat from recolic/minerstat-os; SimpleMining and mmpOS publish no source, what is
known of them was seen on rigs; of RaveOS nothing is known but its name's directories.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ionetctl.core.observed import Rig


@dataclass(frozen=True, slots=True)
class Identity:
    """The file of assignments (``KEY=value``, ``global.key = "value";``) in which a rig's name and number in the panel lie."""

    file: str
    name_key: str
    id_key: str | None = None


@dataclass(frozen=True, slots=True)
class WatchdogCard:
    """A card that resets the board when nobody feeds it.

    ``process``: the end of the path of the program or script that feeds it; ``command``: what starts that.
    """

    process: str
    command: str


@dataclass(frozen=True, slots=True)
class MiningSystem:
    """What is known of one mining system. Paths are absolute; ``restart_s`` is in seconds.

    ``signs``: paths of which any shows that it is installed. ``homes``: what runs from below them, or is started by a line
    or unit that names them, belongs to the system. ``spared``: parts of such paths that do not mine and go on (network,
    logs, feeders of watchdog cards). ``version_file``: a file and the key of the version in it; ``version_package``: the
    Debian package of that version.
    ``screens``: names of its screen sessions, of any user. ``stop_commands``: the system's own way to stop, tried first.
    ``hold_file``: a file that keeps it from mining while it is there. ``restart_s``: the slowest pause after which something
    starts the miner again. ``night``: what it does unless it is stopped for good, as clauses. ``panel``: what an admin sets
    in the system's panel, which no host can reach.
    ``vpn_unit``: what may be the way in, and is started by the system alone. ``loads_driver``: nobody else loads the NVIDIA
    modules at boot. ``driver_update``, ``grow_disk``, ``logs_to_disk``: its own commands for that.
    ``is_known`` is false where no source says how to stop it.
    """

    signs: tuple[str, ...]
    homes: tuple[str, ...]
    restart_s: int
    night: tuple[str, ...]
    panel: str
    spared: tuple[str, ...] = ()
    version_file: tuple[str, str] | None = None
    version_package: str | None = None
    identity: Identity | None = None
    screens: tuple[str, ...] = ("miner",)
    stop_commands: tuple[str, ...] = ()
    start_files: tuple[str, ...] = ("/etc/rc.local",)
    hold_file: str | None = None
    cards: tuple[WatchdogCard, ...] = ()
    vpn_unit: str | None = None
    loads_driver: bool = False
    driver_update: str | None = None
    grow_disk: str | None = None
    logs_to_disk: str | None = None
    is_known: bool = True


_LOGIN_FILES: Final = ("/etc/rc.local", "/root/.bash_profile", "/root/.profile", "/root/.bashrc")

SYSTEMS: Final[Mapping[str, MiningSystem]] = {
    "HiveOS": MiningSystem(
        signs=("/hive/bin", "/hive-config/rig.conf"),
        homes=("/hive/",),
        spared=(
            "/hive/sbin/netpre",
            "/hive/sbin/logrotate",
            "/hive/sbin/timesync",
            "/hive/bin/cache-hive-ip",
            "/hive/opt/watchdoginua/",
            "/hive/opt/opendev/",
            "/hive/opt/esonics/",
            "/hive/opt/qinheng/",
            "/hive/opt/srrv2/",
            "/hive/opt/octofan/",
        ),
        version_package="hive",
        identity=Identity("/hive-config/rig.conf", name_key="WORKER_NAME", id_key="RIG_ID"),
        screens=("miner", "agent", "autofan", "hello"),
        stop_commands=("/hive/bin/miner stop", "/hive/bin/wd stop"),
        cards=(
            WatchdogCard("watchdoginua", "/hive/opt/watchdoginua/watchdoginua.sh"),
            WatchdogCard("watchdog-opendev", "/hive/opt/opendev/watchdog-opendev.sh"),
            WatchdogCard("WatchDogUtility/src/utility.py", "/hive/opt/esonics/watchdog-esonics.sh"),
            WatchdogCard("hl340", "/hive/opt/qinheng/hl340.sh"),
            WatchdogCard("srrv2", "/hive/opt/srrv2/srrv2.sh"),
        ),
        restart_s=600,
        night=(
            "cron starts its agent again within ten minutes",
            "the agent starts the miner when the panel says so, or was silent for five minutes",
            "its watchdog reboots the rig when the miner is slow or the load is high",
        ),
        panel="set the rig to Maintenance mode in HiveOS's panel",
        vpn_unit="openvpn@client.service",
        loads_driver=True,
        driver_update="nvidia-driver-update",
        grow_disk="disk-expand",
        logs_to_disk="logs-on",
    ),
    "minerstat": MiningSystem(
        signs=("/home/minerstat/minerstat-os",),
        homes=("/home/minerstat/minerstat-os/",),
        spared=("/minerstat-os/core/dnser", "/minerstat-os/bin/shellinaboxd", "/minerstat-os/watchdog"),
        version_file=("/etc/lsb-release", "DISTRIB_RELEASE"),
        identity=Identity("/media/storage/config.js", name_key="global.worker"),
        screens=("minerstat-console", "minew", "listener", "sockets", "fakescreen", "curve", "boot_process"),
        stop_commands=("/home/minerstat/minerstat-os/core/stop",),
        hold_file="/tmp/stop.pid",  # noqa: S108 - minerstat's own file, which its checker looks for
        start_files=(*_LOGIN_FILES, "/home/minerstat/.bashrc", "/home/minerstat/.profile"),
        cards=(WatchdogCard("minerstat-os/watchdog", "/bin/bash /home/minerstat/minerstat-os/watchdog"),),
        restart_s=60,
        night=(
            "cron looks every minute and starts the miner's console again",
            "cron updates the system every hour",
            "after a boot it mines",
        ),
        panel="set the worker to idle in minerstat's panel",
        driver_update="/home/minerstat/minerstat-os/core/nvidia-update",
        grow_disk="/home/minerstat/minerstat-os/core/expand.sh",
    ),
    "SimpleMining": MiningSystem(
        signs=("/root/xminer.sh", "/etc/smos", "/opt/smos"),
        homes=("/root/xminer.sh", "/root/utils/", "/root/miner/"),
        start_files=_LOGIN_FILES,
        restart_s=10,
        night=("a loop starts the miner again after ten seconds", "after a boot it mines"),
        panel="stop the rig's mining in SimpleMining's dashboard",
    ),
    "mmpOS": MiningSystem(
        signs=("/opt/mmp/bin", "/etc/mmpos"),
        homes=("/opt/mmp/",),
        stop_commands=("/opt/mmp/bin/agent-stop",),
        start_files=_LOGIN_FILES,
        restart_s=60,
        night=("its agent starts the miner again", "after a boot it mines"),
        panel="disable the rig's mining profile in mmpOS's dashboard",
    ),
    "RaveOS": MiningSystem(
        signs=("/etc/raveos", "/opt/raveos", "/etc/systemd/system/raveos.service"),
        homes=("/opt/raveos/",),
        restart_s=600,
        night=("no public source says what starts its miner again",),
        panel="stop the rig's mining in RaveOS's dashboard",
        is_known=False,
    ),
}
"""By the name that findings and facts use."""

PLAIN: Final = MiningSystem(signs=(), homes=(), restart_s=60, night=(), panel="")
"""What is looked for on hosts without such a system; cron may look every minute."""


def system_of(rig: Rig | None) -> MiningSystem | None:
    """What is known of a rig's system; ``None`` without one, and for one that the table does not have."""
    return SYSTEMS.get(rig.system) if rig else None
