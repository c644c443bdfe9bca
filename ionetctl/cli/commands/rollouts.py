"""``ionetctl rollouts``: what past rollouts did, from the catalog and their journals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ionetctl.cli import options
from ionetctl.cli.options import ColorChoice, OutputFormat
from ionetctl.cli.output import CommandResult, Common, Face
from ionetctl.cli.run import load_settings, run
from ionetctl.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from ionetctl.core.settings import Settings
    from ionetctl.history.catalog import Catalog, RolloutRecord
    from ionetctl.history.journal import JournalFile
    from ionetctl.summary.rollout_summary import Summary

app = typer.Typer(
    no_args_is_help=True, help="Past rollouts: list, show, report, rebuild the catalog from them."
)

SCHEMA = "ionetctl.rollouts/1"

RolloutArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]", help="The rollout; the last one where it is left out.", show_default=False
    ),
]


@app.command("list")
def list_rollouts(
    *,
    state_dir: options.StateDir = None,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """List the rollouts that the catalog knows, newest first."""
    run(
        Common.of(output, quiet, verbose, color, no_input), lambda face: _list(face, load_settings(state_dir))
    )


@app.command()
def show(
    *,
    rollout: RolloutArgument = None,
    state_dir: options.StateDir = None,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Show how a rollout stands or ended, from its journal; -o json is the document of `enroll`."""
    run(
        Common.of(output, quiet, verbose, color, no_input), lambda _: _show(rollout, load_settings(state_dir))
    )


@app.command()
def report(
    *,
    rollout: RolloutArgument = None,
    report: Annotated[
        list[str] | None,
        typer.Option(
            "--report",
            metavar="FORMAT=FILE",
            envvar="IONETCTL_REPORT",
            help="What to write: junit=FILE or csv=FILE. May be given several times.",
        ),
    ] = None,
    state_dir: options.StateDir = None,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Write reports of a past rollout, from its journal."""
    run(
        Common.of(output, quiet, verbose, color, no_input),
        lambda face: _report(face, rollout, report or [], load_settings(state_dir)),
    )


@app.command()
def rebuild(
    *,
    state_dir: options.StateDir = None,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Make the catalog again from the journals."""
    run(
        Common.of(output, quiet, verbose, color, no_input),
        lambda face: _rebuild(face, load_settings(state_dir)),
    )


def _list(face: Face, settings: Settings) -> CommandResult:
    from ionetctl.core.clock import SystemClock
    from ionetctl.history.catalog import Catalog
    from ionetctl.history.journal import list_journals

    with Catalog.open(settings.catalog_path, SystemClock(), list_journals(settings.rollouts_dir)) as catalog:
        _tell_problems(face, catalog)
        records = catalog.rollouts()
    return _listed(records)


def _rebuild(face: Face, settings: Settings) -> CommandResult:
    from ionetctl.core.clock import SystemClock
    from ionetctl.history.catalog import Catalog
    from ionetctl.history.journal import list_journals

    journals = list_journals(settings.rollouts_dir)
    with Catalog.rebuild(settings.catalog_path, SystemClock(), journals) as catalog:
        _tell_problems(face, catalog)
        records = catalog.rollouts()
    return _listed(records)


def _listed(records: Sequence[RolloutRecord]) -> CommandResult:
    rows = [_row(record) for record in records]
    return CommandResult({"schema": SCHEMA, "rollouts": rows}, rows, lambda: _list_view(records))


def _tell_problems(face: Face, catalog: Catalog) -> None:
    for problem in catalog.problems:
        face.note(f"warning  {problem.message}")


def _row(record: RolloutRecord) -> dict[str, Any]:
    return {
        "rollout": record.id,
        "inventory": record.inventory,
        "owner": record.owner,
        "is_check": record.is_check,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "exit_code": record.exit_code,
        "hosts": record.host_count,
        "results": {result.value: count for result, count in record.results.items() if result is not None},
    }


def _list_view(records: Sequence[RolloutRecord]) -> Iterable[RenderableType]:
    from ionetctl.ui import phrases
    from ionetctl.ui.tables import table

    if not records:
        return ["no rollouts yet"]
    rows = [
        [
            record.id,
            record.started_at,
            "-" if record.exit_code is None else str(record.exit_code),
            f"{record.host_count:,}",
            phrases.results(
                {result: count for result, count in record.results.items() if result is not None}
            ),
            record.owner,
            record.inventory,
        ]
        for record in records
    ]
    columns = ["rollout", "started", "exit", "hosts", "results", "owner", "inventory"]
    return table(columns, rows, frozenset({"exit", "hosts"}))


def _show(rollout: str | None, settings: Settings) -> CommandResult:
    from ionetctl.report.json import document
    from ionetctl.ui.summary import lines

    summary = _summary(rollout, settings)
    return CommandResult(document(summary), view=lambda: lines(summary))


def _report(face: Face, rollout: str | None, texts: Sequence[str], settings: Settings) -> CommandResult:
    from ionetctl.cli.reports import parse_reports, write_reports
    from ionetctl.report.json import document

    if not texts:
        raise UsageError(
            "report_missing", "no report is asked for", "add --report junit=FILE or --report csv=FILE"
        )
    reports = parse_reports(texts)
    summary = _summary(rollout, settings)
    write_reports(reports, summary)
    for report in reports:
        face.say(f"wrote {report.path}")
    return CommandResult(document(summary))


def _summary(rollout: str | None, settings: Settings) -> Summary:
    from ionetctl.summary.rollout_summary import summarize

    return summarize(find_journal(rollout, settings).envelopes())


def find_journal(rollout: str | None, settings: Settings) -> JournalFile:
    """The journal of a rollout, or of the last one; raises ``UsageError`` (``rollout_unknown``) for an unknown one."""
    from ionetctl.history.journal import list_journals

    journals = {journal.rollout: journal for journal in list_journals(settings.rollouts_dir)}
    found = journals.get(rollout) if rollout is not None else next(reversed(journals.values()), None)  # type: ignore[call-overload]
    if found is None:
        what = (
            f"there is no rollout {rollout}"
            if rollout
            else f"there is no rollout in {settings.rollouts_dir} yet"
        )
        raise UsageError("rollout_unknown", what, "see `ionetctl rollouts list`")
    return found
