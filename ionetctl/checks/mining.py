"""Checks of mining: systems made for it, what starts a miner, and whether the rig is the one that the inventory means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import Code, found, listed
from ionetctl.core.model.outcome import Severity
from ionetctl.mining import SYSTEMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding
    from ionetctl.core.observed import MiningSign, Rig, Workload

MINER_RUNNING: Final = Code(
    "miner_running",
    Severity.BLOCK,
    "a miner runs, or will be started",
    looks_at=(
        "Processes by the names of known miners; where no mining system lies there, also screens, and units and crontabs that "
        "start one."
    ),
    matters="It takes the cards that jobs are paid for: jobs run out of memory or at a fraction of their speed.",
    remedy="stop and disable the miner, or prepare: {stop_miner: true}, which can be undone",
    mended_by="stop_miner",
)

MINING_OS: Final = Code(
    "mining_os",
    Severity.BLOCK,
    "a mining system will start its miner again",
    looks_at=(
        f"What {listed(SYSTEMS)} leave on a disk; the units, lines of "
        "crontabs, start files, screens and processes that lead there; and what the panel calls the rig. Info where nothing "
        "starts the miner any more."
    ),
    matters="A miner that is stopped by hand comes back within minutes, and a watchdog reboots a rig that does not mine.",
    remedy="stop it for good by prepare: {stop_miner: true}, which can be undone, or install a plain Ubuntu or Debian",
    mended_by="stop_miner",
)

MINING_OS_UNKNOWN: Final = Code(
    "mining_os_unknown",
    Severity.BLOCK,
    "a mining system of which nobody knows how to stop it",
    looks_at="What mining systems leave on a disk of which no public source says what starts their miners.",
    matters="Nobody says what starts its miner again, so that a preparation could not promise that it stays away.",
    remedy="install a plain Ubuntu or Debian; or stop the miner yourself, watch it for a night, and waive this check",
)

RIG_MISMATCH: Final = Code(
    "rig_mismatch",
    Severity.BLOCK,
    "the host is another rig than the inventory says",
    looks_at="rig.id and rig.name of the inventory, against what the mining system's own configuration has.",
    matters="The address leads to another machine than meant: its stick or its lease was exchanged.",
    remedy="put the address right, or rig: in the inventory; the panel shows which rig has which address",
)


def mining_systems(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether a mining system lies on the host, and what it will do unless it is stopped for good."""
    rig = facts.machine.rig
    if rig is None:
        return
    system = SYSTEMS[rig.system]
    if not system.is_known:
        yield found(MINING_OS_UNKNOWN, f"{_named_rig(rig)}: {listed(system.night)}")
    elif facts.machine.mining_signs == ():
        message = f"{_named_rig(rig)}: nothing starts its miner any more"
        hint = f"nothing to do here; {system.panel}, so that nobody starts it there"
        yield found(MINING_OS, message, hint=hint, severity=Severity.INFO)
    else:
        message = f"{_named_rig(rig)}: unless it is stopped for good, {listed(system.night)}"
        yield found(MINING_OS, message, hint=f"{system.panel}; then {MINING_OS.remedy}")


def miners(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the host mines. What starts a mining system's own miner is that system's finding."""
    machine = facts.machine
    starts = "" if machine.rig else ", ".join(sorted(map(_place, machine.mining_signs or ())))
    if machine.miners:
        by = f"; and it will be started by {starts}" if starts else ""
        yield found(MINER_RUNNING, f"a miner runs: {named_workloads(machine.miners)}{by}")
    elif starts:
        yield found(MINER_RUNNING, f"a miner will be started by {starts}")


def rig_identity(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the host is the rig that the inventory says, as far as both say one."""
    rig = facts.machine.rig
    if rig is None:
        return
    pairs = (("id", rig.rig_id, host.rig.id), ("name", rig.rig_name, host.rig.name))
    others = [
        f"its {what} is {_quoted(seen)}, not {_quoted(meant)}"
        for what, seen, meant in pairs
        if seen and meant and seen != meant
    ]
    if others:
        yield found(RIG_MISMATCH, f"{rig.system} calls it another rig: {listed(others)}")


def named_workloads(workloads: Iterable[Workload]) -> str:
    """Names in order, each once, with the units that they run in."""
    names = {f"{each.name} ({each.unit})" if each.unit else each.name for each in workloads}
    return ", ".join(sorted(names))


def _named_rig(rig: Rig) -> str:
    """The system and the host's name in its panel. What differs from rig to rig is quoted, so that like findings fold."""
    return f"{rig.system} {_quoted(rig.version)}, rig {_quoted(rig.rig_name or rig.rig_id)}"


def _quoted(text: str | None) -> str:
    inner = (text or "unknown").replace("'", "")
    return f"'{inner}'"


def _place(sign: MiningSign) -> str:
    kind = sign.kind.replace("_", " ")
    return f"{kind} {sign.name}"
