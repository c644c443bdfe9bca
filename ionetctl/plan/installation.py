"""What an apply leaves on a host, to be kept, and the facts that a later change is planned from without looking at the host. Pure.

Of the machine only what a bundle is made of is kept: as it was when the host was last enrolled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.core import host_paths
from ionetctl.core.model.facts import Facts, NomadState, RemoteFile
from ionetctl.core.model.installed import Installed, InstalledFile, InstalledGpu
from ionetctl.core.model.names import Digest
from ionetctl.core.model.plan import Kind
from ionetctl.core.observed import Driver, MachineFacts, MigInstance, Rig, SeenGpu

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ionetctl.core.model.names import NodeId
    from ionetctl.core.model.plan import Bundle

RECORD: Final = "what was recorded when it was last enrolled"


def has_door(bundle: Bundle) -> bool:
    """Whether a host with this bundle can be changed through its region."""
    return any(file.path == host_paths.MAINTENANCE_SCRIPT for file in bundle.files)


def installation(
    bundle: Bundle, facts: Facts, manifest: Mapping[str, Digest], drivers: Sequence[str]
) -> Installed:
    """What lies on a host that has its bundle and that manifest; ``drivers`` are those that jobs may use."""
    machine = facts.machine
    return Installed(
        files=tuple(
            InstalledFile(file.path, manifest.get(file.path, Digest("")), file.mode, file.owner)
            for file in bundle.files
            if file.kind is not Kind.LINK
        ),
        links={file.path: file.target for file in bundle.files if file.kind is Kind.LINK},
        architecture=facts.architecture,
        form=facts.best_form,
        os_id=facts.os_id,
        os_version=facts.os_version,
        machine_id=facts.machine_id,
        memory_mib=facts.memory_mib,
        gpus=None if facts.gpus is None else tuple(map(_gpu, facts.gpus)),
        driver=machine.driver.module_version or facts.driver_version,
        cuda=facts.cuda_version,
        cpu=machine.cpu_model,
        product=machine.product,
        virtualization=machine.virtualization,
        rig=(machine.rig.system, machine.rig.rig_id, machine.rig.rig_name) if machine.rig else None,
        drivers=tuple(drivers),
    )


def facts_of(installed: Installed, node_id: NodeId, stamp: str, allocations: int) -> Facts:
    """What a survey would find on a host whose agent runs with that stamp, as far as a bundle and a plan need it."""
    kept = installed
    return Facts(
        os_id=kept.os_id,
        os_version=kept.os_version,
        os_name="",
        kernel="",
        architecture=kept.architecture,
        init="systemd",
        is_root=True,
        clock_offset_s=None,
        machine_id=kept.machine_id,
        boot_id=None,
        cpu_cores=None,
        memory_mib=kept.memory_mib,
        disks=(),
        gpus=None if kept.gpus is None else tuple(map(_seen, kept.gpus)),
        gpu_source=RECORD,
        nomad=_running(node_id, stamp, allocations),
        files={file.path: RemoteFile(file.path, file.digest, file.mode, file.owner) for file in kept.files},
        links=kept.links,
        manifest={file.path: file.digest for file in kept.files if file.digest},
        node_certificate=None,
        best_form=kept.form,
        machine=MachineFacts(
            verifies_signatures=True,
            cpu_model=kept.cpu,
            product=kept.product,
            virtualization=kept.virtualization,
            driver=Driver(kept.driver),
            rig=Rig(kept.rig[0], rig_id=kept.rig[1], rig_name=kept.rig[2]) if kept.rig else None,
            nomad_drivers=kept.drivers,
        ),
        driver_version=kept.driver,
        cuda_version=kept.cuda,
    )


def _running(node_id: NodeId, stamp: str, allocations: int) -> NomadState:
    return NomadState(
        is_ours=True,
        active="active",
        is_enabled=True,
        is_running=True,
        agent_version=None,
        node_id=node_id,
        stamp=stamp,
        has_introduction_token=False,
        allocations=allocations,
        is_interrupted=False,
    )


def _gpu(seen: SeenGpu) -> InstalledGpu:
    mig = tuple((part.uuid, part.profile) for part in seen.mig)
    power_w = seen.power_default_w or seen.power_limit_w
    return InstalledGpu(seen.index, seen.name, seen.uuid, seen.memory_mib, power_w, mig)


def _seen(kept: InstalledGpu) -> SeenGpu:
    mig = tuple(MigInstance(uuid, profile) for uuid, profile in kept.mig)
    return SeenGpu(
        kept.index,
        kept.name,
        kept.uuid,
        kept.memory_mib,
        power_default_w=kept.power_w,
        mig=mig,
        is_mig_on=bool(mig) or None,
    )
