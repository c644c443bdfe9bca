"""Parses the survey's records, one at a time, into a ``Draft``. Pure; the input is not trusted.

A new kind of record is a function and a row in ``_RECORDS``, or a name in one of the lists before it; ``survey_output``
and ``machine_facts`` build the facts from the draft.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, get_args

from ionetctl.core.model.facts import Disk, RemoteFile
from ionetctl.core.model.names import Digest
from ionetctl.core.observed import (
    CgroupVersion,
    Docker,
    Firewall,
    FirewallKind,
    Interface,
    MiningSign,
    MiningSignKind,
    Reach,
    ReachFailure,
    Rig,
    Workload,
    Xid,
)
from ionetctl.facts.survey_draft import (
    add,
    chosen,
    clean,
    flag,
    flag_or_none,
    malformed,
    matched,
    number,
    number_or_none,
    path,
    put,
    words,
)
from ionetctl.mining import SYSTEMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ionetctl.facts.survey_draft import Draft

LINE_LIMIT: Final = 4096
UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CONFIG_LIMIT: Final = 256
_CERTIFICATE_LIMIT: Final = 2048
_LIST_LIMIT: Final = 64

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{1,1024}={0,2}")
_MODE: Final = re.compile(r"[0-7]{4}")
_OWNER: Final = re.compile(r"[^\s:]{1,64}:[^\s:]{1,64}")
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5,19}")
_PCI: Final = re.compile(r"[0-9A-Fa-f:.]{1,16}")
_MILLISECONDS: Final = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?")
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}(%[\w.@-]{1,32})?", re.ASCII)
_HOST: Final = re.compile(r"[0-9A-Za-z_.:-]{1,253}")
_PORT_MOST: Final = 65535


def take(draft: Draft, line: str) -> None:
    """Add one record to the draft.

    Raises ``HostFailedError`` (``survey_malformed``), naming the field, for what the protocol does not allow.
    """
    key, *values = line.split("\t")
    if len(line) > LINE_LIMIT:
        raise malformed(key, "its line is too long")
    row = _RECORDS.get(key)
    if row is None:
        raise malformed(key, "nothing is known by that name")
    if len(values) != row.fields:
        raise malformed(key, f"{len(values)} values, not {row.fields}")
    # Paths, owners, digests and versions are those of 10,000 other hosts: one text in memory for all of them.
    row.take(draft, key, [sys.intern(value) for value in values])


# --- one function for each kind of record ---


def _text(draft: Draft, key: str, values: list[str]) -> None:
    put(draft.texts, key, key, clean(values[0]))


def _number(draft: Draft, key: str, values: list[str]) -> None:
    put(draft.numbers, key, key, number(key, values[0]))


def _flag(draft: Draft, key: str, values: list[str]) -> None:
    put(draft.flags, key, key, flag(key, values[0]))


def _words(draft: Draft, key: str, values: list[str]) -> None:
    put(draft.words, key, key, words(key, values[0]))


def _looked(draft: Draft, key: str, values: list[str]) -> None:
    draft.looked.add(chosen(key, values[0], _LISTS))


def _disk(draft: Draft, key: str, values: list[str]) -> None:
    place, available, kind, options, mount = values
    flags = options.split(",")
    disk = Disk(
        path=path(key, place),
        available_mib=number(key, available),
        kind=clean(kind),
        is_read_only="ro" in flags,
        is_noexec="noexec" in flags,
        mount=clean(mount),
        remounts_read_only="errors=remount-ro" in flags,
    )
    # Docker's directory may be one of the paths that are surveyed anyway.
    draft.disks.setdefault(disk.path, disk)
    if len(draft.disks) > _DISK_LIMIT:
        raise malformed(key, f"more than {_DISK_LIMIT} of them")


def _tool(draft: Draft, key: str, values: list[str]) -> None:
    name = clean(values[0])
    put(draft.tools, name, key, name)


def _config(draft: Draft, key: str, values: list[str]) -> None:
    if values[0] in draft.config_files:
        raise malformed(key, "given twice")
    add(draft.config_files, key, path(key, values[0]), limit=_CONFIG_LIMIT)


def _file(draft: Draft, key: str, values: list[str]) -> None:
    digest, mode, owner, place = values
    file = RemoteFile(
        path=path(key, place),
        digest=Digest(matched(key, digest, _DIGEST)),
        mode=int(matched(key, mode, _MODE), 8),
        owner=clean(matched(key, owner, _OWNER)),
    )
    put(draft.files, file.path, key, file, limit=512)


def _link(draft: Draft, key: str, values: list[str]) -> None:
    target, place = values
    put(draft.links, path(key, place), key, clean(target), limit=512)


def _manifest(draft: Draft, key: str, values: list[str]) -> None:
    digest, place = values
    put(draft.manifest, path(key, place), key, Digest(matched(key, digest, _DIGEST)), limit=1024)


def _cert(draft: Draft, key: str, values: list[str]) -> None:
    add(draft.certificate, key, values[0], limit=_CERTIFICATE_LIMIT)


def _key(draft: Draft, key: str, values: list[str]) -> None:
    put(draft.texts, key, key, matched(key, values[0], _BASE64))


def _lock(draft: Draft, key: str, values: list[str]) -> None:
    if draft.lock is not None:
        raise malformed(key, "given twice")
    draft.lock = (clean(values[0]), clean(values[1]), clean(values[2]))


def _cgroups(draft: Draft, key: str, values: list[str]) -> None:
    put(draft.texts, key, key, chosen(key, values[0], get_args(CgroupVersion)))


def _docker(draft: Draft, key: str, values: list[str]) -> None:
    version, driver, cgroups, root, runtimes, default, snap = values
    if draft.docker is not None:
        raise malformed(key, "given twice")
    draft.docker = Docker(
        version=clean(version) or None,
        cgroup_driver=clean(driver) or None,
        cgroup_version=clean(cgroups) or None,
        root_dir=clean(root) or None,
        runtimes=words(key, runtimes),
        default_runtime=clean(default) or None,
        is_snap=flag(key, snap),
    )


def _xid(draft: Draft, key: str, values: list[str]) -> None:
    code, bus, count = values
    xid = Xid(number(key, code), bus and matched(key, bus, _PCI), number(key, count))
    put(draft.xids, (xid.code, xid.pci_bus_id), key, xid, limit=_LIST_LIMIT)


def _interface(draft: Draft, key: str, values: list[str]) -> None:
    name, mac, mtu, is_up, speed, has_route = values
    interface = Interface(
        name=clean(name),
        mac=matched(key, mac, _MAC),
        mtu=number_or_none(key, mtu),
        is_up=flag_or_none(key, is_up),
        speed_mbps=number_or_none(key, speed),
        has_default_route=flag(key, has_route),
    )
    put(draft.interfaces, interface.name, key, interface, limit=_LIST_LIMIT)


def _reach(draft: Draft, key: str, values: list[str]) -> None:
    host, port, rtt, failure, local, peer = values
    if bool(rtt) == bool(failure):
        raise malformed(key, "either a time or a failure is to be given")
    reach = Reach(
        host=matched(key, host, _HOST),
        port=number(key, port),
        rtt_ms=float(matched(key, rtt, _MILLISECONDS)) if rtt else None,
        failure=chosen(key, failure, _REACH_FAILURES) if failure else None,
        local_address=matched(key, local, _ADDRESS) if local else None,
        peer_address=matched(key, peer, _ADDRESS) if peer else None,
    )
    if reach.port > _PORT_MOST:
        raise malformed(key, f"there is no port {reach.port}")
    put(draft.reaches, (reach.host, reach.port), key, reach, limit=_LIST_LIMIT)


def _firewall(draft: Draft, key: str, values: list[str]) -> None:
    kind, blocks, allows = values
    firewall = Firewall(
        kind=chosen(key, kind, _FIREWALLS),
        blocks_outbound=flag_or_none(key, blocks),
        allows_rpc=flag_or_none(key, allows),
    )
    put(draft.firewalls, firewall.kind, key, firewall)


def _workload(key: str, values: list[str]) -> Workload:
    name, pid, unit = values
    return Workload(clean(name), number_or_none(key, pid), clean(unit) or None)


def _miner(draft: Draft, key: str, values: list[str]) -> None:
    add(draft.miners, key, _workload(key, values), limit=_WORKLOAD_LIMIT)


def _rig(draft: Draft, key: str, values: list[str]) -> None:
    system, version, rig_id, rig_name = values
    if draft.rig is not None:
        raise malformed(key, "given twice")
    draft.rig = Rig(
        system=chosen(key, system, SYSTEMS),
        version=clean(version) or None,
        rig_id=clean(rig_id) or None,
        rig_name=clean(rig_name) or None,
    )


def _mining_sign(draft: Draft, key: str, values: list[str]) -> None:
    kind, name = values
    add(draft.mining_signs, key, MiningSign(chosen(key, kind, _SIGNS), clean(name)), limit=_WORKLOAD_LIMIT)


def _watchdog_card(draft: Draft, key: str, values: list[str]) -> None:
    add(draft.watchdog_cards, key, clean(values[0]), limit=_WORKLOAD_LIMIT)


def _ionet(draft: Draft, key: str, values: list[str]) -> None:
    add(draft.ionet_workers, key, _workload(key, values), limit=_WORKLOAD_LIMIT)


@dataclass(frozen=True, slots=True)
class _Record:
    """The parser of a record, and its number of values."""

    take: Callable[[Draft, str, list[str]], None]
    fields: int


_TEXTS: Final = (
    "os.id os.version os.name kernel arch init machine-id boot-id nomad.active nomad.enabled "
    "nomad.version nomad.client-id nomad.stamp nomad.region hostname cpu.model product product-uuid virtualization packages "
    "toolkit driver.module driver.library driver.package"
)
_NUMBERS: Final = (
    "uid time cpu.cores memory.kib swap.kib hugepages.kib unpartitioned.kib systemd gpu.bus nomad.process nomad.token "
    "nomad.allocations ours interrupted fence"
)
_FLAGS: Final = "time.synchronized time.service python reboot mitigations stick podman docker.userns landlock nosymfollow driver.run-file secure-boot rig.vpn sshsig"
_WORDS: Final = "cgroup.controllers modules cni driver.held nomad.drivers loopback"
_LISTS: Final = ("xids", "interfaces", "firewalls", "miners", "mining", "ionet")
"""The values that ``looked`` may have."""

_DISK_LIMIT: Final = 16
_WORKLOAD_LIMIT: Final = 96
_FIREWALLS: Final[tuple[FirewallKind, ...]] = get_args(FirewallKind)
_SIGNS: Final[tuple[MiningSignKind, ...]] = get_args(MiningSignKind)
_REACH_FAILURES: Final[tuple[ReachFailure, ...]] = get_args(ReachFailure)
_RECORDS: Final[dict[str, _Record]] = {
    **{key: _Record(_text, 1) for key in _TEXTS.split()},
    **{key: _Record(_number, 1) for key in _NUMBERS.split()},
    **{key: _Record(_flag, 1) for key in _FLAGS.split()},
    **{key: _Record(_words, 1) for key in _WORDS.split()},
    "looked": _Record(_looked, 1),
    "disk": _Record(_disk, 5),
    "tool": _Record(_tool, 1),
    "nomad.config": _Record(_config, 1),
    "file": _Record(_file, 4),
    "link": _Record(_link, 2),
    "manifest": _Record(_manifest, 2),
    "cert": _Record(_cert, 1),
    "key": _Record(_key, 1),
    "lock": _Record(_lock, 3),
    "cgroups": _Record(_cgroups, 1),
    "docker": _Record(_docker, 7),
    "xid": _Record(_xid, 3),
    "interface": _Record(_interface, 6),
    "reach": _Record(_reach, 6),
    "firewall": _Record(_firewall, 3),
    "miner": _Record(_miner, 3),
    "rig": _Record(_rig, 4),
    "mining-sign": _Record(_mining_sign, 2),
    "watchdog-card": _Record(_watchdog_card, 1),
    "ionet": _Record(_ionet, 3),
}
RECORD_NAMES: Final = frozenset(_RECORDS)
