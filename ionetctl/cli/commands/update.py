"""``ionetctl update``: brings enrolled hosts to what an inventory says, through Nomad and without SSH."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import command, given_words, load_settings
from ionetctl.core.errors import UsageError
from ionetctl.core.model.outcome import UPDATE

if TYPE_CHECKING:
    from ionetctl.core.errors import ExitCode
    from ionetctl.summary.rollout_summary import Failure

EPILOG = """
[bold]Examples[/bold]

[cyan]ionetctl update site.yaml --check[/cyan] shows what would change, and changes nothing.

[cyan]ionetctl update site.yaml --limit rack:a01 --signer ~/.ssh/maintenance[/cyan] changes one rack.
"""


def failure_document(failure: Failure, exit_code: ExitCode) -> object:
    """The document of a rollout that failed before it had hosts."""
    from ionetctl.report.json import document
    from ionetctl.summary.rollout_summary import Summary

    return document(Summary(exit_code=exit_code, error=failure, action=UPDATE))


@command(failure_document)
def update(
    display: Display,
    context: typer.Context,
    *,
    inventory: options.Inventory,
    signer: Annotated[
        str | None,
        typer.Option(
            "--signer",
            metavar="FILE",
            envvar="IONETCTL_SIGNER",
            help="The private key of one of maintenance: signers, or its public one where an agent has it.",
        ),
    ] = None,
    check: options.Check = False,
    yes: options.Yes = False,
    canary: options.Canary = 1,
    batch_size: options.BatchSize = "10%",
    max_failures: options.MaxFailures = "5%",
    concurrency: options.Concurrency = 100,
    timeout: options.Timeout = 120.0,
    resume: options.Resume = False,
    rollout: options.RolloutId = None,
    retry_failed: options.RetryFailed = False,
    skip_failed: options.SkipFailed = False,
    lose_jobs: options.LoseJobs = False,
    artifacts: options.Artifacts = None,
    report: options.Reports = None,
    limit: options.Limit = None,
    state_dir: options.StateDir = None,
) -> CommandResult:
    """Change enrolled hosts as `enroll` would, through Nomad and without SSH.

    Each host gets one signed word by its maintenance door, carries it out, and puts everything back unless its region confirms it.
    """
    from ionetctl.app.update_nodes import update_nodes
    from ionetctl.cli.reports import parse_reports, report_rollout
    from ionetctl.cli.rollout_display import RolloutDisplay, check_consent
    from ionetctl.rollout.options import Goal, RetryFailed, RolloutOptions, Strategy

    settings = load_settings(state_dir)
    reports = parse_reports(report or [])
    if signer is None and not check:
        raise UsageError(
            "signer_missing", "nobody signs what hosts are to carry out", "name the key with --signer"
        )
    wanted = RolloutOptions(
        inventory=inventory,
        limit=limit,
        goal=Goal.PLAN if check else Goal.ENROLL,
        strategy=Strategy.parse(canary, batch_size, max_failures),
        concurrency=concurrency,
        timeout_s=timeout,
        resume=resume,
        rollout=rollout,
        retry_failed=RetryFailed.parse(resume=resume, only=retry_failed, never=skip_failed),
        lose_jobs=lose_jobs,
        artifacts=artifacts,
        action=UPDATE,
        command=given_words(context, without={"resume", "rollout"}),
    )
    if not (yes or check):
        check_consent(display.common, settings, inventory, limit)
    shown = RolloutDisplay(display, settings, asks=not yes, has_past=resume)
    summary = shown.run(update_nodes(wanted, settings, shown.sinks, shown.confirm, signer))
    return shown.result(report_rollout(reports, summary))
