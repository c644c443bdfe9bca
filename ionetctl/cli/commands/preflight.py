"""``ionetctl preflight``: the survey and its findings alone."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.commands.enroll import describe_failure
from ionetctl.cli.options import ColorChoice, OutputFormat
from ionetctl.cli.output import CommandResult, Common, Face
from ionetctl.cli.run import load_settings, run

EPILOG = """
[bold]Example[/bold]

[cyan]ionetctl preflight site.yaml --by rack[/cyan] shows what was found as a matrix of racks.
[cyan]ionetctl preflight site.yaml -o json[/cyan] lists every host with everything that was found there.
"""


class View(StrEnum):
    """How findings are put together."""

    CAUSE = "cause"
    HOST = "host"
    RACK = "rack"


By = Annotated[
    View,
    typer.Option("--by", envvar="IONETCTL_BY", help="Put findings together by cause, by host, or by rack."),
]


def preflight(
    *,
    inventory: options.Inventory,
    by: By = View.CAUSE,
    concurrency: options.Concurrency = 100,
    timeout: options.Timeout = 120.0,
    takeover: options.Takeover = False,
    accept_new: options.AcceptNew = False,
    limit: options.Limit = None,
    state_dir: options.StateDir = None,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Survey the hosts over SSH, read-only, and report what would keep them from being enrolled."""

    def body(face: Face) -> CommandResult:
        from ionetctl.app import enroll
        from ionetctl.cli.rollout_display import RolloutFace
        from ionetctl.report.preflight import preflight_document
        from ionetctl.rollout.options import Goal, RolloutOptions
        from ionetctl.ui.findings import VIEWS

        wanted = RolloutOptions(
            inventory=inventory,
            limit=limit,
            goal=Goal.SURVEY,
            concurrency=concurrency,
            timeout_s=timeout,
            takeover=takeover,
            accept_new=accept_new,
        )
        settings = load_settings(state_dir)
        rollout = RolloutFace(face, settings, asks=False)
        summary = rollout.run(enroll.enroll(wanted, settings, rollout.sinks, rollout.confirm))
        return rollout.result(summary, VIEWS[by], preflight_document)

    run(Common.of(output, quiet, verbose, color, no_input), body, describe_failure)
