"""The command tree of ionetctl, and its entry point.

A command's module is imported when the command is asked for, and imports what it needs when it runs: so ``--version``,
the help of one command and its start wait for no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any, Final

import typer

from ionetctl import __version__
from ionetctl.cli.run import Commands, Group
from ionetctl.cli.streams import tolerant_streams
from ionetctl.core.garbage_collection import collect_rarely
from ionetctl.credentials.core_dumps import turn_off_core_dumps

PANELS: Final = {
    **dict.fromkeys(("enroll", "update", "verify", "status", "nodes", "capacity", "rollouts"), "Fleet"),
    **dict.fromkeys(
        ("preflight", "probe", "explain", "render", "inventory", "region", "trust", "artifacts", "mirror"),
        "Site",
    ),
    **dict.fromkeys(("demo", "lab"), "Rehearsal"),
}
"""The commands as the help lists them, each with its panel there. Each has a module of its name in ``cli.commands``."""


@cache
def _loaded(name: str) -> Any:  # noqa: ANN401  (click's command or group, which Typer does not export)
    """A command, or a group of them: what its module calls ``app``, or its function of the same name."""
    module = import_module(f"ionetctl.cli.commands.{name}")
    holder = Commands(rich_markup_mode="rich")
    if hasattr(module, "app"):
        holder.add_typer(module.app, name=name, rich_help_panel=PANELS[name])
    else:
        register = holder.command(name, rich_help_panel=PANELS[name], epilog=getattr(module, "EPILOG", None))
        register(getattr(module, name))
    return typer.main.get_group(holder).commands[name]


class _CommandsByName(Mapping[str, Any]):
    """Every command; one is loaded when it is looked up."""

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  (as above)
        if name not in PANELS:
            raise KeyError(name)
        return _loaded(name)

    def __iter__(self) -> Iterator[str]:
        return iter(PANELS)

    def __len__(self) -> int:
        return len(PANELS)


class _Root(Group):
    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  (Typer's own)
        super().__init__(**settings | {"commands": _CommandsByName()})

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002  (as above; the context says nothing)
        """The names, without a look at the commands."""
        return [*PANELS]


app = Commands(
    name="ionetctl",
    cls=_Root,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Bring the GPU hosts of a mining datacenter into io.net: survey, push, verify.",
    epilog="Try it without any host: [cyan]ionetctl demo[/cyan]. Exit codes and JSON documents: docs/reference.",
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"ionetctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line."""
    collect_rarely()
    turn_off_core_dumps()
    with tolerant_streams():
        app()
