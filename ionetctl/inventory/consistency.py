"""Checks of an inventory across its parts: names that repeat, regions that are not described or too small. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ionetctl.core.model.host import AUTO_REGION
from ionetctl.core.plural import counted
from ionetctl.core.versions import LAST_UNDER_MPL, LOST_UNDER_MPL, is_under_mpl
from ionetctl.inventory.schema import field_checks
from ionetctl.inventory.schema.field_checks import FieldError
from ionetctl.inventory.validation_errors import problem_at
from ionetctl.inventory.yaml.problems import Problem, did_you_mean, quoted
from ionetctl.inventory.yaml.tree import MarkedList, MarkedMapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import NomadSettings, RegionSettings
    from ionetctl.core.model.names import RegionName
    from ionetctl.inventory.yaml.tree import Document, Loc, Node


def repeated_names(named: Iterable[tuple[str, Loc]], document: Document) -> Iterator[Problem]:
    """A problem for each name that another host has, upper and lower case being the same."""
    first: dict[str, Loc] = {}
    for name, loc in named:
        other = first.setdefault(name.casefold(), loc)
        if other is not loc:
            place, _ = document.locate((*other, "name"))
            message = f"{quoted(name)} is also the name of the host at {place}"
            yield problem_at(document, (*loc, "name"), message, "a name is a node's, and stands once")


def repeated_endpoints(
    hosts: Iterable[tuple[tuple[str, Loc], tuple[str, object, object]]], document: Document
) -> Iterator[Problem]:
    """A problem for each host that has another's address, port and jump host; ``hosts`` are ``((name, loc), endpoint)``."""
    first: dict[object, tuple[str, Loc]] = {}
    for (name, loc), (address, port, jump) in hosts:
        endpoint = (address.rstrip(".").casefold(), port, jump)
        other, other_loc = first.setdefault(endpoint, (name, loc))
        if other.casefold() != name.casefold():
            place, _ = document.locate((*other_loc, "address"))
            message = f"{quoted(name)} has the address, port and jump host of {quoted(other)} at {place}"
            hint = "ranges must differ in step" if other_loc == loc else ""
            yield problem_at(document, (*loc, "address"), message, hint)


def stdin_taken(document: Document, loc: Loc = ()) -> Iterator[Problem]:
    """A problem for each secret that is to come from standard input, for a valid inventory that came from there."""
    node = document.node(loc)
    if isinstance(node, Mapping):
        if isinstance(node.get("stdin"), str) and loc[-1:] != ("meta",):
            hint = "give the inventory as a file, or have the secret from another source"
            yield problem_at(document, loc, "is to come from standard input, as the inventory did", hint)
        steps: Iterable[str | int] = node
    else:
        steps = range(len(node)) if isinstance(node, list) else ()
    for step in steps:
        yield from stdin_taken(document, (*loc, step))


def written_endpoint(host: Mapping[str, Any], loc: Loc, document: Document) -> tuple[str, object, object]:
    """Address, port and jump host of a valid entry whose group and defaults may be invalid: these count as written."""
    port = jump = ""
    above = document.root.get("groups")
    group = above.get(str(loc[1])) if loc[0] == "groups" and isinstance(above, MarkedMapping) else None
    for fields in (document.root.get("defaults"), group, host):
        ssh = fields.get("ssh") if isinstance(fields, Mapping) else None
        if isinstance(ssh, Mapping):
            port, jump = str(ssh.get("port", port)), str(ssh.get("jump", jump))
    return str(host.get("address", host["name"])), port, jump


def overfull_regions(
    hosts: Sequence[Host], regions: Mapping[RegionName, RegionSettings], document: Document
) -> Iterator[Problem]:
    """A problem for each region whose capacity is less than the number of hosts that name it."""
    for name, count in Counter(host.region for host in hosts).items():
        if name in regions and count > (capacity := regions[name].capacity):
            message = f"{counted(count, 'host')} would join {name}, which carries {capacity:,}"
            yield problem_at(document, ("regions", name, "capacity"), message)


def licence_problems(
    nomad: NomadSettings, regions: Mapping[RegionName, RegionSettings], document: Document
) -> Iterator[Problem]:
    """Problems of ``licence: mpl-only``: a release under another licence, and regions that require what came under that."""
    if nomad.licence is None:
        return
    if not is_under_mpl(nomad.version):
        message = (
            f"Nomad {nomad.version} is under the Business Source License, which licence: mpl-only refuses"
        )
        hint = f"the last releases under the MPL are {' and '.join(LAST_UNDER_MPL)}; {LOST_UNDER_MPL}"
        yield problem_at(document, ("nomad", "version"), message, hint)
    for name, region in regions.items():
        if region.introduction == "required":
            message = "introductions came with Nomad 1.11, which licence: mpl-only refuses"
            hint = "say introduction: off here, or leave out nomad.licence"
            yield problem_at(document, ("regions", name, "introduction"), message, hint)


def door_problems(nomad: NomadSettings, document: Document) -> Iterator[Problem]:
    """A problem of ``maintenance`` beside drivers that no job may have then, or that leave the door's task no root of its own."""
    beside = [driver for driver in nomad.drivers if driver not in {"docker", "exec"}]
    if nomad.signers and beside:
        message = f"{', '.join(beside)} beside maintenance: a door opens only where the jobs of others may use docker alone"
        hint = "leave it at docker (and exec), or leave maintenance out"
        yield problem_at(document, ("nomad", "drivers"), message, hint)


def unknown_regions(document: Document) -> Iterator[Problem]:
    """A problem for each region that hosts, groups or defaults name and the inventory does not describe."""
    known = [name for name, _ in _named(document.root.get("regions"))]
    for loc, node in _statements(document.root) if known else ():
        for where, region in _regions_named(node):
            if region not in known and _is_region(region):
                hint = did_you_mean(region, known) or f"described here: {', '.join(known)}"
                yield problem_at(document, (*loc, *where), f"{quoted(region)} is none of the regions", hint)


def _regions_named(node: MarkedMapping) -> Iterator[tuple[Loc, str]]:
    """Every region that a statement names, with its path."""
    region, placement = node.get("region"), node.get("placement")
    if isinstance(region, str) and region != AUTO_REGION:
        yield ("region",), region
    listed = placement.get("regions") if isinstance(placement, MarkedMapping) else None
    for index, name in enumerate(listed if isinstance(listed, MarkedList) else ()):
        if isinstance(name, str):
            yield ("placement", "regions", index), name


def _is_region(name: str) -> bool:
    try:
        field_checks.region_name(name)
    except FieldError:
        return False
    return True


def _statements(root: MarkedMapping) -> Iterator[tuple[Loc, MarkedMapping]]:
    """Every mapping with fields of hosts: defaults, groups and entries, whether or not they are valid otherwise."""
    for loc, node in (
        (("defaults",), root.get("defaults")),
        *((("groups", name), group) for name, group in _named(root.get("groups"))),
        *entries(root),
    ):
        if isinstance(node, MarkedMapping):
            yield loc, node


def entries(root: MarkedMapping) -> Iterator[tuple[Loc, Node]]:
    """Every host's entry in the tree, groups first, as in ``merge_hosts``."""
    for name, group in _named(root.get("groups")):
        if isinstance(group, MarkedMapping):
            yield from _listed(("groups", name, "hosts"), group.get("hosts"))
    yield from _listed(("hosts",), root.get("hosts"))


def _named(node: Node) -> Iterable[tuple[str, Node]]:
    return node.items() if isinstance(node, MarkedMapping) else ()


def _listed(loc: Loc, node: Node) -> Iterator[tuple[Loc, Node]]:
    items = node if isinstance(node, MarkedList) else ()
    yield from (((*loc, index), item) for index, item in enumerate(items))
