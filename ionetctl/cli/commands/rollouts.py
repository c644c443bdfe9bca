"""``ionetctl rollouts``: what past rollouts did, from the catalog and their journals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ionetctl.cli import options
from ionetctl.cli.output import CommandResult, Display, failure_of
from ionetctl.cli.run import Commands, command, load_settings
from ionetctl.core.errors import ConfigurationError, ExitCode, UsageError
from ionetctl.core.model.outcome import ENROLL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from rich.text import Text

    from ionetctl.app.verify_journals import VerifiedJournal
    from ionetctl.core.ports import Clock
    from ionetctl.core.settings import Settings
    from ionetctl.history.catalog import Catalog, RolloutRecord
    from ionetctl.history.journal import JournalFile
    from ionetctl.summary.rollout_summary import Summary

app = Commands(
    no_args_is_help=True, help="Past rollouts: list, show, report, verify, rebuild the catalog from them."
)

SCHEMA = "ionetctl.rollouts/1"
JOURNALS_SCHEMA = "ionetctl.journals/1"
AUDIT_SCHEMA = "ionetctl.audit/1"

RolloutArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]",
        help="The rollout, by a unique beginning of its id; the last one where it is left out.",
        show_default=False,
    ),
]


@app.command("list")
@command(has_names=True)
def list_rollouts(display: Display, *, state_dir: options.StateDir = None) -> CommandResult:
    """List the rollouts that the catalog knows, newest first."""
    from ionetctl.history.catalog import Catalog

    return _catalog_result(display, load_settings(state_dir), Catalog.open)


@app.command()
@command()
def show(
    display: Display,
    *,
    rollout: RolloutArgument = None,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            envvar="IONETCTL_AUDIT",
            help="Show who ran what, which host keys were accepted, and what was changed on which hosts.",
        ),
    ] = False,
    state_dir: options.StateDir = None,
) -> CommandResult:
    """Show how a rollout stands or ended, from its journal; -o json is the document of `enroll`."""
    from ionetctl.report.json import document
    from ionetctl.ui.summary import lines

    settings = load_settings(state_dir)
    if audit:
        return _audit_result(display, rollout, settings)
    summary = _summary(rollout, settings)
    return CommandResult(document(summary), view=lambda: lines(summary))


def _audit_result(display: Display, rollout: str | None, settings: Settings) -> CommandResult:
    """The audit of a rollout, whose journal is verified first; one that was changed ends with 6."""
    from dataclasses import asdict

    from ionetctl.app.verify_journals import verify_journals
    from ionetctl.history.journal import find_journal
    from ionetctl.summary import audit
    from ionetctl.ui.audit import audit_lines

    file = find_journal(settings.rollouts_dir, rollout)
    [verified] = verify_journals(settings, file.rollout)
    _warn_of_changed(display, [verified])
    try:
        found = audit.audit(file.envelopes())
    except ConfigurationError as error:
        raise verified.problem or error from error
    document = {
        "schema": AUDIT_SCHEMA,
        "exit_code": int(verified.exit_code),
        "journal": _journal_row(verified),
        **asdict(found),
    }
    return CommandResult(
        document,
        view=lambda: audit_lines(found, f"{_state(verified)}  {verified.digest}"),
        exit_code=verified.exit_code,
    )


@app.command()
@command()
def report(
    display: Display,
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
) -> CommandResult:
    """Write reports of a past rollout, from its journal."""
    from ionetctl.cli.reports import parse_reports, write_reports
    from ionetctl.report.json import document

    settings = load_settings(state_dir)
    if not report:
        raise UsageError(
            "report_missing", "no report is asked for", "add --report junit=FILE or --report csv=FILE"
        )
    reports = parse_reports(report)
    summary = _summary(rollout, settings)
    write_reports(reports, summary)
    for written in reports:
        display.info(f"wrote {written.path}")
    return CommandResult(document(summary))


@app.command()
@command()
def verify(
    display: Display,
    *,
    rollout: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="The rollout, by a unique beginning of its id; all of them where it is left out.",
            show_default=False,
        ),
    ] = None,
    digest: Annotated[
        str | None,
        typer.Option(
            "--digest",
            metavar="SHA256",
            envvar="IONETCTL_DIGEST",
            help="A digest of this rollout that was printed earlier and kept elsewhere.",
        ),
    ] = None,
    state_dir: options.StateDir = None,
) -> CommandResult:
    """Say of each journal, or of one, whether it was changed, cut or removed since it was written."""
    from ionetctl.app.verify_journals import verify_journals
    from ionetctl.core.model.names import Digest

    if digest is not None and rollout is None:
        raise UsageError("digest_without_rollout", "--digest is of one rollout", "name the rollout too")
    expected = None if digest is None else Digest(digest.removeprefix("sha256:").lower())
    found = verify_journals(load_settings(state_dir), rollout, expected)
    rows = [_journal_row(journal) for journal in found]
    _warn_of_changed(display, found)
    exit_code = max((journal.exit_code for journal in found), default=ExitCode.OK)
    document = {"schema": JOURNALS_SCHEMA, "exit_code": int(exit_code), "journals": rows}
    return CommandResult(document, rows, lambda: _journals_view(found), exit_code)


def _warn_of_changed(display: Display, journals: Iterable[VerifiedJournal]) -> None:
    for problem in (journal.problem for journal in journals if journal.problem is not None):
        display.warn(problem.message)
        display.message(f"  → {problem.hint}")


def _state(verified: VerifiedJournal) -> str:
    place = f" {verified.change.place}" if verified.change else ""
    if verified.state.value == "whole" and not verified.is_end_kept:
        place = ", end not kept"
    return verified.state.value.replace("_", " ") + place


def _journal_row(verified: VerifiedJournal) -> dict[str, Any]:
    from ionetctl.report.json import failure

    change, problem = verified.change, verified.problem
    return {
        "rollout": verified.journal.rollout,
        "state": verified.state.value,
        "events": verified.events,
        "digest": verified.digest or None,
        "is_end_kept": verified.is_end_kept,
        "first_line": change.first_line if change else None,
        "last_line": change.last_line if change else None,
        "error": failure(failure_of(problem)[0] if problem else None),
    }


def _journals_view(journals: Sequence[VerifiedJournal]) -> Iterable[Text | str]:
    from ionetctl.ui.tables import table

    if not journals:
        return ["no rollouts yet"]
    rows = [
        [
            verified.journal.rollout,
            _state(verified),
            f"{verified.events:,}",
            verified.digest or "-",
        ]
        for verified in journals
    ]
    return table(["rollout", "journal", "events", "digest"], rows, frozenset({"events"}))


@app.command()
@command(has_names=True)
def rebuild(display: Display, *, state_dir: options.StateDir = None) -> CommandResult:
    """Make the catalog again from the journals."""
    from ionetctl.history.catalog import Catalog

    return _catalog_result(display, load_settings(state_dir), Catalog.rebuild)


def _catalog_result(
    display: Display,
    settings: Settings,
    open_catalog: Callable[[Path, Clock, Sequence[JournalFile]], AbstractContextManager[Catalog]],
) -> CommandResult:
    """The rollouts of the catalog that ``open_catalog`` returns; its problems go to standard error."""
    from ionetctl.core.clock import SystemClock
    from ionetctl.history.journal import list_journals

    journals = list_journals(settings.rollouts_dir)
    with open_catalog(settings.catalog_path, SystemClock(), journals) as catalog:
        for problem in catalog.problems:
            display.warn(problem.message)
        records = catalog.rollouts()
    rows = [_row(record) for record in records]
    return CommandResult(
        {"schema": SCHEMA, "rollouts": rows},
        rows,
        lambda: _list_view(records),
        wide=lambda: _list_view(records, is_wide=True),
        names=[record.id for record in records],
    )


def _kind(record: RolloutRecord) -> str:
    if record.action != ENROLL:
        return record.action
    if record.is_survey:
        return "preflight"
    return "check" if record.is_check else "enroll"


def _row(record: RolloutRecord) -> dict[str, Any]:
    return {
        "rollout": record.id,
        "inventory": record.inventory,
        "owner": record.owner,
        "kind": _kind(record),
        "is_check": record.is_check,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "exit_code": record.exit_code,
        "hosts": record.host_count,
        "results": {result.value: count for result, count in record.results.items() if result is not None},
    }


def _list_view(records: Sequence[RolloutRecord], *, is_wide: bool = False) -> Iterable[Text | str]:
    from ionetctl.ui import phrases
    from ionetctl.ui.tables import table

    if not records:
        return ["no rollouts yet"]
    rows = [
        [
            record.id,
            _kind(record),
            "-" if record.exit_code is None else str(record.exit_code),
            phrases.results(
                {result: count for result, count in record.results.items() if result is not None}
            ),
            *(
                (f"{record.host_count:,}", record.started_at, record.owner, record.inventory)
                if is_wide
                else ()
            ),
        ]
        for record in records
    ]
    columns = ["rollout", "kind", "exit", "results"]
    columns += ["hosts", "started", "owner", "inventory"] if is_wide else []
    return table(columns, rows, frozenset({"exit", "hosts"}))


def _summary(rollout: str | None, settings: Settings) -> Summary:
    from ionetctl.history.journal import find_journal
    from ionetctl.summary.summary_fold import summarize

    return summarize(find_journal(settings.rollouts_dir, rollout).envelopes())
