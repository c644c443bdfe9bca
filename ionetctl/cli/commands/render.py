"""``ionetctl render``: every file that a host would get, secrets masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.text import Text

SCHEMA = "ionetctl.render/1"

EPILOG = """
[bold]Example[/bold]

[cyan]ionetctl render site.yaml rey1-a01-g1[/cyan]
"""


@command()
def render(
    _: Display,
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
) -> CommandResult:
    """Show every file that a host would get, as the templates make it; secrets are masked."""
    from ionetctl.app.render import render_host

    files = render_host(inventory, host, region)
    texts = {path: content.decode(errors="replace") for path, content in files.items()}
    rows = [{"path": path, "content": text} for path, text in texts.items()]
    return CommandResult({"schema": SCHEMA, "host": host, "files": rows}, rows, lambda: _view(texts))


def _view(texts: Mapping[str, str]) -> Iterator[Text | str]:
    from rich.text import Text

    for path, text in texts.items():
        yield Text(f"# {path}", style="bold")
        yield Text(text.rstrip("\n"))
        yield Text("")
