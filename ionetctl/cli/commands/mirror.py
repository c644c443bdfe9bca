"""``ionetctl mirror``: serves packed programs to the hosts of a site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import Commands, command, load_settings

if TYPE_CHECKING:
    from ionetctl.artifacts import ArtifactStore

app = Commands(no_args_is_help=True, help="Serve packed programs to the hosts of a site.")

SCHEMA = "ionetctl.mirror/1"


@app.command()
@command()
def serve(
    display: Display,
    *,
    inventory: options.Inventory,
    bind: Annotated[
        str,
        typer.Option("--bind", metavar="ADDRESS", envvar="IONETCTL_BIND", help="Listen on this address."),
    ] = "0.0.0.0",  # noqa: S104  (hosts of the whole site ask it; it has nothing that is secret)
    port: Annotated[
        int,
        typer.Option(
            "--port",
            metavar="N",
            min=0,
            max=65535,
            envvar="IONETCTL_PORT",
            help="The port; 0 takes a free one.",
        ),
    ] = 8480,
) -> CommandResult:
    """Serve the cached programs by digest alone, until it is ended by Ctrl-C.

    Hosts fetch from it with distribution: mirror. Fill the cache before, with artifacts fetch.
    """
    import asyncio

    from ionetctl.app.open_inventory import open_store
    from ionetctl.inventory.load import load_inventory

    store = open_store(load_inventory(inventory), load_settings(), None)
    address, bound = asyncio.run(_serve(store, display, bind, port))
    return CommandResult({"schema": SCHEMA, "address": address, "port": bound})


async def _serve(store: ArtifactStore, display: Display, bind: str, port: int) -> tuple[str, int]:
    """Serve until SIGINT or SIGTERM; returns address and port."""
    import asyncio
    import signal

    from ionetctl.artifacts.mirror_server import serve_mirror

    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with serve_mirror(store.packed_files, bind, port) as (address, bound):
        place = f"[{address}]" if ":" in address else address
        display.info(f"{len(store.packed_files())} files are served at http://{place}:{bound}")
        await ended.wait()
        return address, bound
