"""``ionetctl preflight``: the survey and its findings alone."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.commands.enroll import failure_document
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import command, given_words, load_settings

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


@command(failure_document)
def preflight(
    display: Display,
    context: typer.Context,
    *,
    inventory: options.Inventory,
    by: By = View.CAUSE,
    concurrency: options.Concurrency = 100,
    engine: options.Engine = options.EngineChoice.AUTO,
    workers: options.Workers = None,
    timeout: options.Timeout = 120.0,
    takeover: options.Takeover = False,
    accept_new: options.AcceptNew = False,
    rebootstrap: options.Rebootstrap = False,
    limit: options.Limit = None,
    state_dir: options.StateDir = None,
) -> CommandResult:
    """Survey the hosts over SSH, read-only, and report what would keep them from being enrolled."""
    from ionetctl.app.enroll import enroll
    from ionetctl.cli.rollout_display import RolloutDisplay
    from ionetctl.report.preflight import preflight_document
    from ionetctl.rollout.options import Goal, RolloutOptions
    from ionetctl.ui.findings import VIEWS

    wanted = RolloutOptions(
        inventory=inventory,
        limit=limit,
        goal=Goal.SURVEY,
        concurrency=concurrency,
        engine=engine.value,
        workers=workers,
        timeout_s=timeout,
        takeover=takeover,
        accept_new=accept_new,
        rebootstrap=rebootstrap,
        command=given_words(context),
    )
    settings = load_settings(state_dir)
    rollout = RolloutDisplay(display, settings, asks=False)
    summary = rollout.run(enroll(wanted, settings, rollout.sinks, rollout.confirm))
    return rollout.result(summary, VIEWS[by], preflight_document)
