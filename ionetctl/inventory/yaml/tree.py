"""Parses YAML text to plain mappings, lists and texts that have their places in the text.

Built from the parser's events in one pass, so that size, depth, nodes and aliases are bounded before memory is used.
Scalars stay the text that was written; an empty plain scalar is ``None``. Tags, merge keys, duplicate keys, keys that
are not text and second documents are refused, as the YAML 1.2 specification allows.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NewType, NoReturn, Protocol, TypeAlias

import yaml

from ionetctl.inventory.yaml.problems import InventoryError, Place, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE_MAX: Final = 16 << 20
"""Bytes of an inventory's text."""
DEPTH_MAX: Final = 32
NODES_MAX: Final = 1_000_000
"""Mappings, lists and texts; an alias counts as many nodes as it stands for."""
ALIASES_MAX: Final = 100_000
PROBLEMS_MAX: Final = 1_000

Loc: TypeAlias = tuple[str | int, ...]
"""The path of a node: keys and indices."""


class Parser(Protocol):
    """One of PyYAML's parsers, with a text."""

    def get_event(self) -> yaml.Event:
        """The next event; raises ``yaml.MarkedYAMLError`` for invalid YAML."""
        ...

    def dispose(self) -> None:
        """Release the text."""
        ...


FastLoader: Final[Callable[[str], Parser]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML was built with it; PyYAML's own is about twenty times slower."""

# Characters outside those that YAML allows in a text (YAML 1.1, section 5.1), and byte order marks.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


Mark = NewType("Mark", int)
"""Line and column from 0 in one number: unlike 200,000 objects these cost no time in garbage collection."""


class MarkedMapping(dict[str, "Node"]):
    """A mapping with its own place and, for each key, the places of key and value."""

    __slots__ = ("mark", "marks")

    def __init__(self, mark: Mark) -> None:
        super().__init__()
        self.mark = mark
        self.marks: dict[str, tuple[Mark, Mark]] = {}


class MarkedList(list["Node"]):
    """A list with its own place and that of each item."""

    __slots__ = ("mark", "marks")

    def __init__(self, mark: Mark) -> None:
        super().__init__()
        self.mark = mark
        self.marks: list[Mark] = []


Node: TypeAlias = str | MarkedMapping | MarkedList | None


@dataclass(frozen=True, slots=True)
class Document:
    """The tree of a text, and the problems that did not prevent parsing it."""

    source: str
    root: MarkedMapping
    problems: tuple[Problem, ...]

    def locate(self, loc: Loc, *, at_key: bool = False) -> tuple[Place, Loc]:
        """The place and the path of the node at ``loc``, or of its nearest ancestor that exists.

        With ``at_key`` it is the place of the node's key, where it has one.
        """
        mark: Mark = self.root.mark
        node: Node = self.root
        for depth, step in enumerate(loc):
            if isinstance(node, MarkedMapping) and step in node:
                key = str(step)
                mark, node = node.marks[key][0 if at_key and depth == len(loc) - 1 else 1], node[key]
            elif isinstance(node, MarkedList) and isinstance(step, int) and step < len(node):
                mark, node = node.marks[step], node[step]
            else:
                return _place(mark, self.source), loc[:depth]
        return _place(mark, self.source), loc

    def node(self, loc: Loc) -> Node:
        """The node at ``loc``, or its nearest ancestor that exists."""
        node: Node = self.root
        for step in self.locate(loc)[1]:
            node = node[step]  # type: ignore[index]  # locate returned a path that exists
        return node


def _mark(found: Any) -> Mark:  # noqa: ANN401  (each of PyYAML's parsers has its own class)
    return Mark(found.line << 32 | found.column)


def _place(mark: Mark, source: str) -> Place:
    return Place(source, (mark >> 32) + 1, (mark & 0xFFFFFFFF) + 1)


def parse(text: bytes, source: str, loader: Callable[[str], Parser] = FastLoader) -> Document:
    """The tree of a YAML text whose root is a mapping; ``source`` names it in problems.

    Raises ``InventoryError`` for what cannot be parsed at all: bytes that are not UTF-8, control characters, syntax
    errors, a limit that is exceeded, an alias without anchor or within its own, a second document, a root that is not a mapping.
    """
    builder = _Builder(source)
    try:
        for event in _events(loader(_decoded(text, source))):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        raise InventoryError([*builder.problems, _syntax(error, source)]) from None
    if not isinstance(builder.root, MarkedMapping):
        raise InventoryError([_rootless(builder.root, source)])
    return Document(source, builder.root, tuple(builder.problems))


def _events(parser: Parser) -> Iterator[yaml.Event]:
    try:
        while type(event := parser.get_event()) is not yaml.StreamEndEvent:
            yield event
    finally:
        parser.dispose()


def _decoded(text: bytes, source: str) -> str:
    if len(text) > SIZE_MAX:
        raise InventoryError([Problem(Place(source, 1, 1), "", f"is larger than {SIZE_MAX >> 20} MiB")])
    text = text.removeprefix(codecs.BOM_UTF8)
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        place = _place_after(text[: error.start].decode(), source)
        raise InventoryError(
            [Problem(place, "", "is not UTF-8 from here on", "save the file as UTF-8")]
        ) from None
    if found := _UNPRINTABLE.search(decoded):
        place = _place_after(decoded[: found.start()], source)
        raise InventoryError([Problem(place, "", f"has the control character U+{ord(found[0]):04X}")])
    return decoded


def _place_after(before: str, source: str) -> Place:
    return Place(source, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _syntax(error: yaml.MarkedYAMLError, source: str) -> Problem:
    place = _place(_mark(error.problem_mark), source)
    message = f"is no YAML: {error.problem} {error.context or ''}".strip()
    if "cannot start any token" in message:
        return Problem(place, "", message, "indent with spaces, not tabs; quote texts that start with @ or `")
    return Problem(place, "", message)


def _rootless(root: Node, source: str) -> Problem:
    if root is None:
        return Problem(
            Place(source, 1, 1), "", "is empty", "see inventories/minimal.yaml for the smallest inventory"
        )
    return Problem(Place(source, 1, 1), "", "must be a mapping, which starts with version: 1")


@dataclass(frozen=True, slots=True)
class _Anchored:
    node: Node
    size: int
    """How many nodes it has."""


class _Builder:
    """Builds the tree of one document from its events."""

    def __init__(self, source: str) -> None:
        self.problems: list[Problem] = []
        self.root: Node = None
        self._source = source
        self._open: list[MarkedMapping | MarkedList] = []
        self._keys: list[tuple[str | None, Mark] | None] = []
        """For each open container: the key whose value comes next; a key of ``None`` is dropped with its value."""
        self._starts: list[tuple[str | None, int]] = []
        """For each open container: its anchor, and how many nodes there were before it."""
        self._anchors: dict[str, _Anchored] = {}
        self._nodes = 0
        self._aliases = 0
        self._documents = 0
        self._take: dict[type[yaml.Event], Callable[[Any, Mark], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._start,
            yaml.SequenceStartEvent: self._start,
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
        }

    def take(self, event: yaml.Event) -> None:
        """Take one event; raises ``InventoryError`` where a limit is exceeded or the text cannot be interpreted."""
        if take := self._take.get(type(event)):
            take(event, _mark(event.start_mark))

    def _document(self, _: yaml.DocumentStartEvent, mark: Mark) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop(mark, "a second document starts here", "an inventory is one document")

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark) -> None:
        self._count(1, mark)
        if event.tag is not None:
            self._refuse_tag(mark)
        value = None if not event.value and not event.style else event.value
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(value, 1)
        self._add(value, mark)

    def _start(self, event: yaml.CollectionStartEvent, mark: Mark) -> None:
        self._count(1, mark)
        if event.tag is not None:
            self._refuse_tag(mark)
        if len(self._open) == DEPTH_MAX:
            self._stop(mark, f"is nested deeper than {DEPTH_MAX} levels")
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._open.append(MarkedMapping(mark) if is_mapping else MarkedList(mark))
        self._keys.append(None)
        self._starts.append((event.anchor, self._nodes - 1))
        if event.anchor:
            self._anchors.pop(event.anchor, None)

    def _end(self, _: yaml.CollectionEndEvent, __: Mark) -> None:
        node = self._open.pop()
        self._keys.pop()
        anchor, before = self._starts.pop()
        if anchor:
            self._anchors[anchor] = _Anchored(node, self._nodes - before)
        self._add(node, node.mark)

    def _alias(self, event: yaml.AliasEvent, mark: Mark) -> None:
        self._aliases += 1
        if self._aliases > ALIASES_MAX:
            self._stop(mark, f"has more than {ALIASES_MAX:,} aliases")
        anchored = self._anchors.get(event.anchor or "")
        if anchored is None:
            is_inside = any(anchor == event.anchor for anchor, _ in self._starts)
            says = "refers to what it stands in" if is_inside else "refers to no anchor before it"
            self._stop(mark, f"this alias {says}")
        self._count(anchored.size, mark)
        self._add(anchored.node, mark)

    def _add(self, node: Node, mark: Mark) -> None:
        if not self._open:
            self.root = node
            return
        container = self._open[-1]
        if isinstance(container, MarkedList):
            container.append(node)
            container.marks.append(mark)
        elif (pending := self._keys[-1]) is None:
            self._keys[-1] = (self._key(node, mark, container), mark)
        else:
            self._keys[-1] = None
            key, key_mark = pending
            if key is not None:
                container[key] = node
                container.marks[key] = (key_mark, mark)

    def _key(self, node: Node, mark: Mark, container: MarkedMapping) -> str | None:
        """The key, or ``None`` where it has a problem, which is noted."""
        if not isinstance(node, str):
            self._note(mark, "a key must be a text")
        elif node == "<<":
            self._note(mark, "merge keys are not supported", "say it once in defaults or in a group")
        elif node in container:
            first = _place(container.marks[node][0], self._source)
            # Not quoted, nor is an alias: a secret may have been written there by mistake.
            self._note(mark, f"this key stands here again, first at {first}")
        else:
            return node
        return None

    def _refuse_tag(self, mark: Mark) -> None:
        self._note(mark, "tags are not allowed", "every value is text until a field says otherwise")

    def _count(self, nodes: int, mark: Mark) -> None:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            self._stop(mark, f"has more than {NODES_MAX:,} values, aliases counted for what they stand for")

    def _note(self, mark: Mark, message: str, hint: str = "") -> None:
        if len(self.problems) == PROBLEMS_MAX:
            self._stop(mark, f"has more than {PROBLEMS_MAX:,} problems")
        self.problems.append(Problem(_place(mark, self._source), "", message, hint))

    def _stop(self, mark: Mark, message: str, hint: str = "") -> NoReturn:
        raise InventoryError([*self.problems, Problem(_place(mark, self._source), "", message, hint)])
