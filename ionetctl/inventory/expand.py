"""From an entry with ranges to one set of fields per host, all ranges in step with the name's.

Knows entries and ranges; precedence and uniqueness stand in ``resolve``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ionetctl.inventory import ranges
from ionetctl.inventory.schema.fields import FieldError, Folded
from ionetctl.inventory.validation_errors import problem_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ionetctl.inventory.yaml.problems import Problem
    from ionetctl.inventory.yaml.tree import Document, Loc

Fields: TypeAlias = "dict[str, Any]"
"""Checked fields of a host by key, as ``schema.HostEntry`` has them."""

HOSTS_MAX: Final = 100_000
"""How many hosts an inventory may have in all."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What an inventory says of a host, or of several at once, and where it says so."""

    loc: Loc
    fields: Mapping[str, Any]


def folded_in(fields: Mapping[str, Any], way: Loc = ()) -> Iterator[tuple[Loc, Folded]]:
    """Every value of ``fields`` that has ranges, with the way to it."""
    for key, value in fields.items():
        if isinstance(value, Folded):
            yield (*way, key), value
        elif isinstance(value, dict):
            yield from folded_in(value, (*way, key))


def refuse_ranges(statement: Statement, document: Document) -> list[Problem]:
    """The problems of a statement that is no single host's and has ranges nevertheless."""
    message, hint = "has a range outside of a host's entry", "ranges expand in step with a host's name"
    return [
        problem_at(document, statement.loc + way, message, hint) for way, _ in folded_in(statement.fields)
    ]


class Expansion:
    """Expands statements one after the other, within the limit for all of them; collects what is wrong."""

    def __init__(self, document: Document) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._left = HOSTS_MAX

    def hosts(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """The fields of each host that the statement stands for; none where its ranges are wrong."""
        folded = dict(folded_in(statement.fields))
        count = ranges.parse(folded[("name",)].text).count if ("name",) in folded else 1
        self._left -= count
        if self._left < 0:
            if self._left + count >= 0:
                self._note(statement.loc, f"is one too many: {HOSTS_MAX:,} hosts are the most")
            return ()
        if not folded:
            return (statement.fields,)
        columns = {way: self._column(statement.loc + way, value, count) for way, value in folded.items()}
        if not all(columns.values()):
            return ()
        return [_with_values(statement.fields, columns, index) for index in range(count)]

    def _column(self, loc: Loc, folded: Folded, count: int) -> list[object]:
        """The value of one field for each host, or nothing where it is wrong."""
        pattern = ranges.parse(folded.text)
        if pattern.count != count:
            self._note(loc, f"stands for {pattern.count:,} values, the host's name for {count:,}")
            return []
        try:
            return [folded.check(text) for text in pattern.texts()]
        except FieldError as error:
            self._note(loc, error.message, error.hint)
            return []

    def _note(self, loc: Loc, message: str, hint: str = "") -> None:
        self.problems.append(problem_at(self._document, loc, message, hint))


def _with_values(fields: Mapping[str, Any], columns: Mapping[Loc, Sequence[object]], index: int) -> Fields:
    result = dict(fields)
    for (key, *below), column in columns.items():
        if below:
            result[str(key)] = _with_values(result[str(key)], {tuple(below): column}, index)
        else:
            result[str(key)] = column[index]
    return result
