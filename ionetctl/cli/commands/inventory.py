"""``ionetctl inventory``: is an inventory right, what does it expand to, and what may stand in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from ionetctl.cli import options
from ionetctl.cli.options import ColorChoice, OutputFormat
from ionetctl.cli.output import CommandResult, Common, Face, failure_of
from ionetctl.cli.run import run
from ionetctl.core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Inventory
    from ionetctl.inventory.yaml.problems import Problem

SCHEMA = "ionetctl.inventory/1"

app = typer.Typer(no_args_is_help=True, help="Inventories: validate, show expanded, JSON Schema for editors.")


@app.command()
def validate(
    *,
    inventory: options.Inventory,
    limit: options.Limit = None,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Check an inventory and name everything that is wrong with it, with file, line and column."""
    run(Common.of(output, quiet, verbose, color, no_input), lambda face: _validate(face, inventory, limit))


@app.command()
def show(
    *,
    inventory: options.Inventory,
    limit: options.Limit = None,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Show the hosts with ranges expanded and defaults merged in; secrets stay references."""
    run(Common.of(output, quiet, verbose, color, no_input), lambda _: _show(inventory, limit))


@app.command()
def schema(
    *,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Print the inventory's JSON Schema, for editors that complete and check YAML."""
    run(Common.of(output, quiet, verbose, color, no_input), lambda _: _schema())


def load_limited(source: str, limit: str | None) -> Inventory:
    """The inventory with the hosts that ``--limit`` chooses; raises ``InventoryError`` or ``UsageError``."""
    from ionetctl.inventory.load import load_inventory
    from ionetctl.inventory.select import select_hosts

    inventory = load_inventory(source)
    return inventory if limit is None else replace(inventory, hosts=select_hosts(inventory, limit))


def _validate(face: Face, source: str, limit: str | None) -> CommandResult:
    from ionetctl.inventory.hints import hints_for
    from ionetctl.inventory.yaml.problems import InventoryError

    try:
        inventory = load_limited(source, limit)
    except InventoryError as error:
        problems = [_problem(problem) for problem in error.problems]
        return CommandResult(
            _validation(source, 0, problems, []),
            problems,
            exit_code=error.exit_code,
            failure=failure_of(error)[0],
        )
    hints = hints_for(inventory)
    for hint in hints:
        face.note(f"warning  {hint}")
    return CommandResult(
        _validation(source, len(inventory.hosts), [], hints), view=lambda: _valid_view(inventory)
    )


def _validation(
    source: str, hosts: int, problems: Sequence[dict[str, Any]], hints: Sequence[str]
) -> dict[str, Any]:
    exit_code = ExitCode.CONFIGURATION if problems else ExitCode.OK
    return {
        "schema": SCHEMA,
        "source": source,
        "exit_code": int(exit_code),
        "hosts": hosts,
        "problems": problems,
        "hints": list(hints),
    }


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.place.source,
        "line": problem.place.line,
        "column": problem.place.column,
        "field": problem.field,
        "message": problem.message,
        "hint": problem.hint,
    }


def _valid_view(inventory: Inventory) -> Iterator[RenderableType]:
    from rich.text import Text

    from ionetctl.ui import phrases

    regions = ", ".join(sorted({host.region for host in inventory.hosts}))
    yield Text(
        f"{phrases.plain(inventory.source)} is valid: {phrases.hosts(len(inventory.hosts))} for {regions}"
    )


def _show(source: str, limit: str | None) -> CommandResult:
    from ionetctl.inventory.describe import describe_host, describe_inventory

    inventory = load_limited(source, limit)
    rows = [describe_host(host) for host in inventory.hosts]
    return CommandResult(describe_inventory(inventory), rows, lambda: _show_view(inventory.hosts))


def _show_view(hosts: Sequence[Host]) -> Iterator[RenderableType]:
    from ionetctl.ui.tables import table

    rows = [
        [
            host.name,
            host.address,
            host.region,
            host.datacenter,
            host.rack or "-",
            host.node_pool,
            f"{'?' if host.gpus.count is None else host.gpus.count} {host.gpus.model or ''}".rstrip(),
        ]
        for host in hosts
    ]
    return table(["name", "address", "region", "datacenter", "rack", "pool", "gpus"], rows)


def _schema() -> CommandResult:
    from rich.text import Text

    from ionetctl.inventory.describe import json_schema
    from ionetctl.report.json import encode

    document = json_schema()
    return CommandResult(document, view=lambda: [Text(encode(document).decode().rstrip())])
