"""``ionetctl enroll``: parse, wire the sinks, run the rollout, say how it ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.options import ROLLOUT, ColorChoice, OutputFormat
from ionetctl.cli.output import CommandResult, Common, Face
from ionetctl.cli.run import load_settings, run
from ionetctl.core.errors import UsageError

if TYPE_CHECKING:
    from ionetctl.core.errors import ExitCode
    from ionetctl.rollout.options import RolloutOptions
    from ionetctl.summary.rollout_summary import Failure

EPILOG = """
[bold]Examples[/bold]

[cyan]ionetctl enroll site.yaml --check --diff[/cyan] shows what would change, and changes nothing.

[cyan]ionetctl enroll site.yaml --limit rack:a01 --canary 2 --batch-size 20%[/cyan] goes through one rack.

[cyan]ionetctl enroll site.yaml --yes -o json --report junit=enroll.xml[/cyan] is for CI.

[cyan]ionetctl enroll site.yaml --resume[/cyan] goes on with the last rollout.
"""


def enroll(
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
            help="With --resume: this rollout instead of the last.",
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
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Survey, plan, roll out and verify the hosts of an inventory.

    A canary goes first, then waves; only what the region confirms counts as enrolled. Running it again changes
    nothing on hosts that are as they should be.
    """

    def body(face: Face) -> CommandResult:
        from ionetctl.rollout.options import Goal, RolloutOptions, Strategy

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
        return _enroll(face, wanted, state_dir, report or [], yes=yes)

    run(Common.of(output, quiet, verbose, color, no_input), body, describe_failure)


def describe_failure(failure: Failure, exit_code: ExitCode) -> object:
    """The ``enroll`` document of a rollout that never came to its hosts."""
    from ionetctl.report.json import document
    from ionetctl.summary.rollout_summary import Summary

    return document(Summary(exit_code=exit_code, error=failure))


def _enroll(
    face: Face, wanted: RolloutOptions, state_dir: str | None, report_texts: Sequence[str], *, yes: bool
) -> CommandResult:
    from ionetctl.app import enroll
    from ionetctl.cli.reports import parse_reports, write_reports
    from ionetctl.cli.rollout_display import RolloutFace, check_consent

    settings = load_settings(state_dir)
    reports = parse_reports(report_texts)
    if wanted.rollout is not None and not wanted.resume:
        raise UsageError("rollout_without_resume", "--rollout names what to resume", "add --resume")
    if wanted.changes_hosts and not yes:
        check_consent(face.common, settings, wanted.inventory)
    rollout = RolloutFace(face, settings, asks=not yes, has_past=wanted.resume)
    summary = rollout.run(enroll.enroll(wanted, settings, rollout.sinks, rollout.confirm))
    write_reports(reports, summary)
    return rollout.result(summary)
