"""Preparations that a host needs before it can be enrolled: what the inventory asks for, minus what the host has.

Pure. For a prepared host there are none, so that a second run changes nothing. A preparation is planned only for what
the survey found; where a fact is unknown nothing is changed. ``remote/prepare.sh`` carries the preparations out, its
input records are described in ``docs/reference/preparations.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.core import host_paths
from ionetctl.core.model.plan import Action, Change
from ionetctl.mining import PLAIN, system_of
from ionetctl.plan.bundle import sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.observed import Firewall, MachineFacts

STOP_MINER: Final = "stop_miner"
TIME_SYNC: Final = "time_sync"
MODULES: Final = "modules"
DOCKER: Final = "docker"
DOCKER_USERNS: Final = "docker_userns"
DRIVER: Final = "driver"
CONTAINER_TOOLKIT: Final = "container_toolkit"
CNI: Final = "cni"
FIREWALL: Final = "firewall"
PERSISTENCE: Final = "persistence"

SEEN_AT_START: Final = frozenset({MODULES, DRIVER, CONTAINER_TOOLKIT, CNI})
"""Preparations whose effect a Nomad agent sees only after a restart: it fingerprints bridge, CNI and NVML at its start."""
INSTALLING: Final = frozenset({TIME_SYNC, DOCKER, DRIVER, CONTAINER_TOOLKIT, CNI})
"""The preparations that may install packages."""
KERNEL_MODULES: Final = ("bridge", "br_netfilter", "overlay")
"""What bridge networking and Docker's storage need; Nomad does not find Ubuntu 24.04's compressed modules by itself."""
MODULES_FILE: Final = "/etc/modules-load.d/ionet.conf"
MODULES_TEXT: Final = "# By ionetctl, for Nomad's bridge networks and Docker.\n" + "".join(
    f"{name}\n" for name in KERNEL_MODULES
)
CNI_PLUGINS: Final = ("bridge", "firewall", "host-local", "loopback", "portmap")
"""Those of the reference plugins that Nomad's bridge network calls (Nomad's CNI documentation)."""
RPC_PORT: Final = 4647
NVIDIA_RUNTIME: Final = "nvidia"

MINERS_PENDING: Final = f"{host_paths.OUR_DIR}/miners/pending"
"""Is there from the first change of a stop to the end of its watch."""
WATCH_MARGIN_S: Final = 60
"""How much longer than its slowest restart a mining system is watched: cron's minute, and what it then takes."""

Record = tuple[str, ...]
"""A line of the archive's member ``steps``: the step and its parameters."""


def surveyed_paths() -> tuple[str, ...]:
    """The files whose digest tells whether a host is prepared."""
    return MODULES_FILE, MINERS_PENDING


def needed_preparations(host: Host, facts: Facts) -> tuple[Change, ...]:
    """The preparations that the inventory asks for and the host lacks, in the order in which they are done."""
    reasons = ((name, reason_of(host, facts)) for name, reason_of in _REASONS.items())
    return tuple(Change(Action.PREPARE, name, reason) for name, reason in reasons if reason)


def step_records(host: Host, facts: Facts, changes: Iterable[Change]) -> tuple[Record, ...]:
    """The records that carry out ``changes``."""
    return tuple(record for change in changes for record in _records(change.path, host, facts))


def _records(name: str, host: Host, facts: Facts) -> tuple[Record, ...]:
    match name:
        case "driver":
            return ((DRIVER, host.prepare.driver or ""),)
        case "firewall":
            kinds = dict.fromkeys(firewall.kind for firewall in _blocking(facts))
            return tuple((FIREWALL, kind, str(RPC_PORT)) for kind in kinds)
        case "stop_miner":
            return (*_rig_records(host, facts.machine), *_miner_records(facts.machine), (STOP_MINER,))
        case _:
            return ((name,),)


def _rig_records(host: Host, machine: MachineFacts) -> Iterator[Record]:
    """What the table says of the mining system, as far as the script needs it."""
    system = system_of(machine.rig) or PLAIN
    yield from (("home", path) for path in system.homes)
    yield from (("spare", text) for text in system.spared)
    yield from (("screen", name) for name in system.screens)
    yield from (("own_stop", command) for command in system.stop_commands)
    yield from (("start_file", path) for path in system.start_files)
    if system.hold_file:
        yield "hold", system.hold_file
    yield from (("card", c.process, c.command) for c in system.cards if c.process in machine.watchdog_cards)
    if system.vpn_unit and machine.is_vpn_by_rig:
        yield "vpn", system.vpn_unit
    if system.loads_driver:
        yield ("gpu_modules",)
    # What somebody set on a host of their own, such as limits of a machine room, is not a mining system's.
    if system is not PLAIN:
        yield "overclocks", host.prepare.overclocks or "reset"
    yield "watch", str(system.restart_s + WATCH_MARGIN_S)


def _miner_records(machine: MachineFacts) -> Iterator[Record]:
    """Miners that run, and units and start files that were seen to start one; those whose name would break a record are left out."""
    found = [("miner", miner.name, miner.unit or "-") for miner in machine.miners or ()]
    found += [("miner", "-", sign.name) for sign in machine.mining_signs or () if sign.kind == "unit"]
    signs = [("start_file", sign.name) for sign in machine.mining_signs or () if sign.kind == "start_file"]
    yield from (record for record in (*found, *signs) if all(field.isprintable() for field in record))


# --- the reason why each of them is needed; empty where it is not ---------------------------------------------------------------


def _stop_miner(host: Host, facts: Facts) -> str:
    """Needed while anything mines or will start a miner, and where an earlier stop was cut off.

    A system that nobody knows how to stop is left alone.
    """
    machine = facts.machine
    miners, signs = machine.miners or (), machine.mining_signs or ()
    system = system_of(machine.rig)
    is_unknown = machine.rig is not None and (system is None or not system.is_known)
    if not host.prepare.stop_miner or is_unknown:
        return ""
    if not miners and not signs:
        return "was cut off before its end" if MINERS_PENDING in facts.files else ""
    names = [machine.rig.system] if machine.rig else [each.name for each in miners or signs]
    is_mining = bool(miners) or any(sign.kind in {"process", "screen"} for sign in signs)
    what = f"{', '.join(dict.fromkeys(names))} {'mines' if is_mining else 'will mine'}"
    watch_s = (system or PLAIN).restart_s + WATCH_MARGIN_S
    return f"{what}; it is stopped, watched for {watch_s} s, and can be put back"


def _time_sync(host: Host, facts: Facts) -> str:
    machine = facts.machine
    if not host.prepare.time_sync or machine.is_time_synchronized is not False or machine.is_ntp_on:
        return ""
    return "nothing keeps the clock right"


def _modules(host: Host, facts: Facts) -> str:
    loaded = facts.machine.modules
    if not host.prepare.modules or loaded is None:
        return ""
    missing = [name for name in KERNEL_MODULES if name not in loaded]
    if missing:
        return f"{', '.join(missing)} not loaded"
    found = facts.files.get(MODULES_FILE)
    if found is None or found.digest != sha256(MODULES_TEXT.encode()):
        return "loaded now, and not for sure at the next boot"
    return ""


def _docker(host: Host, facts: Facts) -> str:
    if not host.prepare.docker:
        return ""
    docker = facts.machine.docker
    if docker is None:
        return "is not installed"
    return "" if docker.version else "is installed and does not answer"


def _docker_userns(host: Host, facts: Facts) -> str:
    """Needed where a Docker is known not to map users, and on a host that is given one now."""
    if not host.prepare.docker_userns or facts.machine.is_docker_remapped:
        return ""
    if facts.machine.docker is None and not host.prepare.docker:
        return ""
    return (
        "containers are given users of their own: Docker is restarted, unless containers run, "
        "and sees neither the images nor the containers that it has now"
    )


def _driver(host: Host, facts: Facts) -> str:
    wanted = host.prepare.driver
    driver = facts.machine.driver
    if wanted is None or driver.is_run_file or not _has_gpus(host, facts):
        return ""
    loaded = driver.module_version
    if loaded is None:
        return f"no NVIDIA driver is loaded; {wanted} is asked for"
    if _major(loaded) < _major(wanted):
        return f"{loaded} is loaded; {wanted} is asked for"
    if driver.library_version not in {None, loaded}:
        return f"{loaded} is loaded, and {driver.library_version} installed since"
    return ""


def _container_toolkit(host: Host, facts: Facts) -> str:
    if not host.prepare.container_toolkit or not _has_gpus(host, facts):
        return ""
    if facts.machine.toolkit_version is None:
        return "is not installed"
    docker = facts.machine.docker
    if docker and docker.version and NVIDIA_RUNTIME not in docker.runtimes:
        return f"Docker does not know the runtime {NVIDIA_RUNTIME}"
    return ""


def _cni(host: Host, facts: Facts) -> str:
    present = facts.machine.cni_plugins or ()
    missing = [name for name in CNI_PLUGINS if name not in present]
    return f"{', '.join(missing)} missing in /opt/cni/bin" if host.prepare.cni and missing else ""


def _firewall(host: Host, facts: Facts) -> str:
    kinds = [firewall.kind for firewall in _blocking(facts)]
    if not host.prepare.firewall or not kinds:
        return ""
    return f"{', '.join(dict.fromkeys(kinds))} keeps TCP {RPC_PORT} from leaving"


def _persistence(host: Host, facts: Facts) -> str:
    lazy = [str(gpu.index) for gpu in facts.gpus or () if gpu.is_persistent is False]
    return f"off on GPU {', '.join(lazy)}" if host.prepare.persistence and lazy else ""


_REASONS: Final[dict[str, Callable[[Host, Facts], str]]] = {
    # In this order: no process uses the GPUs when the driver is changed, the clock is right when package signatures are
    # verified, and Docker is installed before a runtime is added to its configuration.
    STOP_MINER: _stop_miner,
    TIME_SYNC: _time_sync,
    FIREWALL: _firewall,
    MODULES: _modules,
    DRIVER: _driver,
    DOCKER: _docker,
    CONTAINER_TOOLKIT: _container_toolkit,
    DOCKER_USERNS: _docker_userns,
    CNI: _cni,
    PERSISTENCE: _persistence,
}


def _blocking(facts: Facts) -> list[Firewall]:
    firewalls = facts.machine.firewalls or ()
    return [each for each in firewalls if each.blocks_outbound and each.allows_rpc is False]


def _has_gpus(host: Host, facts: Facts) -> bool:
    """Whether the host has GPUs: by the inventory, else by its PCI bus or the probe."""
    if host.gpus.count is not None:
        return host.gpus.count > 0
    return bool(facts.machine.gpus_on_bus or facts.gpus)


def _major(version: str) -> int:
    digits = version.partition(".")[0].partition("-")[0]
    return int(digits) if digits.isdecimal() else 0
