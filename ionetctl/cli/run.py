"""Makes Typer commands of functions that return a result: adds the common options, shows the result, sets the exit code."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Collection, Mapping
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from ionetctl.cli.options import CommonOptions, OutputFormat
from ionetctl.cli.output import CommandResult, Display, error_document, failure_of
from ionetctl.core.errors import ExitCode, UsageError, most_serious
from ionetctl.ui.verbosity import Verbosity

if TYPE_CHECKING:
    from ionetctl.core.settings import Settings
    from ionetctl.summary.rollout_summary import Failure

_USER_IN_URL: Final = re.compile(r"://[^/@]*@")

FailureDocument = Callable[["Failure", ExitCode], Any]
"""Makes the ``-o json`` document of a command that failed."""


def command(
    failure_document: FailureDocument = error_document, *, has_names: bool = False
) -> Callable[[Callable[Concatenate[Display, ...], CommandResult]], Callable[..., NoReturn]]:
    """Make a Typer command of a function that takes a ``Display`` and its own options, and returns its result.

    The common options follow its own. The command never returns: it raises ``typer.Exit`` with the exit code.
    ``has_names`` says that its result has names for ``-o name``; others refuse that before they do anything.
    """
    common = _common_parameters()

    def decorate(body: Callable[Concatenate[Display, ...], CommandResult]) -> Callable[..., NoReturn]:
        @wraps(body)
        def typer_command(**arguments: Any) -> NoReturn:  # noqa: ANN401  (what Typer parsed by the signature below)
            options = CommonOptions.parse(**{name: arguments.pop(name) for name in common})

            def checked(display: Display) -> CommandResult:
                if options.output is OutputFormat.NAME and not has_names:
                    hint = "use human, wide, json or ndjson"
                    raise UsageError("output_unsupported", "this command has no names to print", hint)
                return body(display, **arguments)

            run(options, checked, failure_document)

        _, *own = inspect.signature(body, eval_str=True).parameters.values()
        typer_command.__signature__ = inspect.Signature([*own, *common.values()])  # type: ignore[attr-defined]
        # As read above: Typer would read the text of each again.
        typer_command.__annotations__ = {each.name: each.annotation for each in [*own, *common.values()]}
        return typer_command

    return decorate


@cache
def _common_parameters() -> Mapping[str, inspect.Parameter]:
    return inspect.signature(CommonOptions.parse, eval_str=True).parameters


def run(
    common: CommonOptions,
    body: Callable[[Display], CommandResult],
    failure_document: FailureDocument = error_document,
) -> NoReturn:
    """Show what ``body`` returns, or its exception as ``failure_document`` has it; raise ``typer.Exit``."""
    display = Display(common)
    try:
        result = body(display)
    except typer.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the last handler: every error becomes an exit code)
        failure, exit_code = failure_of(error)
        if exit_code is ExitCode.BUG and common.verbosity is Verbosity.DEBUG:
            _print_places(most_serious(error))
        result = CommandResult(failure_document(failure, exit_code), exit_code=exit_code, failure=failure)
    display.show(result)
    raise typer.Exit(int(result.exit_code))


def given_words(context: typer.Context, *, without: Collection[str] = ()) -> tuple[str, ...]:
    """The command as one would type it: its arguments, and every option that the command line or the environment gave.

    ``without`` are names of parameters. A user or password in a URL is left out.
    """
    # Below the program itself, whose name may be of several words: ``python -m ionetctl``.
    words = [str(each.info_name) for each in _below_root(context)]
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is None or source.name.startswith("DEFAULT") or parameter.name in without:
            continue
        words += _words_of(parameter, context.params[parameter.name or ""])
    return tuple(_USER_IN_URL.sub("://", word) for word in words)


def _below_root(context: typer.Context) -> list[typer.Context]:
    return [] if context.parent is None else [*_below_root(context.parent), context]  # type: ignore[arg-type]


def _words_of(parameter: Any, value: Any) -> list[str]:  # noqa: ANN401  (Typer's own, and what it has read)
    if parameter.param_type_name == "argument":
        return [str(each) for each in (value if isinstance(value, (list, tuple)) else [value])]
    name = next(name for name in parameter.opts if name.startswith("--"))
    if parameter.count:
        return [name] * value
    if parameter.is_flag:
        return [name] if value else []
    values = value if isinstance(value, (list, tuple)) else [value]
    return [word for each in values for word in (name, str(getattr(each, "value", each)))]


def load_settings(state_dir: str | None = None) -> Settings:
    """The process's settings, with the state directory of ``--state-dir`` if given."""
    from dataclasses import replace
    from pathlib import Path

    from ionetctl.core.settings import Settings

    settings = Settings.load()
    if state_dir is None:
        return settings
    return replace(settings, state_dir=Path(state_dir).expanduser().absolute())


def _print_places(error: BaseException) -> None:
    """Print where the error was raised, without values: those and the error's text may be secret."""
    import traceback

    if sys.stderr is not None:
        for frame in traceback.extract_tb(error.__traceback__):
            sys.stderr.write(f"  {frame.filename}:{frame.lineno} in {frame.name}\n")


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  (click's context, which Typer does not export)
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    """A group whose help shows no type beside a flag."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  (as above)
        """Its parameters, flags without a type."""
        return _without_types(super().get_params(ctx))


CONTEXT: Final = {"help_option_names": ["-h", "--help"]}
"""Said of every command, not of the first alone: whoever shows the help of one first decides how it looks from then on."""


class Commands(typer.Typer):
    """A group of commands whose help shows no type beside a flag, which takes no value."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  (Typer's own)
        super().__init__(context_settings=CONTEXT, **{"cls": Group} | settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:  # noqa: ANN401
        """Register a command, as ``typer.Typer.command`` does."""
        return super().command(name, cls=_Command, context_settings=CONTEXT, **settings)


def _without_types(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_bool_flag and parameter.metavar is None:
            parameter.metavar = ""
            # Typer's own flags for completion are None: not a bool, so that it would import pydantic to read them.
            parameter.default = bool(parameter.default)
    return parameters
