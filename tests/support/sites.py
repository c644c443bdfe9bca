"""Inventories that are open: a site of one host, with its region."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from ionetctl.app.open_inventory import Site
from ionetctl.core.model.inventory import Inventory, NomadSettings, RegionSettings
from ionetctl.core.model.names import Digest
from ionetctl.credentials.secrets import SecretStore
from ionetctl.host.dependencies import RegionTools
from ionetctl.verification.node_watcher import NodeWatcher
from tests.support.fakes import FakeIssuer, FakeRegion
from tests.support.sample import EU_NORTH, HOST, REGION

if TYPE_CHECKING:
    from ionetctl.core.model.inventory import Introduction


def opened(settings: RegionSettings = REGION, region: FakeRegion | None = None) -> RegionTools:
    """The region, before it is asked."""
    api = region or FakeRegion()
    return RegionTools(settings, api, NodeWatcher(api, api.clock), FakeIssuer(), b"CA PEM\n")


def site_of(region: FakeRegion, introduction: Introduction, *signers: str) -> Site:
    """One host, whose region is ``region``; there is nothing to fetch programs with. ``signers`` have a maintenance door."""
    inventory = Inventory(
        "site.yaml",
        "/",
        Digest("ab" * 32),
        "as-written",
        {EU_NORTH: REGION},
        NomadSettings("2.0.5", "1.1.0", signers=signers),
        (HOST,),
    )
    site = Site(inventory, (HOST,), SecretStore({}), cast("Any", None), region.clock)
    site.regions[EU_NORTH] = opened(replace(REGION, introduction=introduction), region)
    return site
