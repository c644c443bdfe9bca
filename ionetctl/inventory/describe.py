"""An inventory as plain mappings, lists and scalars, for ``inventory show``.

The result is an inventory again, expanded and merged: loaded, it gives the same hosts and regions. Of secrets it has
the sources, never the values.
"""

from __future__ import annotations

from dataclasses import fields as record_fields
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from ionetctl.core.model.inventory import ReadyPair, VaultIssuer
from ionetctl.inventory.schema.structure import json_schema

if TYPE_CHECKING:
    from ionetctl.core.model.host import (
        Expect,
        GpuPromise,
        Host,
        Jump,
        Location,
        Network,
        Placement,
        Prepare,
        Reserve,
        RigPromise,
        SshSettings,
    )
    from ionetctl.core.model.inventory import Inventory, Issuer, NomadSettings, RegionSettings
    from ionetctl.core.model.secret import SecretRef

Description: TypeAlias = "dict[str, Any]"

__all__ = ["describe_host", "describe_inventory", "json_schema"]


def describe_inventory(inventory: Inventory) -> Description:
    """The whole inventory: each host on its own, below its group where it has one."""
    groups: dict[str, Description] = {}
    hosts = []
    for host in inventory.hosts:
        if host.groups:
            groups.setdefault(host.groups[0], {"hosts": []})["hosts"].append(describe_host(host))
        else:
            hosts.append(describe_host(host))
    return {
        "version": 1,
        "naming": inventory.naming,
        "regions": {name: _region(region) for name, region in inventory.regions.items()},
        "nomad": _without_false(_known_fields(replace(inventory.nomad, signers=()))),
        **({"maintenance": {"signers": list(inventory.nomad.signers)}} if inventory.nomad.signers else {}),
        **({} if inventory.distribution == "push" else {"distribution": inventory.distribution}),
        **({"mirror": inventory.mirror} if inventory.mirror else {}),
        **({"groups": groups} if groups else {}),
        **({"hosts": hosts} if hosts else {}),
    }


def describe_host(host: Host) -> Description:
    """One host with the fields of defaults and group; fields without a value are left out."""
    described = {
        "name": host.name,
        "address": host.address,
        "region": host.region,
        "datacenter": host.datacenter,
    }
    plain = {
        "rack": host.rack,
        "node_pool": host.node_pool,
        "node_class": host.node_class,
        "tags": list(host.tags),
        "meta": dict(host.meta),
        "checks": {
            code: {"severity": rule.severity.value, "reason": rule.reason}
            for code, rule in host.checks.items()
        },
        "prepare": _without_false(_known_fields(host.prepare)),
        "placement": _known_fields(host.placement),
        "gpus": _known_fields(host.gpus),
        "expect": _known_fields(host.expect),
        "reserve": _known_fields(host.reserve),
        "rig": _without_false(_known_fields(host.rig)),
        "location": _known_fields(host.location),
        "network": _known_fields(host.network),
        "ssh": _ssh(host.ssh),
    }
    return described | {key: value for key, value in plain.items() if value not in (None, [], {})}


def _known_fields(
    record: NomadSettings
    | Prepare
    | Placement
    | GpuPromise
    | Expect
    | Reserve
    | RigPromise
    | Location
    | Network,
) -> Description:
    """The fields of a flat record that have a value."""
    values = {field.name: getattr(record, field.name) for field in record_fields(record)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value not in (None, ())
    }


def _without_false(described: Description) -> Description:
    return {name: value for name, value in described.items() if value is not False}


def _ssh(ssh: SshSettings) -> Description:
    described = {
        "user": ssh.user,
        "port": ssh.port,
        "identity": list(ssh.identities) or None,
        "passphrase": _secret(ssh.passphrase),
        "certificate": ssh.certificate,
        "password": _secret(ssh.password),
        "jump": None if ssh.jump is None else [_jump(jump) for jump in ssh.jump],
        "host_key": list(ssh.host_keys) or None,
        "host_ca": list(ssh.host_authorities) or None,
        "become": None if ssh.become == "auto" else ssh.become,
        "become_password": _secret(ssh.become_password),
        "agent": None if ssh.agent else False,
        "close": None if ssh.close == "off" else ssh.close,
    }
    return {key: value for key, value in described.items() if value is not None}


def _secret(ref: SecretRef | None) -> Description | None:
    if ref is None:
        return None
    return {ref.source: list(ref.argv) if ref.source == "command" else ref.locator}


def _jump(jump: Jump) -> str:
    address = f"[{jump.address}]" if ":" in jump.address else jump.address
    user = f"{jump.user}@" if jump.user else ""
    port = f":{jump.port}" if jump.port else ""
    return f"{user}{address}{port}"


def _region(region: RegionSettings) -> Description:
    tls = region.tls
    node = _node(tls.node)
    return {
        "api": list(region.api),
        "servers": list(region.servers),
        "token": _secret(region.token),
        "tls": {
            "ca": tls.ca,
            "server_name": tls.server_name,
            **({"client": _pair(tls.client)} if tls.client else {}),
            "node" if isinstance(tls.node, ReadyPair) else "issuer": node,
        },
        "introduction": region.introduction,
        "capacity": region.capacity,
    }


def _node(node: Issuer | VaultIssuer | ReadyPair) -> Description:
    if isinstance(node, ReadyPair):
        return _pair(node)
    described: Description = (
        {"vault": {"mount": node.mount, "role": node.role}} if isinstance(node, VaultIssuer) else _pair(node)
    )
    described["validity"] = f"{node.validity_days}d"
    return described | ({"key_on_host": True} if node.key_on_host else {})


def _pair(pair: ReadyPair | Issuer) -> Description:
    return {"cert": pair.cert, "key": _secret(pair.key)}
