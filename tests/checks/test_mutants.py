"""No condition of a check can be negated without a case that fails."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

import pytest

from ionetctl.checks import CHECKS, FLEET_CHECKS
from ionetctl.checks import finding as shared_module
from tests.checks.cases import CASES
from tests.checks.fleet_cases import CASES as FLEET_CASES
from tests.checks.mutants import mutants

ALL: Final[tuple[Any, ...]] = (*CHECKS, *FLEET_CHECKS)
MODULES: Final = sorted({check.__module__ for check in ALL})
HOSTS: Final = tuple((case.host_and_facts, bool(case.message)) for case in CASES)
FLEETS: Final = tuple(((case.fleet,), bool(case.message)) for case in FLEET_CASES)
Namespace = dict[str, Any]
Check = Callable[..., Iterator[Any]]
Arguments = tuple[tuple[Any, bool], ...]


def load(name: str, tree: ast.Module) -> Namespace:
    """The module of a tree, under the name of the one that it was made from."""
    namespace: Namespace = {"__name__": name}
    exec(compile(tree, name, "exec"), namespace)  # noqa: S102  (our own source, with one condition negated)
    return namespace


def tree_of(name: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(name)))


def reported(findings: Iterator[Any], *, with_words: bool) -> list[tuple[str, ...]]:
    """What the tests of the cases compare of findings: host, code, severity, hint, and the message where the case has one."""
    pairs = [each if isinstance(each, tuple) else ("", each) for each in findings]
    return [
        (host, finding.code, finding.severity, finding.hint, finding.message if with_words else "")
        for host, finding in pairs
    ]


@cache
def expected(check: Check) -> tuple[tuple[Any, bool, list[tuple[str, ...]]], ...]:
    """What a check reports for each case; cases with findings come first, as they detect most mutants."""
    rows = [
        (arguments, with_words, reported(check(*arguments), with_words=with_words))
        for arguments, with_words in arguments_of(check)
    ]
    return tuple(sorted(rows, key=lambda row: not row[2]))


def arguments_of(check: Check) -> Arguments:
    return FLEETS if check in FLEET_CHECKS else HOSTS


def is_detected(name: str, namespace: Namespace) -> bool:
    """Whether a check of the namespace reports something else, or raises, on any case."""
    return any(_differs(check, namespace[check.__name__]) for check in ALL if check.__module__ == name)


def _differs(check: Check, mutant: Check) -> bool:
    try:
        return any(
            reported(mutant(*arguments), with_words=with_words) != before
            for arguments, with_words, before in expected(check)
        )
    except Exception:  # noqa: BLE001  (whatever it raises, the case's test would fail)
        return True


@pytest.mark.parametrize("name", MODULES)
def test_every_negated_condition_fails_a_case(name: str) -> None:
    """Of each subject's checks."""
    survivors = [words for words, tree in mutants(tree_of(name)) if not is_detected(name, load(name, tree))]
    assert survivors == []


def test_every_negated_condition_that_checks_share_fails_a_case() -> None:
    """Functions that several checks use are tested through them."""
    shared = shared_module.__name__
    survivors = []
    for words, tree in mutants(tree_of(shared)):
        changed = {key: value for key, value in load(shared, tree).items() if not key.startswith("_")}
        modules = ((module, load(module, tree_of(module))) for module in MODULES)
        if not any(is_detected(module, namespace) for module, namespace in with_changed(modules, changed)):
            survivors.append(words)
    assert survivors == []


def with_changed(
    modules: Iterator[tuple[str, Namespace]], changed: Namespace
) -> Iterator[tuple[str, Namespace]]:
    """Modules whose functions use the changed ones in place of those that they import."""
    for module, namespace in modules:
        namespace.update({key: value for key, value in changed.items() if key in namespace})
        yield module, namespace


def test_unchanged_modules_are_not_detected() -> None:
    """The comparison would prove nothing if it failed for the original too."""
    assert [module for module in MODULES if is_detected(module, load(module, tree_of(module)))] == []


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
