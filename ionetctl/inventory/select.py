"""Selects hosts by a ``--limit`` expression: hosts in, hosts out, in the inventory's order.

The expression is a list of terms with commas. A term is a name (``rey1-a01-g1``), a range (``rey1-a[01-03]-g7``), a
wildcard (``rey1-*``), a group (``@rack-a01``) or a property (``rack:a01``); a leading ``!`` excludes hosts from those that the
other terms select, or from all hosts where there is no other term.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fnmatch import translate
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import UsageError
from ionetctl.inventory import ranges
from ionetctl.inventory.load import load_inventory
from ionetctl.inventory.yaml.problems import did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Inventory

_PROPERTIES: Final[dict[str, Callable[[Host], Iterable[str]]]] = {
    "region": lambda host: (host.region,),
    "datacenter": lambda host: (host.datacenter,),
    "rack": lambda host: (host.rack,) if host.rack else (),
    "pool": lambda host: (host.node_pool,),
    "class": lambda host: (host.node_class,) if host.node_class else (),
    "tag": lambda host: host.tags,
    "address": lambda host: (host.address,),
}
_BRACKET = re.compile(r"\[[^\[\]]*\]")


def select_hosts(inventory: Inventory, expression: str) -> tuple[Host, ...]:
    """The hosts that ``expression`` selects.

    Raises ``UsageError`` (``limit_invalid``) for a term that matches nothing, with ``!`` or without, for an unknown
    property, an invalid range, and for an expression that leaves no host.
    """
    terms = _terms(expression)
    if not all(term.removeprefix("!") for term in terms):
        raise _refused(
            f"the limit {quoted(expression)} has an empty term", "write names with commas between them"
        )
    index = _Index.of(inventory.hosts)
    added = [index.find(term) for term in terms if not term.startswith("!")]
    removed = [index.find(term.removeprefix("!")) for term in terms if term.startswith("!")]
    chosen = frozenset().union(*added) if added else frozenset(range(len(inventory.hosts)))
    hosts = tuple(inventory.hosts[position] for position in sorted(chosen.difference(*removed)))
    if not hosts:
        raise _refused(f"the limit {quoted(expression)} leaves no host", "look at what the ! terms take away")
    return hosts


def words_asked_for(expression: str) -> Mapping[str, Sequence[str]] | None:
    """The words of the terms that add hosts, by property (``host`` for names), in lower case and with ranges expanded.

    ``None`` where no such term is there, or one that is a group: then any host may be meant. Raises ``UsageError`` for an invalid range.
    """
    words: dict[str, list[str]] = {}
    for term in _terms(expression):
        if term.startswith("@"):
            return None
        if not term.startswith("!"):
            kind, colon, value = term.partition(":")
            words.setdefault(kind if colon else "host", []).extend(
                _expanded((value if colon else term).casefold())
            )
    return words or None


def load_selected(source: str, expression: str | None) -> Inventory:
    """The inventory with the hosts that ``expression`` selects; all where it is left out.

    Raises ``InventoryError``, and ``UsageError`` as ``select_hosts`` does.
    """
    inventory = load_inventory(source)
    if expression is None:
        return inventory
    return replace(inventory, hosts=select_hosts(inventory, expression))


def _terms(expression: str) -> list[str]:
    """The terms between the commas; commas within brackets do not separate."""
    hidden = _BRACKET.sub(lambda bracket: bracket[0].replace(",", "\0"), expression)
    return [term.strip().replace("\0", ",") for term in hidden.split(",")]


def _refused(message: str, hint: str) -> UsageError:
    return UsageError("limit_invalid", message, hint)


@dataclass(frozen=True, slots=True)
class _Index:
    """Positions of hosts by name, by group and by each property's values; names compare without case."""

    names: dict[str, frozenset[int]]
    groups: dict[str, frozenset[int]]
    hosts: tuple[Host, ...]

    @classmethod
    def of(cls, hosts: tuple[Host, ...]) -> _Index:
        return cls(
            _positions(hosts, lambda host: (host.name,)), _positions(hosts, lambda host: host.groups), hosts
        )

    def find(self, term: str) -> frozenset[int]:
        """The positions of the hosts that a term without ``!`` selects."""
        if term.startswith("@"):
            return _matching(self.groups, term[1:], "group")
        kind, colon, value = term.partition(":")
        if not colon:
            return _matching(self.names, term, "host")
        if kind not in _PROPERTIES:
            hint = did_you_mean(kind, _PROPERTIES) or f"one of {', '.join(_PROPERTIES)}"
            raise _refused(f"{quoted(kind)} is nothing that hosts are chosen by", hint)
        return _matching(_positions(self.hosts, _PROPERTIES[kind]), value, kind)


def _positions(hosts: tuple[Host, ...], words: Callable[[Host], Iterable[str]]) -> dict[str, frozenset[int]]:
    found: dict[str, list[int]] = {}
    for position, host in enumerate(hosts):
        for word in words(host):
            found.setdefault(word.casefold(), []).append(position)
    return {word: frozenset(positions) for word, positions in found.items()}


def _matching(known: dict[str, frozenset[int]], written: str, what: str) -> frozenset[int]:
    """The positions of all words that ``written`` matches; each word of a range must be known."""
    words = _expanded(written.casefold())
    missing = [word for word in words if not _matches(known, word)]
    if missing:
        others = f" (and {len(missing) - 1:,} more of {quoted(written)})" if len(missing) > 1 else ""
        hint = did_you_mean(missing[0], known) or "ionetctl inventory show lists what there is"
        raise _refused(f"there is no {what} {quoted(missing[0])}{others}", hint)
    return frozenset().union(*(positions for word in words for positions in _matches(known, word)))


def _expanded(written: str) -> list[str]:
    try:
        return ranges.expand(written)
    except ranges.RangeError as error:
        raise _refused(
            f"the limit's {quoted(written)} {error}", "ranges look like [1-8] or [001-128]"
        ) from None


def _matches(known: dict[str, frozenset[int]], word: str) -> list[frozenset[int]]:
    if "*" not in word and "?" not in word:
        return [known[word]] if word in known else []
    matches = re.compile(translate(word)).match
    return [positions for name, positions in known.items() if matches(name)]
