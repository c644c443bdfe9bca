"""Equal values held once: the hosts of a fleet are alike in nearly everything that is known of them.

What another process sends, or a parser makes, is new objects throughout; of ten thousand hosts they are most of the memory.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Final, TypeVar, cast

MOST: Final = 2048
"""How many values of a type are known at a time: what all hosts have comes again at once when they are forgotten."""
_PLAIN: Final = frozenset({str, bytes, int, float})

_Value = TypeVar("_Value")


class SharedValues:
    """Remembers texts, numbers, tuples and records, so that equal ones need not be held more than once."""

    def __init__(self) -> None:
        self._known: defaultdict[type, dict[object, Any]] = defaultdict(dict)

    def of(self, value: _Value) -> _Value:
        """An equal value of the same types, with parts of earlier ones wherever these are equal.

        Tuples, dictionaries and dataclasses are looked into, the latter where their constructor takes all their fields.
        Dictionaries, and what they are in, are not shared themselves.
        """
        return cast("_Value", self._of(value))

    def _of(self, value: Any) -> Any:  # noqa: ANN401  (whatever a record may have in it)
        kind: type = type(value)
        if kind in _PLAIN:
            # Not what is zero: 0.0 and -0.0 are equal, and are not written alike.
            return self._once(kind, value, value) if value else value
        if kind is tuple:
            parts = tuple([self._of(part) for part in value])
            return self._once(kind, tuple(map(id, parts)), parts)
        if kind is dict:
            return {self._of(key): self._of(part) for key, part in value.items()}
        if not (names := _field_names(kind)):
            return value
        parts = tuple([self._of(getattr(value, name)) for name in names])
        if any(type(part) is dict for part in parts):
            return kind(*parts)
        key = tuple(map(id, parts))
        known = self._known[kind].get(key)
        return self._once(kind, key, kind(*parts)) if known is None else known

    def _once(self, kind: type, key: object, value: object) -> object:
        """What is known by the key: that value from now on, where nothing is. Keys of ids hold, as values hold their parts."""
        known = self._known[kind]
        if len(known) >= MOST:
            known.clear()
        return known.setdefault(key, value)


@cache
def _field_names(kind: type[object]) -> tuple[str, ...]:
    """The fields of a dataclass in the order of its constructor; none for whatever is to be left as it is."""
    if issubclass(kind, Enum) or not is_dataclass(kind):
        return ()
    found = fields(kind)
    return (
        tuple(field.name for field in found) if all(each.init and not each.kw_only for each in found) else ()
    )
