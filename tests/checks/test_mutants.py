"""No condition of a check can be turned round without a case that notices."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

import pytest

from ionetctl.checks import CHECKS, FLEET_CHECKS, finding
from tests.checks.cases import CASES
from tests.checks.mutants import mutants
from tests.checks.on_fleet import CASES as FLEET_CASES

ALL: Final[tuple[Any, ...]] = (*CHECKS, *FLEET_CHECKS)
ROOMS: Final = sorted({check.__module__ for check in ALL})
SUBJECTS: Final = tuple((case.subject, bool(case.message)) for case in CASES)
FLEETS: Final = tuple(((case.fleet,), bool(case.message)) for case in FLEET_CASES)
Namespace = dict[str, Any]
Check = Callable[..., Iterator[Any]]
Subjects = tuple[tuple[Any, bool], ...]


def load(name: str, tree: ast.Module) -> Namespace:
    """The module of a tree, under the name of the one that it was made from."""
    namespace: Namespace = {"__name__": name}
    exec(compile(tree, name, "exec"), namespace)  # noqa: S102  (our own source, with one condition turned round)
    return namespace


def tree_of(name: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(name)))


def told(findings: Iterator[Any], *, with_words: bool) -> list[tuple[str, ...]]:
    """What the tests of the cases hold of findings: whose they are, codes, severities, hints, the words of some."""
    pairs = [each if isinstance(each, tuple) else ("", each) for each in findings]
    return [
        (host, one.code, one.severity, one.hint, one.message if with_words else "") for host, one in pairs
    ]


@cache
def expected(check: Check) -> tuple[tuple[Any, bool, list[tuple[str, ...]]], ...]:
    """What a check tells of each case, first the cases of which it tells something: they notice soonest."""
    rows = [
        (arguments, with_words, told(check(*arguments), with_words=with_words))
        for arguments, with_words in subjects(check)
    ]
    return tuple(sorted(rows, key=lambda row: not row[2]))


def subjects(check: Check) -> Subjects:
    return FLEETS if check in FLEET_CHECKS else SUBJECTS


def is_noticed(name: str, namespace: Namespace) -> bool:
    """Whether a check of the namespace tells something else, or breaks, on any case."""
    return any(_differs(check, namespace[check.__name__]) for check in ALL if check.__module__ == name)


def _differs(check: Check, mutant: Check) -> bool:
    try:
        return any(
            told(mutant(*arguments), with_words=with_words) != before
            for arguments, with_words, before in expected(check)
        )
    except Exception:  # noqa: BLE001  (whatever it is, the case's test would fail)
        return True


@pytest.mark.parametrize("name", ROOMS)
def test_every_condition_is_held_by_a_case(name: str) -> None:
    """Turned round, each of them makes some case fail."""
    survivors = [words for words, tree in mutants(tree_of(name)) if not is_noticed(name, load(name, tree))]
    assert survivors == []


def test_every_condition_that_checks_share_is_held_by_a_case() -> None:
    """What the rooms ask of the promise, and how they word it, is held through them."""
    shared = finding.__name__
    survivors = []
    for words, tree in mutants(tree_of(shared)):
        changed = {key: value for key, value in load(shared, tree).items() if not key.startswith("_")}
        rooms = ((room, load(room, tree_of(room))) for room in ROOMS)
        if not any(is_noticed(room, namespace) for room, namespace in rebound(rooms, changed)):
            survivors.append(words)
    assert survivors == []


def rebound(rooms: Iterator[tuple[str, Namespace]], changed: Namespace) -> Iterator[tuple[str, Namespace]]:
    """Rooms whose functions see the changed ones in place of those that they import."""
    for room, namespace in rooms:
        namespace.update({key: value for key, value in changed.items() if key in namespace})
        yield room, namespace


def test_unchanged_rooms_are_not_noticed() -> None:
    """What notices every mutant would be worth nothing if it noticed the original too."""
    assert [room for room in ROOMS if is_noticed(room, load(room, tree_of(room)))] == []


def test_mutants_are_made_of_every_kind_of_condition() -> None:
    """Branches, choices, filters, parts of an and, comparisons; and nothing of what is for types alone."""
    source = """
if TYPE_CHECKING:
    import this
if a:
    b = c if d else e
f = [g for g in h if i]
j = k and l and 1
m = 0 < n <= o
"""
    assert sorted(words for words, _ in mutants(ast.parse(source))) == [
        "4: a → not a",
        "5: d → not d",
        "6: i → not i",
        "7: k → not k",
        "7: l → not l",
        "8: 0 < n <= o → 0 < n > o",
        "8: 0 < n <= o → 0 >= n <= o",
    ]
