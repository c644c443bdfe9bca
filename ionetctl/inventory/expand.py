"""Expands a host's entry with ranges to one set of fields per host; all ranges go in step with the name's.

Precedence and uniqueness are in ``merge`` and ``consistency``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ionetctl.inventory import ranges
from ionetctl.inventory.schema.field_checks import FieldError, Folded
from ionetctl.inventory.validation_errors import problem_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ionetctl.inventory.yaml.problems import Problem
    from ionetctl.inventory.yaml.tree import Document, Loc

Fields: TypeAlias = "dict[str, Any]"
"""Checked fields of a host by key, those of ``structure.HostEntry``."""

HOSTS_MAX: Final = 100_000
"""The most hosts of an inventory."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Fields of a host, or of several hosts at once, and their path in the inventory."""

    loc: Loc
    fields: Mapping[str, Any]


def folded_in(fields: Mapping[str, Any], path: Loc = ()) -> Iterator[tuple[Loc, Folded]]:
    """Every value of ``fields`` that has ranges, with its path."""
    for key, value in fields.items():
        if isinstance(value, Folded):
            yield (*path, key), value
        elif isinstance(value, dict):
            yield from folded_in(value, (*path, key))


def refuse_ranges(statement: Statement, document: Document) -> list[Problem]:
    """A problem for each range in defaults, a group or a region, where ranges are not allowed."""
    message, hint = "has a range outside of a host's entry", "ranges expand in step with a host's name"
    return [
        problem_at(document, statement.loc + path, message, hint) for path, _ in folded_in(statement.fields)
    ]


class Expansion:
    """Expands statements one after the other, up to ``HOSTS_MAX`` hosts in all; collects the problems."""

    def __init__(self, document: Document) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._left = HOSTS_MAX

    def hosts(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """The fields of each host of the statement; none where its ranges are invalid."""
        folded = dict(folded_in(statement.fields))
        count = ranges.parse(folded[("name",)].text).count if ("name",) in folded else 1
        self._left -= count
        if self._left < 0:
            if self._left + count >= 0:
                self._note(statement.loc, f"is one too many: {HOSTS_MAX:,} hosts are the most")
            return ()
        if not folded:
            return (statement.fields,)
        columns = {path: self._column(statement.loc + path, value, count) for path, value in folded.items()}
        if not all(columns.values()):
            return ()
        return [_with_values(statement.fields, columns, index) for index in range(count)]

    def _column(self, loc: Loc, folded: Folded, count: int) -> list[object]:
        """The value of one field for each host; empty where it is invalid."""
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
