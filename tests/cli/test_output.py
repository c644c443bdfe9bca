"""From exceptions to messages and exit codes."""

from __future__ import annotations

import io

import pytest
import typer

from ionetctl.cli.options import CommonOptions, OutputFormat
from ionetctl.cli.output import CommandResult, Display, failure_of
from ionetctl.cli.run import run
from ionetctl.core.errors import ConfigurationError, ExitCode, RegionError
from ionetctl.summary.rollout_summary import Failure
from ionetctl.ui.verbosity import Verbosity

SECRET = "hunter2-token"
REGION = RegionError("region_silent", "no answer", "look")


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (REGION, "region_silent", ExitCode.UNVERIFIED),
        (KeyboardInterrupt(), "interrupted", ExitCode.INTERRUPTED),
        (ValueError(SECRET), "internal_error", ExitCode.BUG),
        (ExceptionGroup("g", [REGION]), "region_silent", ExitCode.UNVERIFIED),
        (
            ExceptionGroup("g", [REGION, ExceptionGroup("h", [KeyError(SECRET)])]),
            "internal_error",
            ExitCode.BUG,
        ),
    ],
)
def test_every_exception_has_its_code(error: BaseException, code: str, exit_code: ExitCode) -> None:
    """Ours bring their own, an interrupt is 130, anything else is a bug, in a group too."""
    failure, found = failure_of(error)
    assert (failure.code, found) == (code, exit_code)


@pytest.mark.parametrize("verbosity", [Verbosity.NORMAL, Verbosity.DEBUG])
def test_bug_tells_no_secret(capsys: pytest.CaptureFixture[str], verbosity: Verbosity) -> None:
    """What an unexpected exception holds is not shown, its type and, with -vv, its place are."""

    def body(_: Display) -> CommandResult:
        token = SECRET
        raise ExceptionGroup(token, [ValueError(token)])

    with pytest.raises(typer.Exit) as ended:
        run(CommonOptions(verbosity=verbosity), body)
    captured = capsys.readouterr()
    assert (ended.value.exit_code, SECRET in captured.err + captured.out) == (1, False)
    assert "unexpected ValueError" in captured.err


def test_our_own_error_tells_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    """The control: what is meant to be read is shown, on standard error, line by line."""

    def body(_: Display) -> CommandResult:
        raise ConfigurationError("inventory_invalid", f"first {SECRET}\n    second\x1b[2J", "mend it")

    with pytest.raises(typer.Exit) as ended:
        run(CommonOptions(), body)
    captured = capsys.readouterr()
    expected = f"error inventory_invalid: first {SECRET}\n      second\n  → mend it\n"
    assert (ended.value.exit_code, captured.out, captured.err) == (3, "", expected)


def test_places_of_a_bug_are_told_with_vv(capsys: pytest.CaptureFixture[str]) -> None:
    """With -vv the files and lines on the way to a bug are listed."""

    def body(_: Display) -> CommandResult:
        raise ValueError(SECRET)

    with pytest.raises(typer.Exit):
        run(CommonOptions(verbosity=Verbosity.DEBUG), body)
    assert "test_output.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("quiet", "verbose", "expected"),
    [(False, 0, 1), (False, 1, 2), (False, 2, 3), (False, 9, 3), (True, 2, 0)],
)
def test_verbosity_of_options(*, quiet: bool, verbose: int, expected: int) -> None:
    """Each -v says more up to -vv, and -q beats them."""
    assert CommonOptions.parse(quiet=quiet, verbose=verbose).verbosity == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (OutputFormat.HUMAN, "seen\n"),
        (OutputFormat.JSON, '{\n  "a": 1\n}\n'),
        (OutputFormat.NDJSON, '{"b":1}\n{"b":2}\n'),
    ],
)
def test_result_is_shown_as_asked(output: OutputFormat, expected: str) -> None:
    """One result, three forms."""
    out, err = io.StringIO(), io.StringIO()
    display = Display(CommonOptions(output), out, err)
    display.show(CommandResult({"a": 1}, [{"b": 1}, {"b": 2}], lambda: ["seen"], failure=Failure("x", "y")))
    assert (out.getvalue(), err.getvalue()) == (expected, "error x: y\n")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (OutputFormat.HUMAN, []),
        (OutputFormat.NAME, []),
        (OutputFormat.JSON, ["document"]),
        (OutputFormat.NDJSON, ["rows", "document"]),
    ],
)
def test_only_what_is_asked_for_is_made(output: OutputFormat, expected: list[str]) -> None:
    """The document of 10,000 hosts is not made for a person, nor the rows for the document."""
    made = []

    def document() -> dict[str, str]:
        made.append("document")
        return {"schema": "a/1"}

    def rows() -> list[dict[str, int]]:
        made.append("rows")
        return [{"b": 1}]

    Display(CommonOptions(output), io.StringIO(), io.StringIO()).show(CommandResult(document, rows))
    assert made == expected
