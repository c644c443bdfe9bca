"""The regions of a rollout before its first host: each is asked whether it can take hosts, and what it says is recorded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from ionetctl.core.errors import ConfigurationError, ExitCode, RegionError, TrustError
from ionetctl.core.events import RegionChecked, RegionEntry, Warned
from ionetctl.core.versions import LOST_UNDER_MPL
from ionetctl.placement import fences
from ionetctl.placement.region_choice import candidates
from ionetctl.rollout.endings import Endings
from ionetctl.rollout.lost_regions import LostRegions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from ionetctl.app.open_inventory import Site
    from ionetctl.core.errors import IonetctlError
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import ReadyPair
    from ionetctl.core.model.names import HostName, RegionName
    from ionetctl.core.ports import Emit
    from ionetctl.host.dependencies import RegionTools


@dataclass(frozen=True, slots=True)
class RegionsAsked:
    """How the regions of ``site`` are asked; ``takes_hosts`` says that they are to be given hosts, not looked at alone."""

    site: Site
    emit: Emit
    takes_hosts: bool

    async def ask(self) -> None:
        """Ask all at once, since one that does not answer takes its time; the site's regions have their answers then.

        Raises ``ConfigurationError`` where a region that hosts name cannot take them: then no host is touched.
        """
        nomad = self.site.inventory.nomad
        if nomad.licence is not None and self.takes_hosts:
            message = f"Nomad {nomad.version} is under the MPL: releases of that licence are old"
            await self.emit(Warned(code="licence_mpl_only", message=message, hint=LOST_UNDER_MPL))
        asking = [asyncio.create_task(self._asked(name), name=f"region {name}") for name in self.site.regions]
        try:
            answers = await asyncio.gather(*asking)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        self.site.regions |= zip(tuple(self.site.regions), answers, strict=True)

    async def _asked(self, name: RegionName) -> RegionTools:
        """A region with its status, or with the reason why it cannot be worked with, which is recorded."""
        tools = self.site.regions[name]
        try:
            status = await self.site.check_region(name)
        except (ConfigurationError, RegionError, TrustError) as error:
            is_named = any(host.region == name for host in self.site.hosts)
            if isinstance(error, ConfigurationError) and is_named and self.takes_hosts:
                raise
            message = f"region {name}: {error.message}"
            await self.emit(Warned(code=error.code, message=message, hint=error.hint))
            return replace(tools, trouble=error)
        event = RegionChecked(
            region=name,
            server_version=status.server_version,
            enforcement=status.enforcement,
            entry=_region_entry(tools),
        )
        await self.emit(event)
        return replace(tools, status=status)

    async def leave_all(
        self, hosts: Sequence[Host], enrolled: AbstractSet[tuple[RegionName, HostName]]
    ) -> NoReturn:
        """Finish all hosts where none of their regions can be worked with, without a connection to any; raises the regions' error.

        ``enrolled`` are the nodes of the catalog. Where each lacks fences, and nothing else, the inventory asks for what cannot be had there:
        that is a ``ConfigurationError``.
        """
        lost, endings = LostRegions.of(self.site.regions, self.emit), Endings(self.emit)
        for host in hosts:
            regions = candidates(host, lost.problems)
            is_installed = any((name, host.name) in enrolled for name in regions)
            await endings.finish(host, lost.leave(host, regions[0], is_installed=is_installed))
        first = min(lost.problems.values(), key=lambda problem: problem.exit_code != ExitCode.TRUST)
        reasons = "; ".join(problem.message for problem in lost.problems.values())
        kind: type[IonetctlError] = TrustError if first.exit_code == ExitCode.TRUST else RegionError
        if all(problem.code in fences.CODES for problem in lost.problems.values()):
            kind = ConfigurationError
        raise kind(first.code, f"no host was touched and nothing was installed: {reasons}", first.hint)


def _region_entry(tools: RegionTools) -> RegionEntry:
    """What ``status`` needs to ask the region again: addresses, CA, and where the secrets are to be had."""
    region = tools.settings
    client: ReadyPair | None = region.tls.client
    return RegionEntry(
        name=region.name,
        api=region.api,
        ca_pem=tools.ca_pem.decode(errors="replace"),
        server_name=region.tls.server_name,
        token_source=region.token.source,
        token_locator=region.token.locator,
        client_cert=client.cert if client else None,
        client_key_source=client.key.source if client else None,
        client_key_locator=client.key.locator if client else None,
        introduction=region.introduction,
        capacity=region.capacity,
    )
