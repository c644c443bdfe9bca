"""What a survey's draft says of the machine around the GPUs. Pure.

What no record speaks of is ``None``, never zero or none; a list is empty only where the survey said that it looked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, get_args

from ionetctl.core.observed import CgroupVersion, Driver, MachineFacts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.facts.draft import Draft

_KIB_PER_MIB: Final = 1024
_CGROUPS: Final[tuple[CgroupVersion, ...]] = get_args(CgroupVersion)
_Item = TypeVar("_Item")


def machine_facts(draft: Draft) -> MachineFacts:
    """All that the draft says of the machine, its network and what it works for."""
    texts, flags = draft.texts, draft.flags
    return MachineFacts(
        hostname=texts.get("hostname"),
        systemd_version=draft.numbers.get("systemd"),
        cgroups=next((kind for kind in _CGROUPS if kind == texts.get("cgroups")), None),
        cgroup_controllers=draft.words.get("cgroup.controllers"),
        cpu_model=texts.get("cpu.model"),
        product=texts.get("product"),
        virtualization=texts.get("virtualization"),
        swap_mib=mebibytes(draft, "swap.kib"),
        hugepages_mib=mebibytes(draft, "hugepages.kib"),
        is_time_synchronized=flags.get("time.synchronized"),
        is_ntp_on=flags.get("time.service"),
        has_python=flags.get("python"),
        package_manager=texts.get("packages"),
        needs_reboot=flags.get("reboot"),
        modules=draft.words.get("modules"),
        docker=draft.docker,
        toolkit_version=texts.get("toolkit"),
        cni_plugins=draft.words.get("cni"),
        driver=_driver(draft),
        gpus_on_bus=draft.numbers.get("gpu.bus"),
        xids=_whole(draft, "xids", draft.xids.values()),
        interfaces=_whole(draft, "interfaces", draft.interfaces.values()),
        reaches=tuple(draft.reaches.values()),
        firewalls=_whole(draft, "firewalls", draft.firewalls.values()),
        miners=_whole(draft, "miners", draft.miners),
        ionet_workers=_whole(draft, "ionet", draft.ionet_workers),
        nomad_region=texts.get("nomad.region"),
    )


def mebibytes(draft: Draft, key: str) -> int | None:
    """A number of KiB in MiB, rounded down; ``None`` where it was not told."""
    kib = draft.numbers.get(key)
    return None if kib is None else kib // _KIB_PER_MIB


def _driver(draft: Draft) -> Driver:
    modules = draft.words.get("modules")
    return Driver(
        module_version=draft.texts.get("driver.module"),
        library_version=draft.texts.get("driver.library"),
        package=draft.texts.get("driver.package"),
        is_held=draft.flags.get("driver.held"),
        is_nouveau_loaded=None if modules is None else "nouveau" in modules,
        is_secure_boot_on=draft.flags.get("secure-boot"),
    )


def _whole(draft: Draft, name: str, items: Iterable[_Item]) -> tuple[_Item, ...] | None:
    """The items, or ``None`` where nobody looked and found none."""
    found = tuple(items)
    return found if found or name in draft.looked else None
