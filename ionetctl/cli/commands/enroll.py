"""``ionetctl enroll``: surveys, plans, rolls out and verifies the hosts of an inventory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.options import ROLLOUT
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import command, given_words, load_settings
from ionetctl.core.errors import UsageError

if TYPE_CHECKING:
    from ionetctl.core.errors import ExitCode
    from ionetctl.rollout.options import RetryFailed
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
    engine: options.Engine = options.EngineChoice.AUTO,
    workers: options.Workers = None,
    bwlimit: Annotated[
        str | None,
        typer.Option(
            "--bwlimit",
            metavar="RATE",
            envvar="IONETCTL_BWLIMIT",
            help="Most bytes a second that are sent to all hosts together: 500K, 50M, 1G.",
            rich_help_panel=ROLLOUT,
        ),
    ] = None,
    distribution: options.Distribution = None,
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
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            envvar="IONETCTL_RETRY_FAILED",
            help="With --resume: only the hosts that failed. Otherwise they go last, and never as the canary.",
            rich_help_panel=ROLLOUT,
        ),
    ] = False,
    skip_failed: Annotated[
        bool,
        typer.Option(
            "--skip-failed",
            envvar="IONETCTL_SKIP_FAILED",
            help="With --resume: leave out the hosts that failed.",
            rich_help_panel=ROLLOUT,
        ),
    ] = False,
    takeover: options.Takeover = False,
    accept_new: options.AcceptNew = False,
    rebootstrap: options.Rebootstrap = False,
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
    from ionetctl.rollout.options import Goal, RolloutOptions, Strategy, parse_rate

    settings = load_settings(state_dir)
    reports = parse_reports(report or [])
    if rollout is not None and not resume:
        raise UsageError("rollout_without_resume", "--rollout names what to resume", "add --resume")
    tried_again = _tried_again(resume=resume, retry_failed=retry_failed, skip_failed=skip_failed)
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


def _tried_again(*, resume: bool, retry_failed: bool, skip_failed: bool) -> RetryFailed:
    from ionetctl.rollout.options import RetryFailed

    if retry_failed and skip_failed:
        message = "--retry-failed and --skip-failed exclude each other"
        raise UsageError("options_exclusive", message, "give one of them, or none to try those hosts last")
    if (retry_failed or skip_failed) and not resume:
        message = "--retry-failed and --skip-failed are about the hosts of an earlier run"
        raise UsageError("failed_without_resume", message, "add --resume")
    if retry_failed:
        return RetryFailed.ONLY
    return RetryFailed.NEVER if skip_failed else RetryFailed.LAST
