"""How an inventory's problems are rendered, and how they travel."""

from __future__ import annotations

import pickle

from ionetctl.inventory.yaml.problems import InventoryError, Place, Problem, did_you_mean, quoted


def _problem(line: int, hint: str = "") -> Problem:
    return Problem(Place("site.yaml", line, 3), "hosts[0].name", "is missing", hint)


def test_one_problem_lends_its_hint_to_the_error() -> None:
    """A single problem is the message, its hint the hint."""
    error = InventoryError([_problem(4, "write one")])
    assert (error.message, error.hint) == ("site.yaml:4:3: hosts[0].name: is missing", "write one")


def test_several_problems_keep_their_hints() -> None:
    """Several problems stand in the order of the text, each with its hint below."""
    error = InventoryError([_problem(9), _problem(4, "write one")])
    assert (error.message, error.hint) == (
        "site.yaml:4:3: hosts[0].name: is missing\n    write one\nsite.yaml:9:3: hosts[0].name: is missing",
        "",
    )


def test_very_many_problems_are_counted() -> None:
    """A screen's worth is spelled out, the rest counted; all of them are kept."""
    error = InventoryError([_problem(line) for line in range(1, 1302)])
    assert (len(error.message.splitlines()), error.message.splitlines()[-1]) == (
        101,
        "… and 1,201 more problems",
    )
    assert len(error.problems) == 1301


def test_the_error_survives_another_process() -> None:
    """It is the same error after pickling."""
    error = InventoryError([_problem(9), _problem(4, "write one")])
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    assert (type(again), again.problems, str(again), again.hint) == (
        InventoryError,
        error.problems,
        str(error),
        error.hint,
    )


def test_quoting_makes_text_harmless() -> None:
    """Control characters are escaped, long texts cut."""
    assert [quoted("a\x1b[2J\u202e"), quoted("x" * 61), quoted("x" * 60)] == [
        r"'a\x1b[2J\u202e'",
        f"'{'x' * 59}…'",
        f"'{'x' * 60}'",
    ]


def test_a_suggestion_is_near_or_none() -> None:
    """The nearest known word is suggested, a far one is not."""
    assert [did_you_mean("prot", ["port", "user"]), did_you_mean("zzz", ["port"])] == [
        "did you mean port?",
        "",
    ]
