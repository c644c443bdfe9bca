"""Looking at one host, read-only: the survey's script, then the GPU probe where there may be GPUs. Sees ports only."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ionetctl.checks import check_host
from ionetctl.core.errors import HostFailedError
from ionetctl.core.ports import Command
from ionetctl.facts.gpu_output import (
    PROBE_LIMIT_BYTES,
    needs_probe,
    parse_probe,
    promises_gpus,
    without_probe,
)
from ionetctl.facts.survey_output import SURVEY_LIMIT_BYTES, parse_survey, parted
from ionetctl.host.dependencies import NONCE_BYTES
from ionetctl.host.dialogue import last_error_line
from ionetctl.plan.bundle import node_name

if TYPE_CHECKING:
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding
    from ionetctl.core.observed import GpuReading
    from ionetctl.core.ports import Completed, Session
    from ionetctl.host.dependencies import Dependencies

LOCK_PAUSES_S: Final = (1.0, 2.0, 3.0, 4.0)
"""How long another apply on the same host is waited for before the host counts as held."""
NO_SERVERS: Final = "-"


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A host that was looked at. ``findings`` are those of the host alone."""

    host: Host
    node_name: str
    facts: Facts
    findings: tuple[Finding, ...]


class Surveyor:
    """How hosts are looked at in one rollout."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._deps = dependencies

    async def survey(self, host: Host, session: Session) -> Surveyed:
        """The host as it is; an apply that is at work there is given a while to end.

        It may be the rest of one whose controller was killed a moment ago: it ends as soon as it next looks up.
        Raises what the session raises, and ``HostFailedError`` for a host that cannot be understood.
        """
        for pause_s in LOCK_PAUSES_S:
            surveyed = await self._once(host, session)
            if not surveyed.facts.lock_owner:
                return surveyed
            await self._deps.clock.sleep(pause_s)
        return await self._once(host, session)

    async def survey_again(self, surveyed: Surveyed, session: Session) -> Surveyed:
        """The host with what a new probe says of its GPUs; all else is taken as it was. Raises as ``at`` does."""
        host = surveyed.host
        facts = with_reading(surveyed.facts, await self.gpus(host, session, surveyed.facts))
        return replace(surveyed, facts=facts, findings=check_host(host, facts, takeover=self._deps.takeover))

    async def gpus(self, host: Host, session: Session, facts: Facts) -> GpuReading:
        """The host's GPUs by a probe of their own; none is run where nothing can be there."""
        if not needs_probe(host, facts):
            return without_probe(facts)
        nonce = secrets.token_hex(NONCE_BYTES)
        argv = ("sh", "-c", self._deps.scripts.probe, "ionet-probe", nonce)
        completed = await self._run(session, argv, self._deps.scripts.probe_program, PROBE_LIMIT_BYTES)
        return parse_probe(completed.stdout, nonce)

    async def _once(self, host: Host, session: Session) -> Surveyed:
        """Survey and probe by one command."""
        nonce = secrets.token_hex(NONCE_BYTES)
        servers = ",".join(self._deps.servers_of(host)) or NO_SERVERS
        argv = ("sh", "-s", "--", nonce, servers, *self._deps.surveyed_paths)
        scripts = self._deps.scripts
        script = scripts.survey_promised if promises_gpus(host) else scripts.survey
        asked_at = self._deps.clock.now().timestamp()
        completed = await self._run(session, argv, script, SURVEY_LIMIT_BYTES + PROBE_LIMIT_BYTES)
        if completed.exit_status != 0:
            message = f"the survey ended with status {completed.exit_status}: {last_error_line(completed)}"
            raise HostFailedError("survey_failed", message, "log in by hand to see what the host says")
        survey, probe, probe_s = parted(completed.stdout, nonce)
        middle = (asked_at + self._deps.clock.now().timestamp() - probe_s) / 2
        facts = parse_survey(survey, nonce, controller_time=middle)
        reading = parse_probe(probe, nonce) if needs_probe(host, facts) else without_probe(facts)
        facts = replace(with_reading(facts, reading), host_key=session.host_key)
        findings = check_host(host, facts, takeover=self._deps.takeover)
        return Surveyed(host, node_name(host, facts, self._deps.naming), facts, findings)

    async def _run(
        self, session: Session, argv: tuple[str, ...], stdin: bytes, limit_bytes: int
    ) -> Completed:
        limits = self._deps.deadlines
        return await session.run(Command(argv, limits.step_s, limits.idle_s, limit_bytes), stdin)


def with_reading(facts: Facts, reading: GpuReading) -> Facts:
    """The facts with what the probe says of GPUs and driver."""
    return replace(
        facts,
        gpus=reading.gpus,
        gpu_source=reading.source,
        is_driver_hanging=reading.is_hanging,
        driver_version=reading.driver_version,
        cuda_version=reading.cuda_version,
    )
