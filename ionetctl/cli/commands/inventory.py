"""``ionetctl inventory``: validates an inventory, shows it expanded, prints its JSON Schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ionetctl.cli import options
from ionetctl.cli.output import CommandResult, Display, failure_of
from ionetctl.cli.run import Commands, command
from ionetctl.core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Inventory
    from ionetctl.inventory.yaml.problems import Problem

SCHEMA = "ionetctl.inventory/1"
HOST_SCHEMA = "ionetctl.host/1"

app = Commands(no_args_is_help=True, help="Inventories: validate, show expanded, JSON Schema for editors.")


@app.command()
@command()
def validate(display: Display, *, inventory: options.Inventory, limit: options.Limit = None) -> CommandResult:
    """Check an inventory and name everything that is wrong with it, with file, line and column."""
    from ionetctl.inventory.hints import hints_for
    from ionetctl.inventory.select import load_selected
    from ionetctl.inventory.yaml.problems import InventoryError

    try:
        site = load_selected(inventory, limit)
    except InventoryError as error:
        problems = [_problem(problem) for problem in error.problems]
        return CommandResult(
            _validation(inventory, 0, problems, []),
            problems,
            exit_code=error.exit_code,
            failure=failure_of(error)[0],
        )
    hints = hints_for(site)
    for hint in hints:
        display.warn(f"{hint}")
    return CommandResult(_validation(inventory, len(site.hosts), [], hints), view=lambda: _valid_view(site))


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


def _valid_view(inventory: Inventory) -> Iterator[Text | str]:
    from rich.text import Text

    from ionetctl.ui import phrases

    regions = ", ".join(sorted({host.region for host in inventory.hosts}))
    yield Text(
        f"{phrases.plain(inventory.source)} is valid: {phrases.hosts(len(inventory.hosts))} for {regions}"
    )


@app.command()
@command(has_names=True)
def show(_: Display, *, inventory: options.Inventory, limit: options.Limit = None) -> CommandResult:
    """Show the hosts with ranges expanded and defaults merged in; secrets stay references."""
    from ionetctl.inventory.describe import describe_host, describe_inventory
    from ionetctl.inventory.select import load_selected

    site = load_selected(inventory, limit)
    return CommandResult(
        lambda: describe_inventory(site),
        lambda: [{"schema": HOST_SCHEMA} | describe_host(host) for host in site.hosts],
        lambda: _show_view(site.hosts),
        names=[host.name for host in site.hosts],
    )


def _show_view(hosts: Sequence[Host]) -> Iterator[Text | str]:
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


@app.command()
@command()
def schema(_: Display) -> CommandResult:
    """Print the inventory's JSON Schema, for editors that complete and check YAML."""
    from rich.text import Text

    from ionetctl.inventory.describe import json_schema
    from ionetctl.report.json import encode

    document = json_schema()
    return CommandResult(document, view=lambda: [Text(encode(document).decode().rstrip())])
