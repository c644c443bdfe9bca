"""From what defaults, groups and hosts say to one whole record per host.

Holds the precedence (defaults, then group, then host; mappings merge key by key, all else replaces) and what must
hold between hosts: names unique, no two hosts behind one address, port and jump host, regions known and not
overfull.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ionetctl.core.model.host import (
    AUTO_REGION,
    CheckRule,
    Expect,
    GpuPromise,
    Host,
    Location,
    Network,
    Placement,
    Prepare,
    Reserve,
    SshSettings,
)
from ionetctl.core.model.outcome import Severity
from ionetctl.inventory.expand import Expansion, Fields, Statement, refuse_ranges
from ionetctl.inventory.schema import endpoints, fields
from ionetctl.inventory.schema.fields import FieldError
from ionetctl.inventory.validation_errors import problem_at
from ionetctl.inventory.yaml.problems import Problem, did_you_mean, quoted
from ionetctl.inventory.yaml.tree import MarkedList, MarkedMapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ionetctl.core.model.inventory import RegionSettings
    from ionetctl.core.model.names import RegionName
    from ionetctl.inventory.schema.models import InventoryFields
    from ionetctl.inventory.yaml.tree import Document, Loc, Node


def _ssh(given: Mapping[str, Any]) -> SshSettings:
    names = {"identity": "identities", "host_key": "host_keys"}
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
    "location": lambda given: Location(**given),
    "network": lambda given: Network(**given),
    "ssh": _ssh,
}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Fields:
    """``over`` on top of ``base``: mappings merge key by key, scalars and lists replace."""
    return {**base, **{key: _merged_value(base.get(key), value) for key, value in over.items()}}


def _merged_value(base: object, over: object) -> object:
    return merged(base, over) if isinstance(base, dict) and isinstance(over, dict) else over


def resolve_hosts(given: InventoryFields, document: Document) -> tuple[tuple[Host, ...], list[Problem]]:
    """The hosts in the order of the text, groups first, and everything that is wrong with them."""
    resolution = _Resolution(document)
    resolution.shared(Statement(("defaults",), given.get("defaults", {})))
    site = {"datacenter": given["datacenter"]} if "datacenter" in given else {}
    base = merged(site, given.get("defaults", {}))
    for name, group in given.get("groups", {}).items():
        said = {key: value for key, value in group.items() if key != "hosts"}
        resolution.shared(Statement(("groups", name), said))
        resolution.section(("groups", name, "hosts"), group.get("hosts", ()), merged(base, said), (name,))
    resolution.section(("hosts",), given.get("hosts", ()), base, ())
    return tuple(resolution.hosts), resolution.finished()


class _Resolution:
    """Hosts as they are resolved, each with the way to its entry."""

    def __init__(self, document: Document) -> None:
        self.hosts: list[Host] = []
        self._locs: list[Loc] = []
        self._document = document
        self._expansion = Expansion(document)
        self._problems: list[Problem] = []

    def shared(self, statement: Statement) -> None:
        """What is said of several hosts must hold for all of them alike."""
        self._problems += refuse_ranges(statement, self._document)

    def section(
        self, loc: Loc, entries: Sequence[Mapping[str, Any]], base: Fields, groups: tuple[str, ...]
    ) -> None:
        """Resolve the hosts that stand in one list and share what ``base`` says."""
        records = {key: _record(key, value) for key, value in base.items()}
        for key in ("region", "datacenter"):
            self._require(key, entries, base, loc)
        for index, entry in enumerate(entries):
            for host in self._expansion.hosts(Statement((*loc, index), entry)):
                said = {key: _record(key, _merged_value(base.get(key), value)) for key, value in host.items()}
                self._add(
                    {"region": "", "datacenter": "", "groups": groups, **records, **said}, (*loc, index)
                )

    def _require(self, key: str, entries: Sequence[Mapping[str, Any]], base: Fields, loc: Loc) -> None:
        lacking = [index for index, entry in enumerate(entries) if key not in entry and key not in base]
        if lacking:
            others = f" for {len(lacking):,} hosts here" if len(lacking) > 1 else ""
            message, hint = f"is missing{others}", f"say {key}: … in defaults, in a group or at the host"
            self._problems.append(problem_at(self._document, (*loc, lacking[0], key), message, hint))

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

    def finished(self) -> list[Problem]:
        """All problems, those between hosts among them."""
        named = zip((host.name for host in self.hosts), self._locs, strict=True)
        return [
            *self._problems,
            *self._expansion.problems,
            *repeated_names(named, self._document),
            *self._shared_addresses(),
        ]

    def _shared_addresses(self) -> Iterator[Problem]:
        first: dict[object, tuple[Host, Loc]] = {}
        for host, loc in zip(self.hosts, self._locs, strict=True):
            reached = (host.address.rstrip(".").casefold(), host.ssh.port or 22, host.ssh.jump)
            other, other_loc = first.setdefault(reached, (host, loc))
            if other is not host and other.name.casefold() != host.name.casefold():
                place, _ = self._document.locate((*other_loc, "address"))
                message = f"{quoted(host.name)} has the address, port and jump host of {quoted(other.name)} at {place}"
                hint = "ranges must differ in step" if other_loc == loc else ""
                yield problem_at(self._document, (*loc, "address"), message, hint)


def _record(key: str, value: Any) -> object:  # noqa: ANN401  (a checked field of any type)
    return _RECORDS[key](value) if key in _RECORDS else value


def repeated_names(named: Iterable[tuple[str, Loc]], document: Document) -> Iterator[Problem]:
    """The problems of names that stand twice, upper and lower case being the same."""
    first: dict[str, Loc] = {}
    for name, loc in named:
        other = first.setdefault(name.casefold(), loc)
        if other is not loc:
            place, _ = document.locate((*other, "name"))
            message = f"{quoted(name)} is also the name of the host at {place}"
            yield problem_at(document, (*loc, "name"), message, "a name is a node's, and stands once")


def overfull_regions(
    hosts: Sequence[Host], regions: Mapping[RegionName, RegionSettings], document: Document
) -> Iterator[Problem]:
    """The problems of regions that could not carry these hosts even if they were empty."""
    for name, count in Counter(host.region for host in hosts).items():
        if name in regions and count > (capacity := regions[name].capacity):
            message = f"{count:,} hosts are to join {name}, which carries {capacity:,}"
            yield problem_at(document, ("regions", name, "capacity"), message)


def unknown_regions(document: Document) -> Iterator[Problem]:
    """The problems of hosts, groups and defaults that name a region which the inventory does not describe."""
    known = [name for name, _ in _named(document.root.get("regions"))]
    for loc, node in _statements(document.root) if known else ():
        for where, region in _regions_named(node):
            if region not in known and _is_region(region):
                hint = did_you_mean(region, known) or f"described here: {', '.join(known)}"
                yield problem_at(document, (*loc, *where), f"{quoted(region)} is none of the regions", hint)


def _regions_named(node: MarkedMapping) -> Iterator[tuple[Loc, str]]:
    """Every region that a statement names, with the way to it."""
    region, placement = node.get("region"), node.get("placement")
    if isinstance(region, str) and region != AUTO_REGION:
        yield ("region",), region
    listed = placement.get("regions") if isinstance(placement, MarkedMapping) else None
    for index, name in enumerate(listed if isinstance(listed, MarkedList) else ()):
        if isinstance(name, str):
            yield ("placement", "regions", index), name


def _is_region(name: str) -> bool:
    try:
        fields.region_name(name)
    except FieldError:
        return False
    return True


def _statements(root: MarkedMapping) -> Iterator[tuple[Loc, MarkedMapping]]:
    """Every mapping of the tree that says something of hosts, whether or not it holds otherwise."""
    for loc, node in (
        (("defaults",), root.get("defaults")),
        *((("groups", name), group) for name, group in _named(root.get("groups"))),
        *entries(root),
    ):
        if isinstance(node, MarkedMapping):
            yield loc, node


def entries(root: MarkedMapping) -> Iterator[tuple[Loc, Node]]:
    """Every entry of a host in the tree, in the order in which hosts are resolved."""
    for name, group in _named(root.get("groups")):
        if isinstance(group, MarkedMapping):
            yield from _listed(("groups", name, "hosts"), group.get("hosts"))
    yield from _listed(("hosts",), root.get("hosts"))


def _named(node: Node) -> Iterable[tuple[str, Node]]:
    return node.items() if isinstance(node, MarkedMapping) else ()


def _listed(loc: Loc, node: Node) -> Iterator[tuple[Loc, Node]]:
    items = node if isinstance(node, MarkedList) else ()
    yield from (((*loc, index), item) for index, item in enumerate(items))
