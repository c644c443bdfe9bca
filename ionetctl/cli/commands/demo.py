"""``ionetctl demo``: the whole product in under a minute on a bare machine, and no more said than was done."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.options import ColorChoice, OutputFormat
from ionetctl.cli.output import CommandResult, Common, Face
from ionetctl.cli.run import load_settings, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from ionetctl.core.settings import Settings
    from ionetctl.lab.rehearsal import Lab
    from ionetctl.summary.fleet import StatusReport
    from ionetctl.summary.rollout_summary import Summary

SCHEMA = "ionetctl.demo/1"

BATCH_SIZE = "50%"
"""Larger than one would dare with real hosts, so that the rehearsal takes half a minute."""

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


def demo(
    *,
    hosts: Annotated[
        int,
        typer.Option(
            "--hosts", metavar="N", min=1, envvar="IONETCTL_LAB_HOSTS", help="How many hosts to rehearse."
        ),
    ] = 50,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Rehearse everything on this machine: fleet up, enroll, status, fleet down."""
    run(Common.of(output, quiet, verbose, color, no_input), lambda face: _demo(face, hosts))


def _demo(face: Face, hosts: int) -> CommandResult:
    from ionetctl.cli.commands.lab import make_spec
    from ionetctl.lab.rehearsal import lab_down, lab_up
    from ionetctl.ui import phrases

    face.say(BEFORE.format(hosts=phrases.hosts(hosts)))
    with tempfile.TemporaryDirectory(prefix="ionet-demo-") as directory:
        lab = lab_up(make_spec(str(Path(directory) / "lab"), hosts, (), seed=1))
        try:
            summary, fleet = _rehearse(face, lab, _private(load_settings(), Path(directory)))
        finally:
            lab_down(lab.directory)
    return _result(summary, fleet)


def _private(settings: Settings, directory: Path) -> Settings:
    """The settings with state and cache of the rehearsal's own, so that the user's catalog stays what it is."""
    return replace(settings, state_dir=directory / "state", cache_dir=directory / "cache")


def _rehearse(face: Face, lab: Lab, settings: Settings) -> tuple[Summary, StatusReport]:
    from ionetctl.app import enroll
    from ionetctl.cli.commands.status import look
    from ionetctl.cli.rollout_display import RolloutFace
    from ionetctl.rollout.options import RolloutOptions, Size, Strategy

    face.say(f"\n$ ionetctl enroll {lab.inventory} --yes --batch-size {BATCH_SIZE}")
    rollout = RolloutFace(face, settings, asks=False)
    wanted = RolloutOptions(
        inventory=str(lab.inventory), strategy=Strategy(batch_size=Size.parse(BATCH_SIZE, "--batch-size"))
    )
    summary = rollout.run(enroll.enroll(wanted, settings, rollout.sinks, rollout.confirm))
    return summary, look(settings, None, is_offline=False)


def _result(summary: Summary, fleet: StatusReport) -> CommandResult:
    from ionetctl.report.json import document
    from ionetctl.summary.fleet import status_document

    return CommandResult(
        {
            "schema": SCHEMA,
            "is_rehearsal": True,
            "enroll": document(summary),
            "status": status_document(fleet),
        },
        view=lambda: _view(summary, fleet),
        exit_code=summary.exit_code,
        failure=summary.error,
    )


def _view(summary: Summary, fleet: StatusReport) -> Iterator[RenderableType]:
    from rich.text import Text

    from ionetctl.ui.fleet import status_view
    from ionetctl.ui.summary import lines

    yield from lines(summary)
    yield Text("\n$ ionetctl status", style="bold")
    yield from status_view(fleet)
    yield Text(f"\n{AFTER}")
