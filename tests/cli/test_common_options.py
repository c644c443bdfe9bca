"""The common options are added to every command by one decorator."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import pytest
import typer
from typer.testing import CliRunner

from ionetctl.cli.app import app
from ionetctl.cli.options import CommonOptions
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import command, given_words
from ionetctl.core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ionetctl.summary.rollout_summary import Failure

COMMON: Final = inspect.signature(CommonOptions.parse, eval_str=True).parameters


def callbacks(command: Any) -> Iterator[Callable[..., Any]]:
    """The functions of a group's commands, those of subcommands too; Typer has wrapped each."""
    for below in command.commands.values():
        if hasattr(below, "commands"):
            yield from callbacks(below)
        else:
            yield below.callback.__wrapped__


def is_decorated(callback: Callable[..., Any]) -> bool:
    """Whether a function has the common options, last, by the decorator and not by its own signature."""
    body = getattr(callback, "__wrapped__", None)
    if body is None:
        return False
    _, *own = inspect.signature(body).parameters
    parameters = inspect.signature(callback).parameters
    return list(parameters) == [*own, *COMMON] and [parameters[name] for name in COMMON] == [*COMMON.values()]


@command()
def example(display: Display, *, name: str = "a") -> CommandResult:
    """Say what was asked for."""
    common = display.common
    return CommandResult([name, common.output, common.verbosity.name, common.color, common.no_input])


def undecorated(*, name: str = "a") -> CommandResult:
    """A command without the common options."""
    return CommandResult(name)


@pytest.mark.parametrize(
    "callback",
    [*callbacks(typer.main.get_command(app))],
    ids=lambda callback: f"{callback.__module__}.{callback.__name__}",
)
def test_every_command_has_the_common_options_by_the_decorator(callback: Callable[..., Any]) -> None:
    """No command lists them itself, and none is without."""
    assert is_decorated(callback)


@pytest.mark.parametrize(
    ("callback", "expected"), [(example, True), (undecorated, False), (CommonOptions.parse, False)]
)
def test_command_without_the_decorator_would_be_found(
    callback: Callable[..., Any], *, expected: bool
) -> None:
    """The check above tells a decorated function from one without the options and from one that repeats them."""
    assert is_decorated(callback) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], '["a","json","NORMAL","auto",false]'),
        (["--name", "b", "-vv", "--color", "never", "--no-input"], '["b","json","DEBUG","never",true]'),
    ],
)
def test_options_reach_the_command(arguments: list[str], expected: str) -> None:
    """The command gets its own options as arguments and the common ones in its display."""
    ended = CliRunner().invoke(made_of(example), ["-o", "json", *arguments])
    assert (ended.exit_code, "".join(ended.stdout.split())) == (0, expected)


def test_failure_is_written_as_the_commands_own_document() -> None:
    """With a ``failure_document`` an error has the shape that the command chose, and its exit code."""

    def failure_document(failure: Failure, exit_code: ExitCode) -> list[Any]:
        return [failure.code, exit_code]

    @command(failure_document)
    def failing(_: Display) -> CommandResult:
        raise UsageError("rollout_unknown", "no such rollout", "list them")

    ended = CliRunner().invoke(made_of(failing), ["-o", "json"])
    assert (ended.exit_code, "".join(ended.stdout.split())) == (2, '["rollout_unknown",2]')


def made_of(callback: Callable[..., Any]) -> typer.Typer:
    """An application with one command."""
    group = typer.Typer()
    group.command()(callback)
    return group


@command()
def words(
    display: Display,  # noqa: ARG001  (the decorator's)
    context: typer.Context,
    *,
    inventory: Annotated[str, typer.Argument()],
    yes: Annotated[bool, typer.Option("--yes", "-y")] = False,
    limit: Annotated[str | None, typer.Option("--limit", envvar="LIMIT")] = None,
    mirror: Annotated[str | None, typer.Option("--mirror")] = None,
    report: Annotated[list[str] | None, typer.Option("--report")] = None,
    count: Annotated[int, typer.Option("--count")] = 1,
    resume: Annotated[bool, typer.Option("--resume")] = False,
) -> CommandResult:
    """The words by which the command could be given again."""
    del inventory, yes, limit, mirror, report, count, resume
    return CommandResult(list(given_words(context, without={"resume"})))


OUTPUT: Final = ("--output", "json")


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        (["a.yaml"], {}, ["words", "a.yaml", *OUTPUT]),
        (
            ["-y", "a.yaml", "-vv", "--resume"],
            {},
            ["words", "a.yaml", "--yes", *OUTPUT, "--verbose", "--verbose"],
        ),
        (["a b.yaml"], {"LIMIT": "rack:a01"}, ["words", "a b.yaml", "--limit", "rack:a01", *OUTPUT]),
        (
            ["a.yaml", "--report=x=1", "--report=y=2", "--count", "3", "--color", "never"],
            {},
            [
                "words",
                "a.yaml",
                "--report",
                "x=1",
                "--report",
                "y=2",
                "--count",
                "3",
                *OUTPUT,
                "--color",
                "never",
            ],
        ),
        (
            ["a.yaml", "--mirror=https://me:secret@mirror.example/nomad"],
            {},
            ["words", "a.yaml", "--mirror", "https://mirror.example/nomad", *OUTPUT],
        ),
    ],
)
def test_command_is_given_again(arguments: list[str], variables: dict[str, str], expected: list[str]) -> None:
    """Every option that was given, by whatever means, and none that was not; no password."""
    tool = typer.Typer()
    tool.command()(words)
    tool.command()(example)
    done = CliRunner().invoke(tool, ["words", *arguments, "-o", "json"], env=variables)
    assert (json.loads(done.stdout), done.exit_code) == (expected, 0)
