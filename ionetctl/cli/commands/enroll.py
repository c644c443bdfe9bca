"""``ionetctl enroll``: surveys, plans, rolls out and verifies the hosts of an inventory."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.options import ROLLOUT
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import command, load_settings
from ionetctl.core.errors import UsageError

if TYPE_CHECKING:
    from ionetctl.core.errors import ExitCode
    from ionetctl.summary.rollout_summary import Failure

EPILOG = """
[bold]Examples[/bold]

[cyan]ionetctl enroll site.yaml --check --diff[/cyan] shows what would change, and changes nothing.

[cyan]ionetctl enroll site.yaml --limit rack:a01 --canary 2 --batch-size 20%[/cyan] goes through one rack.

[cyan]ionetctl enroll site.yaml --yes -o json --report junit=enroll.xml[/cyan] is for CI.

[cyan]ionetctl enroll site.yaml --resume[/cyan] goes on with the last rollout.
"""


def failure_document(failure: Failure, exit_code: ExitCode) -> object:
    """The ``enroll`` document of a rollout that failed before it had hosts."""
    from ionetctl.report.json import document
    from ionetctl.summary.rollout_summary import Summary

    return document(Summary(exit_code=exit_code, error=failure))


@command(failure_document)
def enroll(
    display: Display,
    *,
    inventory: options.Inventory,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            envvar="IONETCTL_CHECK",
            help="Stop after the plan and change nothing; 9 if there are changes.",
        ),
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", envvar="IONETCTL_DIFF", help="Show changed content too, secrets masked.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", envvar="IONETCTL_YES", help="Do not ask before hosts change.")
    ] = False,
    canary: Annotated[
        int,
        typer.Option(
            "--canary",
            metavar="N",
            min=0,
            envvar="IONETCTL_CANARY",
            help="Hosts that go first, alone.",
            rich_help_panel=ROLLOUT,
        ),
    ] = 1,
    batch_size: Annotated[
        str,
        typer.Option(
            "--batch-size",
            metavar="N|N%",
            envvar="IONETCTL_BATCH_SIZE",
            help="Hosts per wave after the canary.",
            rich_help_panel=ROLLOUT,
        ),
    ] = "10%",
    max_failures: Annotated[
        str,
        typer.Option(
            "--max-failures",
            metavar="N|N%",
            envvar="IONETCTL_MAX_FAILURES",
            help="Stop when more hosts than this have failed; unreachable ones are not counted.",
            rich_help_panel=ROLLOUT,
        ),
    ] = "5%",
    concurrency: options.Concurrency = 100,
    timeout: options.Timeout = 120.0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            envvar="IONETCTL_RESUME",
            help="Go on with the last rollout of this inventory; hosts that are done are left alone.",
            rich_help_panel=ROLLOUT,
        ),
    ] = False,
    rollout: Annotated[
        str | None,
        typer.Option(
            "--rollout",
            metavar="ID",
            envvar="IONETCTL_ROLLOUT",
            help="With --resume: this rollout instead of the last; the beginning of its id will do.",
            rich_help_panel=ROLLOUT,
        ),
    ] = None,
    takeover: options.Takeover = False,
    accept_new: options.AcceptNew = False,
    artifacts: options.Artifacts = None,
    report: Annotated[
        list[str] | None,
        typer.Option(
            "--report",
            metavar="FORMAT=FILE",
            envvar="IONETCTL_REPORT",
            help="Also write a report: junit=FILE or csv=FILE. May be given several times.",
        ),
    ] = None,
    limit: options.Limit = None,
    state_dir: options.StateDir = None,
) -> CommandResult:
    """Survey, plan, roll out and verify the hosts of an inventory.

    A canary goes first, then waves; only what the region confirms counts as enrolled. Running it again changes
    nothing on hosts that are as they should be.
    """
    from ionetctl.app.enroll import enroll
    from ionetctl.cli.reports import parse_reports, report_rollout
    from ionetctl.cli.rollout_display import RolloutDisplay, check_consent
    from ionetctl.rollout.options import Goal, RolloutOptions, Strategy

    settings = load_settings(state_dir)
    reports = parse_reports(report or [])
    if rollout is not None and not resume:
        raise UsageError("rollout_without_resume", "--rollout names what to resume", "add --resume")
    wanted = RolloutOptions(
        inventory=inventory,
        limit=limit,
        goal=Goal.PLAN if check else Goal.ENROLL,
        with_diffs=diff,
        strategy=Strategy.parse(canary, batch_size, max_failures),
        concurrency=concurrency,
        timeout_s=timeout,
        resume=resume,
        rollout=rollout,
        takeover=takeover,
        accept_new=accept_new,
        artifacts=artifacts,
        command=tuple(sys.argv[1:]),
    )
    if not (yes or check):
        check_consent(display.common, settings, inventory, limit)
    shown = RolloutDisplay(display, settings, asks=not yes, has_past=resume)
    summary = shown.run(enroll(wanted, settings, shown.sinks, shown.confirm))
    return shown.result(report_rollout(reports, summary))
