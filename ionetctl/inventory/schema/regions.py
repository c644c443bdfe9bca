"""Builds the records of regions and releases from an inventory's validated fields. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ionetctl.core.model.inventory import (
    Issuer,
    NomadSettings,
    ReadyPair,
    RegionSettings,
    RegionTls,
    VaultIssuer,
)
from ionetctl.core.model.names import RegionName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ionetctl.inventory.schema.structure import (
        MaintenanceFields,
        NomadFields,
        RegionFields,
        TlsFields,
    )


def nomad_settings(given: NomadFields, maintenance: MaintenanceFields | None = None) -> NomadSettings:
    """The Nomad releases that the fleet gets, and whose words its maintenance doors heed."""
    others = {key: value for key, value in given.items() if key != "drivers"}
    drivers = tuple(sorted(set(given.get("drivers", ("docker",)))))
    signers = maintenance["signers"] if maintenance else ()
    return NomadSettings(**others, drivers=drivers, signers=signers)  # type: ignore[arg-type]


def region_settings(given: Mapping[str, RegionFields]) -> dict[RegionName, RegionSettings]:
    """The regions by name."""
    return {RegionName(name): _region(RegionName(name), fields) for name, fields in given.items()}


def _region(name: RegionName, given: RegionFields) -> RegionSettings:
    others = {key: value for key, value in given.items() if key != "tls"}
    return RegionSettings(name=name, tls=_tls(name, given["tls"]), **others)  # type: ignore[arg-type]


def _tls(region: str, given: TlsFields) -> RegionTls:
    return RegionTls(
        ca=given["ca"],
        server_name=given.get("server_name", f"server.{region}.nomad"),
        client=ReadyPair(**given["client"]) if "client" in given else None,
        node=_node(given),
    )


def _node(given: TlsFields) -> Issuer | VaultIssuer | ReadyPair:
    if "node" in given:
        return ReadyPair(**given["node"])
    issuer = given["issuer"]
    rest = issuer.get("validity", 1825), issuer.get("key_on_host", False)
    if "vault" in issuer:
        return VaultIssuer(issuer["vault"]["mount"], issuer["vault"]["role"], *rest)
    return Issuer(issuer["cert"], issuer["key"], *rest)
