"""Conditions of hosts with a mining system on their disk, whose miner would start again tonight.

What a survey sees of one: its directories, the panel's name for the rig, and what starts the miner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.lab.faults.changes import UNUSED_PID, all_of, with_file
from ionetctl.lab.faults.conditions.condition import Condition
from ionetctl.lab.host.machine import host_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ionetctl.lab.faults.changes import Change
    from ionetctl.lab.host.machine import Machine

CRONTABS: Final = "var/spool/cron/crontabs"
PASSWORD: Final = "rig-password-of-the-rehearsal"  # noqa: S105 - it must never show


def _hive_config(machine: Machine) -> Machine:
    """With the name and number that the panel gave the rig, and its password."""
    text = f'RIG_ID={_number(machine)}\nRIG_PASSWD="{PASSWORD}"\nWORKER_NAME="{machine.name}"\n'
    return with_file("hive-config/rig.conf", text)(machine)


def _minerstat_config(machine: Machine) -> Machine:
    text = f'global.accesskey = "{PASSWORD}";\nglobal.worker = "{machine.name}";\n'
    return with_file("media/storage/config.js", text)(machine)


def _number(machine: Machine) -> int:
    return int(host_digest(machine.name)[:6], 16)


def _with_script(name: str, path: str) -> Change:
    """With a process that runs this script."""
    return all_of(
        with_file(f"proc/{UNUSED_PID}/comm", f"{name}\n"),
        with_file(f"proc/{UNUSED_PID}/cmdline", f"/bin/sh\0/{path}\0"),
        with_file(path, "#!/bin/sh\n"),
    )


RIGS: Final[Mapping[str, Condition]] = {
    "hiveos": Condition(
        "has HiveOS on its disk, whose agent cron starts again",
        "mining_os",
        all_of(
            _with_script("agent", "hive/bin/agent"),
            with_file(f"{CRONTABS}/root", "*/10 * * * * /hive/bin/agent-screen dontattach\n"),
            with_file("var/lib/dpkg/status", "Package: hive\nVersion: 0.6-201\n\n"),
            _hive_config,
        ),
    ),
    "minerstat": Condition(
        "has minerstat's system on its disk, whose console cron starts again",
        "mining_os",
        all_of(
            with_file("home/minerstat/minerstat-os/core/checker", "#!/bin/bash\n"),
            with_file("etc/lsb-release", "DISTRIB_RELEASE=1.8.4\n"),
            with_file(
                f"{CRONTABS}/minerstat",
                "* * * * * /bin/bash /home/minerstat/minerstat-os/core/checker\n",
            ),
            _minerstat_config,
        ),
    ),
    "simplemining": Condition(
        "has SimpleMining's system on its disk, whose loop starts the miner again",
        "mining_os",
        all_of(
            _with_script("xminer.sh", "root/xminer.sh"),
            with_file("etc/rc.local", "#!/bin/sh\nscreen -dmS miner /root/xminer.sh\n"),
        ),
    ),
    "raveos": Condition(
        "has RaveOS on its disk", "mining_os_unknown", with_file("opt/raveos/VERSION", "1\n")
    ),
}
