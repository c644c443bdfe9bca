"""Merges an inventory's defaults, groups and hosts into one record per host.

Precedence: defaults, then group, then host; mappings merge key by key, scalars and lists replace. Two hosts must not
have the same name, nor the same address, port and jump host.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ionetctl.core.model.host import (
    CheckRule,
    Expect,
    GpuPromise,
    Host,
    Location,
    Network,
    Placement,
    Prepare,
    Reserve,
    RigPromise,
    SshSettings,
)
from ionetctl.core.model.outcome import Severity
from ionetctl.inventory.consistency import repeated_endpoints, repeated_names
from ionetctl.inventory.expand import Expansion, Fields, Statement, refuse_ranges
from ionetctl.inventory.schema import endpoints
from ionetctl.inventory.schema.field_checks import FieldError
from ionetctl.inventory.validation_errors import problem_at
from ionetctl.inventory.yaml.problems import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ionetctl.inventory.schema.structure import InventoryFields
    from ionetctl.inventory.yaml.problems import Problem
    from ionetctl.inventory.yaml.tree import Document, Loc


def _ssh(given: Mapping[str, Any]) -> SshSettings:
    names = {"identity": "identities", "host_key": "host_keys", "host_ca": "host_authorities"}
    return SshSettings(**{names.get(key, key): value for key, value in given.items()})


_RECORDS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "checks": lambda given: {
        code: CheckRule(Severity(rule["severity"]), rule["reason"]) for code, rule in given.items()
    },
    "prepare": lambda given: Prepare(**given),
    "placement": lambda given: Placement(**given),
    "gpus": lambda given: GpuPromise(**given),
    "expect": lambda given: Expect(**given),
    "reserve": lambda given: Reserve(**given),
    "rig": lambda given: RigPromise(**given),
    "location": lambda given: Location(**given),
    "network": lambda given: Network(**given),
    "ssh": _ssh,
}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Fields:
    """``over`` on top of ``base``: mappings merge key by key, scalars and lists replace."""
    return {**base, **{key: _merged_value(base.get(key), value) for key, value in over.items()}}


def _merged_value(base: object, over: object) -> object:
    return merged(base, over) if isinstance(base, dict) and isinstance(over, dict) else over


def merge_hosts(given: InventoryFields, document: Document) -> tuple[tuple[Host, ...], list[Problem]]:
    """The hosts in the order of the text, groups first, and everything that is wrong with them."""
    merger = _Merger(document)
    merger.refuse_ranges_in(Statement(("defaults",), given.get("defaults", {})))
    site = {"datacenter": given["datacenter"]} if "datacenter" in given else {}
    base = merged(site, given.get("defaults", {}))
    for name, group in given.get("groups", {}).items():
        own = {key: value for key, value in group.items() if key != "hosts"}
        merger.refuse_ranges_in(Statement(("groups", name), own))
        merger.add_section(("groups", name, "hosts"), group.get("hosts", ()), merged(base, own), (name,))
    merger.add_section(("hosts",), given.get("hosts", ()), base, ())
    hosts, problems = pinned(merger.hosts, given.get("pins", {}), document)
    return tuple(hosts), [*merger.all_problems(), *problems]


def pinned(
    hosts: Sequence[Host], pins: Mapping[str, tuple[str, ...]], document: Document
) -> tuple[list[Host], list[Problem]]:
    """The hosts with the keys that ``pins`` has for them, and a problem for each pin of no host or of a pinned one."""
    places = {host.name.casefold(): place for place, host in enumerate(hosts)}
    found, problems = list(hosts), []
    for name, keys in pins.items():
        place = places.get(name.casefold())
        if place is None:
            hint = (
                did_you_mean(name, [host.name for host in hosts]) or "take the pin of a host that is gone out"
            )
            problems.append(problem_at(document, ("pins", name), "is no host of this inventory", hint))
        elif found[place].ssh.host_keys:
            message, hint = "is pinned elsewhere too, by ssh.host_key or by another pin", "leave one of them"
            problems.append(problem_at(document, ("pins", name), message, hint))
        else:
            host = found[place]
            found[place] = replace(host, ssh=replace(host.ssh, host_keys=keys))
    return found, problems


class _Merger:
    """The hosts merged so far, each with the path of its entry."""

    def __init__(self, document: Document) -> None:
        self.hosts: list[Host] = []
        self._locs: list[Loc] = []
        self._document = document
        self._expansion = Expansion(document)
        self._problems: list[Problem] = []

    def refuse_ranges_in(self, statement: Statement) -> None:
        """Note ranges in defaults or a group: only a host's own fields can differ from host to host."""
        self._problems += refuse_ranges(statement, self._document)

    def add_section(
        self, loc: Loc, entries: Sequence[Mapping[str, Any]], base: Fields, groups: tuple[str, ...]
    ) -> None:
        """Merge the hosts of one list with the fields ``base`` that they share."""
        records = {key: _record(key, value) for key, value in base.items()}
        for key in ("region", "datacenter"):
            self._require(key, entries, base, loc)
        for index, entry in enumerate(entries):
            for host in self._expansion.hosts(Statement((*loc, index), entry)):
                own = {key: _record(key, _merged_value(base.get(key), value)) for key, value in host.items()}
                self._add({"region": "", "datacenter": "", "groups": groups, **records, **own}, (*loc, index))

    def _require(self, key: str, entries: Sequence[Mapping[str, Any]], base: Fields, loc: Loc) -> None:
        missing = [index for index, entry in enumerate(entries) if key not in entry and key not in base]
        if missing:
            others = f" for {len(missing):,} hosts here" if len(missing) > 1 else ""
            message, hint = f"is missing{others}", f"say {key}: … in defaults, in a group or at the host"
            self._problems.append(problem_at(self._document, (*loc, missing[0], key), message, hint))

    def _add(self, values: Fields, loc: Loc) -> None:
        if "address" not in values:
            try:
                values["address"] = endpoints.address(values["name"])
            except FieldError as error:
                self._problems.append(
                    problem_at(self._document, (*loc, "name"), error.message, "give the host an address")
                )
                return
        self.hosts.append(Host(**values))
        self._locs.append(loc)

    def all_problems(self) -> list[Problem]:
        """All problems, those between hosts included."""
        named = list(zip((host.name for host in self.hosts), self._locs, strict=True))
        endpoints = ((host.address, host.ssh.port or 22, host.ssh.jump) for host in self.hosts)
        return [
            *self._problems,
            *self._expansion.problems,
            *repeated_names(named, self._document),
            *repeated_endpoints(zip(named, endpoints, strict=True), self._document),
        ]


def _record(key: str, value: Any) -> object:  # noqa: ANN401  (a checked field of any type)
    return _RECORDS[key](value) if key in _RECORDS else value
