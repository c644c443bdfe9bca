"""``ionetctl enroll``: surveys, plans, rolls out and verifies the hosts of an inventory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import command, given_words, load_settings

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
    context: typer.Context,
    *,
    inventory: options.Inventory,
    check: options.Check = False,
    diff: Annotated[
        bool, typer.Option("--diff", envvar="IONETCTL_DIFF", help="Show changed content too, secrets masked.")
    ] = False,
    yes: options.Yes = False,
    canary: options.Canary = 1,
    batch_size: options.BatchSize = "10%",
    max_failures: options.MaxFailures = "5%",
    concurrency: options.Concurrency = 100,
    engine: options.Engine = options.EngineChoice.AUTO,
    workers: options.Workers = None,
    bwlimit: Annotated[
        str | None,
        typer.Option(
            "--bwlimit",
            metavar="RATE",
            envvar="IONETCTL_BWLIMIT",
            help="Most bytes a second that are sent to all hosts together: 500K, 50M, 1G.",
            rich_help_panel=options.ROLLOUT,
        ),
    ] = None,
    distribution: options.Distribution = None,
    timeout: options.Timeout = 120.0,
    resume: options.Resume = False,
    rollout: options.RolloutId = None,
    retry_failed: options.RetryFailed = False,
    skip_failed: options.SkipFailed = False,
    takeover: options.Takeover = False,
    lose_jobs: options.LoseJobs = False,
    accept_new: options.AcceptNew = False,
    rebootstrap: options.Rebootstrap = False,
    artifacts: options.Artifacts = None,
    report: options.Reports = None,
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
    from ionetctl.rollout.options import Goal, RetryFailed, RolloutOptions, Strategy, parse_rate

    settings = load_settings(state_dir)
    reports = parse_reports(report or [])
    tried_again = RetryFailed.parse(resume=resume, only=retry_failed, never=skip_failed)
    wanted = RolloutOptions(
        inventory=inventory,
        limit=limit,
        goal=Goal.PLAN if check else Goal.ENROLL,
        with_diffs=diff,
        strategy=Strategy.parse(canary, batch_size, max_failures),
        concurrency=concurrency,
        engine=engine.value,
        workers=workers,
        bytes_per_s=None if bwlimit is None else parse_rate(bwlimit),
        timeout_s=timeout,
        resume=resume,
        rollout=rollout,
        retry_failed=tried_again,
        takeover=takeover,
        lose_jobs=lose_jobs,
        accept_new=accept_new,
        rebootstrap=rebootstrap,
        artifacts=artifacts,
        distribution=distribution.value if distribution else None,
        command=given_words(context, without={"resume", "rollout"}),
    )
    if not (yes or check):
        check_consent(display.common, settings, inventory, limit)
    shown = RolloutDisplay(display, settings, asks=not yes, has_past=resume)
    summary = shown.run(enroll(wanted, settings, shown.sinks, shown.confirm))
    return shown.result(report_rollout(reports, summary))
