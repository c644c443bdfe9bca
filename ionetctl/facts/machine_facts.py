"""Builds ``MachineFacts`` from a survey's draft. Pure.

A value without a record is ``None``, never zero; a list is empty only where the survey reported it as complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, get_args

from ionetctl.core.observed import CgroupVersion, Driver, MachineFacts
from ionetctl.facts.survey_draft import number
from ionetctl.facts.survey_records import UUID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.facts.survey_draft import Draft

_KIB_PER_MIB: Final = 1024
_CGROUPS: Final[tuple[CgroupVersion, ...]] = get_args(CgroupVersion)
_Item = TypeVar("_Item")


def _uuid(text: str) -> str | None:
    """What firmware gives as a UUID, if it is one."""
    return text if UUID.fullmatch(text) else None


def machine_facts(draft: Draft) -> MachineFacts:
    """The facts of the machine, its network and its workloads."""
    texts, flags = draft.texts, draft.flags
    return MachineFacts(
        hostname=texts.get("hostname"),
        systemd_version=draft.numbers.get("systemd"),
        verifies_signatures=flags.get("sshsig"),
        cgroups=next((kind for kind in _CGROUPS if kind == texts.get("cgroups")), None),
        cgroup_controllers=draft.words.get("cgroup.controllers"),
        cpu_model=texts.get("cpu.model"),
        product=texts.get("product"),
        product_uuid=_uuid(texts.get("product-uuid", "").lower()),
        virtualization=texts.get("virtualization"),
        swap_mib=mebibytes(draft, "swap.kib"),
        hugepages_mib=mebibytes(draft, "hugepages.kib"),
        has_mitigations=flags.get("mitigations"),
        is_on_stick=flags.get("stick"),
        unpartitioned_mib=mebibytes(draft, "unpartitioned.kib"),
        is_time_synchronized=flags.get("time.synchronized"),
        is_ntp_on=flags.get("time.service"),
        has_python=flags.get("python"),
        package_manager=texts.get("packages"),
        needs_reboot=flags.get("reboot"),
        modules=draft.words.get("modules"),
        docker=draft.docker,
        is_docker_podman=draft.flags.get("podman", False),
        is_docker_remapped=flags.get("docker.userns"),
        has_landlock=flags.get("landlock"),
        can_refuse_links=flags.get("nosymfollow"),
        loopback_ports=_loopback_ports(draft),
        toolkit_version=texts.get("toolkit"),
        cni_plugins=draft.words.get("cni"),
        driver=_driver(draft),
        gpus_on_bus=draft.numbers.get("gpu.bus"),
        xids=_complete(draft, "xids", draft.xids.values()),
        interfaces=_complete(draft, "interfaces", draft.interfaces.values()),
        reaches=tuple(draft.reaches.values()),
        firewalls=_complete(draft, "firewalls", draft.firewalls.values()),
        miners=_complete(draft, "miners", draft.miners),
        rig=draft.rig,
        mining_signs=_complete(draft, "mining", draft.mining_signs),
        watchdog_cards=tuple(draft.watchdog_cards),
        is_vpn_by_rig=flags.get("rig.vpn", False),
        ionet_workers=_complete(draft, "ionet", draft.ionet_workers),
        nomad_region=texts.get("nomad.region"),
        nomad_drivers=draft.words.get("nomad.drivers"),
    )


def mebibytes(draft: Draft, key: str) -> int | None:
    """A number of KiB in MiB, rounded down; ``None`` where there is no record of it."""
    kib = draft.numbers.get(key)
    return None if kib is None else kib // _KIB_PER_MIB


def _loopback_ports(draft: Draft) -> tuple[int, ...] | None:
    ports = draft.words.get("loopback")
    return None if ports is None else tuple(sorted(number("loopback", port) for port in ports))


def _driver(draft: Draft) -> Driver:
    modules = draft.words.get("modules")
    return Driver(
        module_version=draft.texts.get("driver.module"),
        library_version=draft.texts.get("driver.library"),
        package=draft.texts.get("driver.package"),
        held=draft.words.get("driver.held"),
        is_run_file=draft.flags.get("driver.run-file"),
        is_nouveau_loaded=None if modules is None else "nouveau" in modules,
        is_secure_boot_on=draft.flags.get("secure-boot"),
    )


def _complete(draft: Draft, name: str, items: Iterable[_Item]) -> tuple[_Item, ...] | None:
    """The items, or ``None`` where there are none and the list was not reported as complete."""
    found = tuple(items)
    return found if found or name in draft.looked else None
