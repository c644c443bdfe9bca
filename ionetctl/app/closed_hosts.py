"""Hosts whose SSH is closed, in a rollout: nobody connects to them, and their regions are asked whether they are as they should be.

A host whose closing was cut off is tried with the key that was to be taken away and the account that had it, and with nothing else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ionetctl.app.verify import judge_hosts
from ionetctl.core.errors import HostError
from ionetctl.core.events import HostJudged, KeyClosed, SshOpened, Warned
from ionetctl.core.model.login_key import LoginKey
from ionetctl.core.model.outcome import Finding, Outcome, Problem, Result, Severity
from ionetctl.core.plural import counted
from ionetctl.core.versions import precedence_of_agent
from ionetctl.history.catalog import ClosureState
from ionetctl.host import outcomes
from ionetctl.rollout.endings import RESUME_HINT, Endings
from ionetctl.rollout.options import Goal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ionetctl.app.open_inventory import Site
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import HostName, RegionName
    from ionetctl.core.ports import Connector, Emit
    from ionetctl.history.catalog import Closure, NodeRecord
    from ionetctl.rollout.options import RolloutOptions
    from ionetctl.summary.fleet import Verdict

CLOSED: Final = "ssh_closed"
OUTDATED: Final = "closed_outdated"
HINT: Final = (
    "SSH was for the bootstrap only; to use it once more, have the key put back at the console, then enroll with "
    "--rebootstrap"
)


@dataclass(frozen=True, slots=True)
class ClosedHosts:
    """How they are settled in one rollout; ``nodes`` and ``closures`` are the catalog's."""

    site: Site
    emit: Emit
    options: RolloutOptions
    nodes: Mapping[tuple[RegionName, HostName], NodeRecord]
    closures: Mapping[tuple[HostName, str], Closure]
    """By name and address: what was closed is the server there."""

    def reached(self, hosts: Sequence[Host]) -> list[Host]:
        """The hosts that are connected to, in order: all but those that are closed."""
        return [
            host for host in hosts if self.options.rebootstrap or self._state(host) is not ClosureState.CLOSED
        ]

    def reopened(self, hosts: Sequence[Host]) -> frozenset[HostName]:
        """Those that the catalog knows as closed, and that are connected to all the same."""
        return frozenset(host.name for host in hosts if self.options.rebootstrap and self._state(host))

    async def look(self, hosts: Sequence[Host], connector: Connector) -> tuple[tuple[Host, Outcome], ...]:
        """Those that are closed, each with its outcome, which is not recorded yet; the others are left to the rollout."""
        is_open = {host.name for host in self.reached(hosts)}
        if not self.options.rebootstrap:
            cut_off = [host for host in hosts if self._state(host) is ClosureState.CLOSING]
            refused = await asyncio.gather(*(self._is_refused(host, connector) for host in cut_off))
            is_open -= {host.name for host, is_closed in zip(cut_off, refused, strict=True) if is_closed}
        closed = [host for host in hosts if host.name not in is_open]
        return tuple(zip(closed, await self._outcomes(closed), strict=True)) if closed else ()

    async def settle(self, found: Sequence[tuple[Host, Outcome]]) -> tuple[Outcome, ...]:
        """The outcomes that ``look`` found, recorded."""
        if not found:
            return ()
        settled = await self._finish(found)
        message = f"{counted(len(found), 'host')} closed to SSH: not connected to"
        if self.options.goal is not Goal.SURVEY:
            message = (
                f"{message}, {sum(outcome.problem is None for outcome in settled):,} verified by the region"
            )
        await self.emit(Warned(code=CLOSED, message=message, hint=HINT))
        return settled

    async def skip(self, hosts: Sequence[Host], message: str) -> tuple[Outcome, ...]:
        """The outcomes of those that are closed where the end came before anybody had looked, recorded."""
        is_open = {host.name for host in self.reached(hosts)}
        closed = [host for host in hosts if host.name not in is_open]
        return await self._finish(
            [(host, outcomes.skipped(host, "not_begun", message, RESUME_HINT)) for host in closed]
        )

    async def _finish(self, found: Sequence[tuple[Host, Outcome]]) -> tuple[Outcome, ...]:
        endings = Endings(self.emit)
        for host, outcome in found:
            await endings.finish(host, outcome)
        return tuple(outcome for _, outcome in found)

    async def _outcomes(self, closed: Sequence[Host]) -> tuple[Outcome, ...]:
        if self.options.goal is Goal.SURVEY:
            return tuple(outcomes.skipped(host, CLOSED, "it is closed to SSH", HINT) for host in closed)
        apis = {name: tools.trouble or tools.api for name, tools in self.site.regions.items()}
        releases = self.options.changes_hosts
        verdicts = await judge_hosts(closed, apis, self.site.inventory, self.nodes, releases=releases)
        found = tuple(zip(closed, verdicts, strict=True))
        for host, verdict in found:
            await self._report_outdated(host, verdict)
        return tuple(self._outcome(host, verdict) for host, verdict in found)

    async def _report_outdated(self, host: Host, verdict: Verdict) -> None:
        """Record where the node runs another Nomad than the inventory names, or still has a maintenance door or drivers that it does not name.

        The rest of its bundle takes a survey to know.
        """
        said = []
        nomad, version = self.site.inventory.nomad, verdict.version
        if version and precedence_of_agent(version) != precedence_of_agent(nomad.version):
            said.append(f"its node stays at Nomad {version}; the inventory names {nomad.version}")
        allowed = {*nomad.drivers, *(("exec",) if nomad.signers else ())}
        if beyond := sorted({*verdict.drivers} - allowed):
            of_door = " (a maintenance door needs it, and would stay open)" if "exec" in beyond else ""
            said.append(f"jobs may still use {', '.join(beyond)} there{of_door}")
        if said:
            findings = [
                Finding(OUTDATED, Severity.WARN, f"it is closed to SSH, and {one}", HINT) for one in said
            ]
            await self.emit(HostJudged(host=host.name, findings=tuple(findings)))

    def _outcome(self, host: Host, verdict: Verdict) -> Outcome:
        """What the catalog knows of the node stays known: nobody has looked at the host."""
        known = self.nodes.get((verdict.region, host.name))
        problem = None
        if verdict.code is not None:
            problem = Problem(
                verdict.code, "confirm", f"closed to SSH; {verdict.message}", HINT, int(verdict.exit_code)
            )
        return Outcome(
            host.name,
            host.address,
            verdict.region,
            host.datacenter,
            Result.UNVERIFIED if problem else Result.UNCHANGED,
            node_id=verdict.node_id,
            gpus_expected=outcomes.gpus_expected(host),
            gpus_seen=known.gpus_seen if known else None,
            problem=problem,
            stamp=known.stamp if known else "",
            gpus_probed=known.gpus_probed if known else None,
        )

    async def _is_refused(self, host: Host, connector: Connector) -> bool:
        """Whether a host whose closing was cut off is closed. One that cannot be tried is left to the survey."""
        closure = self._closure(host)
        if closure is None:
            return False
        key = LoginKey(*closure.key.split(" ", 1))
        # The account that had the key, whatever the inventory says by now: another one refuses it anyway.
        before = replace(host, ssh=replace(host.ssh, user=closure.account, become="auto"))
        try:
            async with connector.try_key(before, key) as session:
                is_refused = session is None
        except HostError:
            return False
        if is_refused:
            event = KeyClosed(host=host.name, account=closure.account, fingerprint=key.fingerprint)
            await self.emit(event)
        else:
            message = "an earlier run ended before it had taken the key away"
            await self.emit(SshOpened(host=host.name, cause="cut_off", message=message))
        return is_refused

    def _state(self, host: Host) -> ClosureState | None:
        closure = self._closure(host)
        return None if closure is None else closure.state

    def _closure(self, host: Host) -> Closure | None:
        return self.closures.get((host.name, host.address))
