"""The mutants of a module: each has one condition negated, which a test of it must detect."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

INVERSE: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
Slot = tuple[ast.AST, str, int | None]
"""Where a condition is: its parent, the parent's field, and the index where that is a list."""


def mutants(tree: ast.Module) -> Iterator[tuple[str, ast.Module]]:
    """Each mutant of a module, with a name that has the line, the condition and what replaced it.

    It is the tree itself, which is restored before the next one.
    """
    for slot in _slots(tree):
        old = _at(slot)
        line = getattr(slot[0], "lineno", getattr(old, "lineno", 0))
        before = _words(slot)
        _put(slot, _inverted(old))
        yield f"{line}: {before} → {_words(slot)}", ast.fix_missing_locations(tree)
        _put(slot, old)


def _slots(tree: ast.Module) -> list[Slot]:
    """Every test of a branch, every filter, every part of an and or an or, every comparison.

    A constant (``or 0``) is a default and no condition.
    """
    found: list[Slot] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp) and not _is_for_types(node):
            found.append((node, "test", None))
        elif isinstance(node, ast.comprehension):
            found += [(node, "ifs", place) for place in range(len(node.ifs))]
        elif isinstance(node, ast.BoolOp):
            parts = enumerate(node.values)
            found += [(node, "values", place) for place, part in parts if not isinstance(part, ast.Constant)]
        elif isinstance(node, ast.Compare):
            found += [(node, "ops", place) for place in range(len(node.ops))]
    return found


def _is_for_types(node: ast.If | ast.IfExp) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _at(slot: Slot) -> Any:
    parent, name, place = slot
    value = getattr(parent, name)
    return value if place is None else value[place]


def _words(slot: Slot) -> str:
    return ast.unparse(slot[0]) if isinstance(slot[0], ast.Compare) else ast.unparse(_at(slot))


def _inverted(old: Any) -> ast.AST:
    return INVERSE[type(old)]() if isinstance(old, ast.cmpop) else ast.UnaryOp(ast.Not(), old)


def _put(slot: Slot, new: Any) -> None:
    parent, name, place = slot
    if place is None:
        setattr(parent, name, new)
    else:
        getattr(parent, name)[place] = new
