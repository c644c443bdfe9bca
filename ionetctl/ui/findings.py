"""The output of ``preflight`` in three views: by finding, by host, by rack. Pure: summary to text."""

from __future__ import annotations

from collections import Counter
from string import ascii_uppercase
from typing import TYPE_CHECKING, Final

from rich.text import Text

from ionetctl.core.model.outcome import SURVEYED, Result, Severity
from ionetctl.ui import phrases
from ionetctl.ui.summary import SEVERITY_STYLES, STYLES, accepted_key_lines, cause_lines, finding_lines
from ionetctl.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ionetctl.core.model.names import HostName
    from ionetctl.core.model.outcome import Finding, Outcome
    from ionetctl.summary.rollout_summary import Summary, SurveySummary

WORST_FIRST: Final = tuple(SEVERITY_STYLES)
MAX_COLUMNS: Final = len(ascii_uppercase)
NO_RACK: Final = "-"
_UNFIT: Final = frozenset({Result.FAILED, Result.UNREACHABLE, Result.UNVERIFIED})


def by_cause(summary: Summary) -> Iterator[Text]:
    """Every finding with its hosts; the most severe come last, next to the prompt."""
    for severity in reversed(WORST_FIRST[1:]):
        yield from finding_lines([found for found in summary.findings if found.severity is severity])
    yield from cause_lines([cause for cause in summary.causes if cause.result is not Result.SKIPPED])
    yield from accepted_key_lines(summary)
    yield _total(summary)


def by_host(summary: Summary) -> Iterator[Text]:
    """Every host with its findings, in the inventory's order."""
    outcomes = {outcome.host: outcome for outcome in summary.outcomes}
    for name, survey in summary.surveys.items():
        yield from _host_lines(name, survey, outcomes.get(name))
    yield from accepted_key_lines(summary)
    yield _total(summary)


def by_rack(summary: Summary) -> Iterator[Text]:
    """A matrix: a row for each rack, a lettered column for each code, and in each cell the number of hosts."""
    columns = _columns(summary)
    letters = dict(zip(columns, ascii_uppercase, strict=False))
    racks = _racks(summary)
    unfit = {outcome.host for outcome in summary.outcomes if outcome.result in _UNFIT}
    rows = [
        _row(rack, [summary.surveys[host] for host in hosts], len(unfit.intersection(hosts)), columns)
        for rack, hosts in racks.items()
    ]
    head = ("RACK", "HOSTS", "FIT", *letters.values())
    yield from table(head, rows, frozenset(head[1:]))
    yield Text("")
    for code, letter in letters.items():
        severity = columns[code]
        yield Text.assemble(f"  {letter}  ", (severity.value, SEVERITY_STYLES[severity]), f"  {code}")
    yield from accepted_key_lines(summary)
    yield _total(summary)


def _host_lines(name: HostName, survey: SurveySummary, outcome: Outcome | None) -> Iterator[Text]:
    line = Text(phrases.plain(name), style="bold")
    for part in _traits(survey):
        line.append(f"  {phrases.plain(part)}", style="dim")
    yield line
    for finding in sorted(survey.findings, key=lambda found: WORST_FIRST.index(found.severity)):
        yield from _finding_lines(finding)
    if outcome and outcome.problem and outcome.result in _UNFIT and not _is_finding(outcome, survey):
        problem = outcome.problem
        yield Text.assemble(
            "  ",
            (outcome.result.value, STYLES[outcome.result]),
            (f"  {problem.code}", "bold"),
            f"  {phrases.plain(problem.message)}",
        )


def _is_finding(outcome: Outcome, survey: SurveySummary) -> bool:
    """Whether the host's problem is one of its findings."""
    return outcome.problem is not None and any(
        finding.code == outcome.problem.code for finding in survey.findings
    )


def _traits(survey: SurveySummary) -> Iterator[str]:
    counts = Counter(survey.gpus)
    if survey.rack:
        yield f"rack {survey.rack}"
    if survey.os:
        yield survey.os
    yield from (f"{count} x {gpu}" for gpu, count in counts.items())
    if survey.driver_version:
        yield f"driver {survey.driver_version}"


def _finding_lines(finding: Finding) -> Iterator[Text]:
    yield Text.assemble(
        "  ",
        (finding.severity.value, SEVERITY_STYLES[finding.severity]),
        (f"  {finding.code}", "bold"),
        f"  {phrases.plain(finding.message)}",
    )
    if finding.reason:
        yield Text(f"         because  {phrases.plain(finding.reason)}", style="dim")


def _columns(summary: Summary) -> Mapping[str, Severity]:
    """The codes that get a column, the most severe and most frequent first; each with its highest severity."""
    worst: dict[str, Severity] = {}
    hosts: Counter[str] = Counter()
    for survey in summary.surveys.values():
        hosts.update({finding.code for finding in survey.findings})
        for finding in survey.findings:
            worst[finding.code] = min(
                worst.get(finding.code, Severity.WAIVED), finding.severity, key=WORST_FIRST.index
            )
    ordered = sorted(worst, key=lambda code: (WORST_FIRST.index(worst[code]), -hosts[code], code))
    return {code: worst[code] for code in ordered[:MAX_COLUMNS]}


def _racks(summary: Summary) -> Mapping[str, Sequence[HostName]]:
    racks: dict[str, list[HostName]] = {}
    for name, survey in summary.surveys.items():
        racks.setdefault(survey.rack or NO_RACK, []).append(name)
    return racks


def _row(
    rack: str, surveys: Sequence[SurveySummary], unfit: int, columns: Mapping[str, Severity]
) -> list[str | Text]:
    cells: list[str | Text] = [rack, f"{len(surveys):,}", f"{len(surveys) - unfit:,}"]
    counts = Counter(code for survey in surveys for code in {finding.code for finding in survey.findings})
    return cells + [_count(counts[code], SEVERITY_STYLES[severity]) for code, severity in columns.items()]


def _count(number: int, style: str) -> Text:
    return Text(f"{number:,}", style=style) if number else Text("·", style="dim")


def _total(summary: Summary) -> Text:
    unfit = sum(outcome.result in _UNFIT for outcome in summary.outcomes)
    fit = sum(
        outcome.problem is not None and outcome.problem.code == SURVEYED for outcome in summary.outcomes
    )
    line = Text.assemble(
        (f"{phrases.hosts(len(summary.outcomes))} looked at: ", "bold"), (f"{fit:,} fit", "green")
    )
    if unfit:
        line.append(f", {unfit:,} unfit", style="red")
    return line.append("; nothing was changed")


VIEWS: Final[dict[str, Callable[[Summary], Iterator[Text]]]] = {
    "cause": by_cause,
    "host": by_host,
    "rack": by_rack,
}
