"""``ionetctl demo``: the whole product in under a minute on a bare machine, and what of it is simulated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ionetctl.cli.commands import lab
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import command, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.text import Text

    from ionetctl.core.settings import Settings
    from ionetctl.summary.fleet import StatusReport
    from ionetctl.summary.rollout_summary import Summary

SCHEMA = "ionetctl.demo/1"

BATCH_SIZE = "50%"
"""Larger than is wise with real hosts, so that the rehearsal takes half a minute."""

BEFORE = """\
This is a rehearsal on this machine alone: {hosts} with a file tree each and real SSH servers on loopback, and one region.
Stand-ins: the Nomad agents, systemctl, the GPUs, the release files, and the region's servers (its HTTP API over TLS).
Real: the inventory, SSH, the scripts that hosts run, certificates, introduction tokens, and everything ionetctl does."""
AFTER = """\
That was a rehearsal; no machine was enrolled anywhere. For real:
  1. write an inventory       ionetctl inventory schema > inventory.schema.json
  2. check it                 ionetctl inventory validate site.yaml
  3. look at the hosts        ionetctl preflight site.yaml
  4. see what would change    ionetctl enroll site.yaml --check
  5. enroll them              ionetctl enroll site.yaml
  6. look at the fleet        ionetctl status"""


@command()
def demo(display: Display, *, hosts: lab.Hosts = 50) -> CommandResult:
    """Rehearse everything on this machine: fleet up, enroll, status, fleet down."""
    from ionetctl.ui import phrases

    display.info(BEFORE.format(hosts=phrases.hosts(hosts)))
    with lab.temporary_lab("ionet-demo-", hosts) as rehearsal:
        directory = rehearsal.directory.parent
        # The user's own catalog and cache are not touched.
        settings = replace(load_settings(), state_dir=directory / "state", cache_dir=directory / "cache")
        summary, fleet = _rehearse(display, rehearsal.inventory, settings)
    return _result(summary, fleet, display.out.width)


def _rehearse(display: Display, inventory: Path, settings: Settings) -> tuple[Summary, StatusReport]:
    import asyncio

    from ionetctl.app import enroll
    from ionetctl.app.fleet_status import read_fleet
    from ionetctl.cli.rollout_display import RolloutDisplay
    from ionetctl.rollout.options import RolloutOptions, Size, Strategy

    display.info(f"\n$ ionetctl enroll {inventory} --yes --batch-size {BATCH_SIZE}")
    rollout = RolloutDisplay(display, settings, asks=False)
    strategy = Strategy(batch_size=Size.parse(BATCH_SIZE, "--batch-size"))
    wanted = RolloutOptions(inventory=str(inventory), strategy=strategy)
    summary = rollout.run(enroll.enroll(wanted, settings, rollout.sinks, rollout.confirm))
    return summary, asyncio.run(read_fleet(settings, None, is_offline=False))


def _result(summary: Summary, fleet: StatusReport, width: int) -> CommandResult:
    from ionetctl.report.json import document
    from ionetctl.summary.fleet import status_document

    return CommandResult(
        {
            "schema": SCHEMA,
            "is_rehearsal": True,
            "enroll": document(summary),
            "status": status_document(fleet),
        },
        view=lambda: _view(summary, fleet, width),
        exit_code=summary.exit_code,
        failure=summary.error,
    )


def _view(summary: Summary, fleet: StatusReport, width: int) -> Iterator[Text | str]:
    from rich.text import Text

    from ionetctl.core.clock import SystemClock
    from ionetctl.ui.fleet import status_view
    from ionetctl.ui.summary import lines

    yield from lines(summary)
    yield Text("\n$ ionetctl status", style="bold")
    yield from status_view(fleet, SystemClock().now(), width)
    yield Text(f"\n{AFTER}")
