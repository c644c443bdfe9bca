"""Mining rigs among the real hosts: their systems, what happened on them, and how a night passes there."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.lab.host.nvidia_driver import GPU_MODELS, make_gpus
from tests.e2e.cards import CARD_FILE, install_driver
from tests.e2e.machines import Fleet
from tests.e2e.site import site_of
from tests.e2e.waiting import wait_until
from tests.mining.install import MINER, SYSTEMS, install

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from tests.e2e.machines import Machine
    from tests.e2e.site import Finished, Site
    from tests.mining.install import Night

REBOOT_TIMEOUT_S: Final = 120.0
CRON_TIMEOUT_S: Final = 150.0
"""Cron runs once a minute, and a busy machine is slow."""

# The module of the driver is what nspawn's guests cannot have: the cards are there once it was asked for, until the next boot.
MODPROBE: Final = """\
#!/bin/sh
for module; do
    case $module in nvidia*) cp /usr/lib/cards /run/cards ;; esac
done
"""


@dataclass(frozen=True, slots=True)
class Rig:
    """A host with a mining system, by the name of its folder in ``tests/mining``."""

    system: str
    machine: Machine

    @property
    def miners(self) -> set[str]:
        """The process ids of its miner."""
        return set(self.machine.enter(f"pgrep -x {MINER}", check=False).stdout.split())

    def count(self, event: str) -> int:
        """How often something happened: ``ticks``, ``revived``, ``reboots`` or ``card-resets``."""
        place = self.machine.root / "var/lib/fixture" / event
        return len(place.read_text().splitlines()) if place.exists() else 0

    @property
    def harm(self) -> dict[str, object]:
        """What an admin must not find in the morning."""
        return {
            "mines": bool(self.miners),
            "reboots": self.count("reboots"),
            "card resets": self.count("card-resets"),
        }

    @property
    def starters(self) -> dict[str, str]:
        """What starts its miner, as it stands now: crontabs, start files, enabled units, screens."""
        looks = {
            "crontabs": "cd /var/spool/cron/crontabs && grep -v '^# (' *",
            "owners": "stat -c '%n %U %G %a' /var/spool/cron/crontabs/*",
            "rc.local": "cat /etc/rc.local; stat -c %a /etc/rc.local",
            "units": "systemctl list-unit-files --no-legend '*hive*' '*mmp*' 'openvpn*' rc-local.service cron.service | sort",
            "active": "systemctl is-active hive hive-watchdog mmp-agent rc-local cron",
            "screens": "ls /run/screen/* | sed -n 's/^[0-9]*[.]//p' | grep -vx boot_process | sort",
        }
        return {name: self.machine.enter(look, check=False).stdout for name, look in looks.items()}


@dataclass(frozen=True, slots=True)
class Farm:
    """Rigs and their region. ``starters``: what started each one's miner before anything was changed, by its system."""

    site: Site
    rigs: tuple[Rig, ...]
    starters: Mapping[str, Mapping[str, str]]

    @property
    def harm(self) -> dict[str, dict[str, object]]:
        """That of each rig, by its system."""
        return {rig.system: rig.harm for rig in self.rigs}

    def enroll(self, timeout_s: float = 300.0) -> Finished:
        """Enrol all, and have their miners stopped; raises ``AssertionError`` with all that was said where it fails."""
        self.site.write((rig.machine for rig in self.rigs), prepare={"stop_miner": True})
        argv = ("enroll", str(self.site.inventory), "--yes", "-o", "json", "--batch-size", "100%")
        done = self.site.run(*argv, timeout_s=timeout_s)
        assert done.exit_code == 0, (done.stdout, done.stderr)
        return done

    def pass_night(self, seconds: float) -> None:
        """Return once that time has passed and cron has run on every rig meanwhile."""
        before = [rig.count("ticks") for rig in self.rigs]
        ending = time.monotonic() + seconds

        def is_morning() -> bool:
            ticks = [rig.count("ticks") for rig in self.rigs]
            return time.monotonic() > ending and all(map(int.__gt__, ticks, before))

        wait_until(is_morning, "a night with cron", timeout_s=seconds + CRON_TIMEOUT_S, every_s=1.0)

    def reboot(self, systems: Collection[str] = SYSTEMS) -> None:
        """Reboot rigs for real, at once, and wait until they can be logged in to. From the main thread."""
        machines = [rig.machine for rig in self.rigs if rig.system in systems]
        for machine in machines:
            machine.enter("systemctl reboot", check=False)
        for machine in machines:
            machine.follow_reboot(REBOOT_TIMEOUT_S)
        for machine in machines:
            machine.wait_for_ssh()


@contextmanager
def farm_of(
    systems: Iterable[str], night: Night, directory: Path, nvml: Path | None, watch_s: int | None = None
) -> Iterator[Farm]:
    """A rig of each system, which mines, with one card where there is a stand-in for NVML.

    ``watch_s``: how long preparations watch a rig, where that is to be shorter than usual.
    """
    (directory / "rigs").mkdir()
    (directory / "site").mkdir()
    rigs: list[Rig] = []
    names = list(systems)

    def furnish(machine: Machine) -> None:
        rig = Rig(names[len(rigs)], machine)
        install(rig.system, machine.root, night)
        _lay_cards(rig, nvml)
        if watch_s is not None:
            _shorten_watch(machine, watch_s)
        rigs.append(rig)

    with (
        Fleet(len(names), directory / "rigs", furnish=furnish) as fleet,
        site_of(fleet, directory / "site") as site,
    ):
        site.gpus = {"count": 0 if nvml is None else 1}
        for rig in rigs:
            wait_for_miner(rig)
        yield Farm(site, tuple(rigs), {rig.system: rig.starters for rig in rigs})


def _lay_cards(rig: Rig, nvml: Path | None) -> None:
    root = rig.machine.root
    (root / "usr/sbin/modprobe").write_text(MODPROBE)
    (root / "usr/sbin/modprobe").chmod(0o755)
    (root / "usr/lib/cards").touch()
    if nvml is None:
        return
    install_driver(rig.machine, nvml, make_gpus(GPU_MODELS[0], rig.machine.name, 1))
    if rig.system == "hiveos":
        (root / CARD_FILE).rename(root / "usr/lib/cards")
        (root / CARD_FILE).symlink_to("/run/cards")


def _shorten_watch(machine: Machine, seconds: int) -> None:
    """Its SSH server sets the variable that says how long, and sudo lets it through."""
    (machine.root / "etc/ssh/sshd_config.d/watch.conf").write_text(f"SetEnv IONET_QUIET_S={seconds}\n")
    rule = machine.root / "etc/sudoers.d/watch"
    rule.write_text('Defaults env_keep += "IONET_QUIET_S"\n')
    rule.chmod(0o440)


def wait_for_miner(rig: Rig, *, but: Collection[str] = ()) -> None:
    """Return once it mines, by another process than those; raises ``TimeoutError`` when cron has not seen to it in time."""
    wait_until(
        lambda: bool(rig.miners.difference(but)), f"{rig.system} mines", timeout_s=CRON_TIMEOUT_S, every_s=1.0
    )
