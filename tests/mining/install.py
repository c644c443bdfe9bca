"""Puts a mining system of our own making into the root of a host: small scripts that behave as public sources say.

Each folder beside this file is a system and lies as it does on a rig; ``common`` goes onto every rig. All miners have a
name that no list knows. Seconds stand in ``/etc/fixture-seconds``, where the scripts read them. What happened is written
down below ``/var/lib/fixture``: ``ticks`` (cron ran), ``revived`` (cron started something), ``reboots`` (a watchdog rebooted
the rig), ``card-resets`` (nobody fed the card).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MINER: Final = "zx9"
SLEEP: Final = "usr/bin/sleep"

_HERE: Final = Path(__file__).parent
_CRONTABS: Final = "var/spool/cron/crontabs"
_WANTS: Final = "etc/systemd/system/multi-user.target.wants"
_OWNER_ID: Final = 1777


@dataclass(frozen=True, slots=True)
class Night:
    """The pauses of the systems, in seconds; cron's in minutes."""

    silence: int = 300
    """How long HiveOS's panel is silent before it answers again."""
    restart: int = 3
    loop: int = 10
    wd_miner: int = 300
    wd_reboot: int = 600
    card: int = 180
    cron_minutes: int = 10

    @property
    def text(self) -> str:
        """The file that the scripts read."""
        names = ("silence", "restart", "loop", "wd_miner", "wd_reboot", "card")
        return "".join(f"{name}={getattr(self, name)}\n" for name in names)


REAL: Final = Night()
COMPRESSED: Final = Night(silence=5, restart=1, loop=2, wd_miner=20, wd_reboot=40, card=40, cron_minutes=1)


@dataclass(frozen=True, slots=True)
class Layout:
    """What of a system is no plain file: its miner, links, the owner of its files, and its crontab."""

    miner: str
    links: Mapping[str, str] = field(default_factory=dict)
    owner: str | None = None
    owned: str | None = None
    crontab: tuple[str, str] | None = None
    """A file of the system, and whose crontab it is."""
    package: str | None = None
    """The system's own Debian package and its version."""


SYSTEMS: Final[Mapping[str, Layout]] = {
    "hiveos": Layout(
        miner="hive/miners/zx9/zx9",
        links={
            "usr/lib/systemd/system/hive.service": "/hive/etc/hive.service",
            "usr/lib/systemd/system/hive-watchdog.service": "/hive/etc/hive-watchdog.service",
            # As systemd enables a unit that is a link to a file outside of its own folders.
            "etc/systemd/system/hive.service": "/hive/etc/hive.service",
            f"{_WANTS}/hive.service": "/hive/etc/hive.service",
            "etc/environment": "/hive/etc/environment",
        },
        crontab=("hive/etc/crontab.root", "root"),
        package="hive 0.6-201",
    ),
    "minerstat": Layout(
        miner="home/minerstat/minerstat-os/clients/zx9/zx9",
        owner="minerstat",
        owned="home/minerstat",
        crontab=("home/minerstat/minerstat-os/core/minerstat", "minerstat"),
    ),
    "simplemining": Layout(miner="root/miner/zx9/zx9"),
    "mmpos": Layout(
        miner="opt/mmp/miners/zx9/zx9",
        links={f"{_WANTS}/mmp-agent.service": "/etc/systemd/system/mmp-agent.service"},
    ),
    "plain": Layout(
        miner="home/rigger/rig/zx9",
        owner="rigger",
        owned="home/rigger",
        crontab=("home/rigger/crontab", "rigger"),
    ),
}
"""By the name of the folder."""


def install(system: str, root: Path, night: Night = COMPRESSED, *, has_card: bool = True) -> None:
    """Put a system into a root file system with cron and screen; it mines from the next boot on."""
    layout = SYSTEMS[system]
    (root / "var/lib/fixture").mkdir(mode=0o777)
    (root / "var/lib/fixture").chmod(0o777)
    (root / "etc/fixture-seconds").write_text(night.text)
    if has_card:
        (root / "etc/fixture-card").touch()
    common = {f"{_WANTS}/fixture-card.service": "/etc/systemd/system/fixture-card.service"}
    for folder, links in (("common", common), (system, layout.links)):
        _copy(_HERE / folder, root)
        for name, target in links.items():
            _link(root / name, target)
    shutil.copy(root / SLEEP, _new(root / layout.miner))
    if layout.owner is not None and layout.owned is not None:
        _add_user(root, layout.owner, layout.owned)
    if layout.crontab is not None:
        _install_crontab(root, *layout.crontab, night.cron_minutes)
    if layout.package is not None:
        _register_package(root, *layout.package.split())


def _copy(tree: Path, root: Path) -> None:
    for source in sorted(path for path in tree.rglob("*") if path.is_file()):
        content = source.read_bytes()
        place = _new(root / source.relative_to(tree))
        place.write_bytes(content)
        place.chmod(0o755 if content.startswith(b"#!") else 0o644)


def _new(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _link(place: Path, target: str) -> None:
    _new(place).unlink(missing_ok=True)
    place.symlink_to(target)


def _add_user(root: Path, name: str, home: str) -> None:
    for file, line in (
        ("passwd", f"{name}:x:{_OWNER_ID}:{_OWNER_ID}::/{home}:/bin/bash"),
        ("group", f"{name}:x:{_OWNER_ID}:"),
        ("shadow", f"{name}:*:19000:0:99999:7:::"),
    ):
        with (root / "etc" / file).open("a") as accounts:
            accounts.write(f"{line}\n")
    for place in (root / home, *(root / home).rglob("*")):
        os.chown(place, _OWNER_ID, _OWNER_ID)


def _install_crontab(root: Path, file: str, user: str, minutes: int) -> None:
    source = root / file
    source.write_text(source.read_text().replace("*/10 ", "* " if minutes == 1 else f"*/{minutes} "))
    table = _new(root / _CRONTABS / user)
    shutil.copy(source, table)
    table.chmod(0o600)
    if user != "root":
        groups = [line.split(":") for line in (root / "etc/group").read_text().splitlines()]
        os.chown(table, _OWNER_ID, next(int(group[2]) for group in groups if group[0] == "crontab"))


def _register_package(root: Path, name: str, version: str) -> None:
    fields = {
        "Package": name,
        "Status": "install ok installed",
        "Maintainer": "nobody <nobody@rig.example>",
        "Architecture": "amd64",
        "Version": version,
        "Description": "stands for the system's own",
    }
    with (root / "var/lib/dpkg/status").open("a") as status:
        status.write("\n" + "".join(f"{key}: {value}\n" for key, value in fields.items()))
