"""The tree of errors: exit codes, what survives a process boundary, and the worst of several."""

from __future__ import annotations

import pickle

import pytest

from ionetctl.core import errors
from ionetctl.core.errors import ExitCode, HostError, IonetctlError, worst


def sent(error: IonetctlError) -> IonetctlError:
    """The error as another process gets it."""
    back: IonetctlError = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    return back


CODES = {
    errors.UsageError: 2,
    errors.ConfigurationError: 3,
    errors.TrustError: 6,
    errors.RegionError: 8,
    errors.LockedError: 7,
    errors.UnwritableError: 11,
    errors.HostError: 5,
    errors.HostUnreachableError: 4,
    errors.HostFailedError: 5,
    errors.HostTrustError: 6,
    errors.HostLockedError: 7,
    errors.HostUnverifiedError: 8,
}


def every(kind: type[IonetctlError]) -> set[type[IonetctlError]]:
    return {kind} | {leaf for child in kind.__subclasses__() for leaf in every(child)}


def test_every_error_has_its_exit_code() -> None:
    """The tree has the codes that the contract fixes, and the base is a bug."""
    ours = {kind for kind in every(IonetctlError) if kind.__module__ == errors.__name__}
    assert {kind: int(kind.exit_code) for kind in ours} == {IonetctlError: 1, **CODES}


def test_tree_is_drawn_with_every_error() -> None:
    """The picture in the module's docstring is the tree."""
    drawn = errors.__doc__ or ""
    assert [kind.__name__ for kind in CODES if kind.__name__ not in drawn] == []


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_error_survives_a_process_boundary(kind: type[IonetctlError]) -> None:
    """Code, message and hint are the same on the other side."""
    back = sent(kind("a_code", "what and where", "what next"))
    assert (type(back), back.code, back.message, back.hint, str(back)) == (
        kind,
        "a_code",
        "what and where",
        "what next",
        "what and where",
    )


@pytest.mark.parametrize("transient", [True, False])
def test_transience_survives_a_process_boundary(transient: bool) -> None:  # noqa: FBT001  (a case)
    """Whether a retry is worth its cost is known on the other side."""
    error = sent(HostError("c", "m", transient=transient))
    assert isinstance(error, HostError)
    assert error.transient is transient


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (set(), 0),
        ({0}, 0),
        ({4, 8}, 8),
        ({4, 8, 5}, 5),
        ({5, 7}, 7),
        ({7, 10}, 10),
        ({10, 11}, 11),
        ({11, 6}, 6),
        ({10, 6, 4}, 6),
        ({0, 4}, 4),
    ],
)
def test_worst_ending_decides(codes: set[int], expected: int) -> None:
    """6, then 11, 10, 7, 5, 8, 4."""
    assert worst({ExitCode(code) for code in codes}) == expected
