"""``ionetctl render``: every file that a host would get, secrets masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.options import ColorChoice, OutputFormat
from ionetctl.cli.output import CommandResult, Common
from ionetctl.cli.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import RenderableType

SCHEMA = "ionetctl.render/1"

EPILOG = """
[bold]Example[/bold]

[cyan]ionetctl render site.yaml rey1-a01-g1[/cyan]
"""


def render(
    *,
    inventory: options.Inventory,
    host: Annotated[str, typer.Argument(metavar="HOST", help="The host's name in the inventory.")],
    region: Annotated[
        str | None,
        typer.Option(
            "--region",
            metavar="NAME",
            envvar="IONETCTL_REGION",
            help="The region, where the inventory leaves it open.",
        ),
    ] = None,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Show every file that a host would get, as the templates make it; secrets are masked."""
    run(Common.of(output, quiet, verbose, color, no_input), lambda _: _render(inventory, host, region))


def _render(inventory: str, host: str, region: str | None) -> CommandResult:
    from ionetctl.app.render import render_host

    files = render_host(inventory, host, region)
    texts = {path: content.decode(errors="replace") for path, content in files.items()}
    rows = [{"path": path, "content": text} for path, text in texts.items()]
    return CommandResult({"schema": SCHEMA, "host": host, "files": rows}, rows, lambda: _view(texts))


def _view(texts: Mapping[str, str]) -> Iterator[RenderableType]:
    from rich.text import Text

    for path, text in texts.items():
        yield Text(f"# {path}", style="bold")
        yield Text(text.rstrip("\n"))
        yield Text("")
