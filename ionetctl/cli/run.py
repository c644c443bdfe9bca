"""Runs a command's body and ends the process with its exit code, whatever happened in between."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from ionetctl.cli.output import CommandResult, Common, Face, error_document, failure_of, gravest
from ionetctl.core.errors import ExitCode
from ionetctl.ui.verbosity import Verbosity

if TYPE_CHECKING:
    from collections.abc import Callable

    from ionetctl.core.settings import Settings
    from ionetctl.summary.rollout_summary import Failure

FailureDocument = "Callable[[Failure, ExitCode], Any]"


def run(
    common: Common,
    body: Callable[[Face], CommandResult],
    describe_failure: Callable[[Failure, ExitCode], Any] = error_document,
) -> NoReturn:
    """Show what ``body`` returns, or what went wrong in the shape of ``describe_failure``, and exit accordingly."""
    face = Face(common)
    try:
        result = body(face)
    except typer.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the last line: every error becomes an exit code)
        result = _failed(face, error, describe_failure)
    face.show(result)
    raise typer.Exit(int(result.exit_code))


def load_settings(state_dir: str | None = None) -> Settings:
    """The process's settings, with ``--state-dir`` where it was given."""
    from dataclasses import replace
    from pathlib import Path

    from ionetctl.core.settings import Settings

    settings = Settings.load()
    if state_dir is None:
        return settings
    return replace(settings, state_dir=Path(state_dir).expanduser().absolute())


def _failed(
    face: Face, error: BaseException, describe_failure: Callable[[Failure, ExitCode], Any]
) -> CommandResult:
    failure, exit_code = failure_of(error)
    if exit_code is ExitCode.BUG and face.common.verbosity is Verbosity.DEBUG:
        _print_places(gravest(error) if isinstance(error, BaseExceptionGroup) else error)
    return CommandResult(document=describe_failure(failure, exit_code), exit_code=exit_code, failure=failure)


def _print_places(error: BaseException) -> None:
    """Places only, no values: what a frame held or an exception says may be secret."""
    import traceback

    if sys.stderr is not None:
        for frame in traceback.extract_tb(error.__traceback__):
            sys.stderr.write(f"  {frame.filename}:{frame.lineno} in {frame.name}\n")
