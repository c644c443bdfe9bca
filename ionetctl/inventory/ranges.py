"""The folded names of Slurm and ClusterShell: ``rey1-a[01-03]-g[1-8]``, expanded and folded again.

Brackets, lists, steps and zero padding. The number of results is computed before anything is expanded, so that no text
can produce more than the limit. Several brackets expand as a product, leftmost slowest.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LIMIT: Final = 100_000
"""The most texts that a folded text may expand to."""

_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_SPAN = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18})(?:/([0-9]{1,18}))?)?")
_NUMBER = re.compile(r"((?<![0-9])[0-9]{1,18}(?![0-9]))")


class RangeError(ValueError):
    """A folded text that cannot be expanded; the message quotes nothing but its brackets."""


@dataclass(frozen=True, slots=True)
class Span:
    """The numbers from ``first`` to ``last`` by ``step``, padded with zeros to ``width`` digits."""

    first: int
    last: int
    step: int = 1
    width: int = 0

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return (self.last - self.first) // self.step + 1

    def texts(self) -> Iterator[str]:
        """The numbers as text."""
        return (str(number).zfill(self.width) for number in range(self.first, self.last + 1, self.step))


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed folded text: ``literals`` and ``axes`` (the brackets) alternate, beginning and ending with a literal."""

    literals: tuple[str, ...]
    axes: tuple[tuple[Span, ...], ...]

    @property
    def count(self) -> int:
        """How many texts it expands to."""
        return math.prod(sum(span.size for span in axis) for axis in self.axes)

    def texts(self) -> Iterator[str]:
        """All texts, leftmost bracket slowest."""
        axes = [[text for span in axis for text in span.texts()] for axis in self.axes]
        for numbers in itertools.product(*axes):
            yield self.literals[0] + "".join(
                number + literal for number, literal in zip(numbers, self.literals[1:], strict=True)
            )


def parse(text: str, limit: int = LIMIT) -> Pattern:
    """The parsed pattern of ``text``; a text without brackets expands to itself.

    Raises ``RangeError`` for brackets that are no ranges, and for more than ``limit`` texts.
    """
    pieces = _BRACKET.split(text)
    if any("[" in literal or "]" in literal for literal in pieces[::2]):
        raise RangeError("has a bracket without its partner, or one within another")
    pattern = Pattern(tuple(pieces[::2]), tuple(_axis(piece) for piece in pieces[1::2]))
    if pattern.count > limit:
        raise RangeError(f"stands for {pattern.count:,} names; {limit:,} are the most")
    return pattern


def expand(text: str, limit: int = LIMIT) -> list[str]:
    """All texts that ``text`` expands to, in order; raises ``RangeError`` as ``parse`` does."""
    return list(parse(text, limit).texts())


def has_range(text: str) -> bool:
    """Whether ``text`` has brackets, and all of them are ranges in form."""
    parts = [part for found in _BRACKET.findall(text) for part in found.split(",")]
    return bool(parts) and all(map(_SPAN.fullmatch, parts))


def _axis(content: str) -> tuple[Span, ...]:
    return tuple(_span(part, content) for part in content.split(","))


def _span(part: str, content: str) -> Span:
    match = _SPAN.fullmatch(part)
    if match is None:
        raise RangeError(f"has [{content[:40]}], which is no range")
    first, last, step = match[1], match[2] or match[1], int(match[3] or 1)
    if int(last) < int(first):
        raise RangeError(f"has [{content[:40]}], which runs backwards")
    if step == 0:
        raise RangeError(f"has [{content[:40]}], which steps by zero")
    if (_is_padded(first) or _is_padded(last)) and len(last) != len(_padded(int(last), len(first))):
        raise RangeError(f"has [{content[:40]}], whose ends have different numbers of digits")
    return Span(int(first), int(last), step, len(first) if _is_padded(first) else 0)


def _is_padded(digits: str) -> bool:
    return len(digits) > 1 and digits.startswith("0")


def _padded(number: int, width: int) -> str:
    return str(number).zfill(width)


def fold(names: Iterable[str]) -> tuple[str, ...]:
    """Folded texts that expand to exactly ``names``; few, but not always the fewest: numbers are merged one position at a time.

    Repeated names count once. Names must hold no brackets. The result is in natural order: ``g2`` before ``g10``.
    """
    rows: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for name in names:
        pieces = _NUMBER.split(name)
        rows.setdefault(tuple(pieces[::2]), set()).add(tuple(pieces[1::2]))
    return tuple(_render(literals, box) for literals in sorted(rows) for box in _boxes(rows[literals]))


_Box = tuple[tuple[str, ...], ...]


def _boxes(rows: set[tuple[str, ...]]) -> list[_Box]:
    """The rows as products of sets: rows that differ in one number only are merged, from the last position on."""
    boxes: list[_Box] = [tuple((number,) for number in row) for row in rows]
    for axis in reversed(range(len(boxes[0]))):
        alike: dict[_Box, list[str]] = {}
        for box in boxes:
            alike.setdefault(box[:axis] + box[axis + 1 :], []).extend(box[axis])
        boxes = [
            (*rest[:axis], tuple(sorted(numbers, key=_natural)), *rest[axis:])
            for rest, numbers in alike.items()
        ]
    return sorted(boxes, key=lambda box: [_natural(numbers[0]) for numbers in box])


def _natural(digits: str) -> tuple[int, int]:
    return len(digits), int(digits)


def _render(literals: tuple[str, ...], box: _Box) -> str:
    numbers = (axis[0] if len(axis) == 1 else f"[{','.join(_runs(axis))}]" for axis in box)
    return literals[0] + "".join(
        number + literal for number, literal in zip(numbers, literals[1:], strict=True)
    )


def _runs(numbers: tuple[str, ...]) -> Iterator[str]:
    """Sorted numbers as ``01-03`` and ``7``; the numbers of a run have the same padding."""
    first = last = numbers[0]
    for number in numbers[1:]:
        if number == _padded(int(last) + 1, len(first) if _is_padded(first) else 0):
            last = number
            continue
        yield first if first == last else f"{first}-{last}"
        first = last = number
    yield first if first == last else f"{first}-{last}"
