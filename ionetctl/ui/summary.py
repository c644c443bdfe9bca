"""The summary of a rollout as text: counts, failures grouped by cause, what to do next. Pure."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

from rich.text import Text

from ionetctl.core.errors import ExitCode
from ionetctl.core.model.outcome import ENROLL, Result, Severity
from ionetctl.core.model.plan import Action, Fate
from ionetctl.core.plural import counted
from ionetctl.ui import phrases

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ionetctl.core.model.outcome import Outcome
    from ionetctl.core.model.plan import Change, FileDiff
    from ionetctl.summary.grouping import Cause, FindingGroup
    from ionetctl.summary.rollout_summary import PlacementGroup, PlanGroup, Summary

STYLES: Final[dict[Result, str]] = {
    Result.ENROLLED: "green",
    Result.DONE: "green",
    Result.UNCHANGED: "green",
    Result.FAILED: "bold red",
    Result.UNREACHABLE: "yellow",
    Result.UNVERIFIED: "magenta",
    Result.SKIPPED: "dim",
}
SEVERITY_STYLES: Final[dict[Severity, str]] = {
    Severity.BLOCK: "bold red",
    Severity.WARN: "yellow",
    Severity.INFO: "cyan",
    Severity.WAIVED: "dim",
}
"""Severities from the highest to the lowest, with their styles."""
MAX_CAUSES: Final = 20
KEYS_SHOWN: Final = 8
"""The most accepted host keys whose fingerprints are shown; the JSON document has all."""
MAX_LEFT_OUT: Final = 6
"""The most causes that are named before a person is asked."""
INDENT: Final = "  "
NAMES_MIN: Final = 16
NAMES_MAX: Final = 60
"""The least and the most characters of host names in a line that says more."""
_ADDRESS: Final = re.compile(r"\S*@\S+|\[\S+\]:\S+|\S+\.\S+:[0-9…]+|\d+(?:\.\d+){3}")
SAMPLE: Final = 200
"""The most hosts of a cause that are folded for its line: more do not fit and would cost time at every redraw."""
_SIGNS: Final[dict[Action, tuple[str, str]]] = {
    Action.CREATE: ("+", "green"),
    Action.UPDATE: ("~", "yellow"),
    Action.CHMOD: ("~", "yellow"),
    Action.MOVE_ASIDE: ("-", "red"),
    Action.RENEW: ("~", "yellow"),
    Action.START: ("*", "cyan"),
    Action.RESTART: ("*", "cyan"),
    Action.REGISTER: ("*", "cyan"),
    Action.RELEASE: ("*", "cyan"),
    Action.CLOSE: ("-", "red"),
    Action.PREPARE: ("*", "magenta"),
    Action.EXCLUDE: ("-", "yellow"),
    Action.INCLUDE: ("+", "green"),
    Action.DRAIN: ("-", "red"),
    Action.CANCEL_DRAIN: ("*", "cyan"),
    Action.ANNOTATE: ("~", "yellow"),
}
_RESUMABLE: Final = frozenset(
    {ExitCode.STOPPED, ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.HANGUP, ExitCode.UNREACHABLE}
)


def lines(summary: Summary) -> Iterator[Text]:
    """The lines that are printed at the end of a rollout."""
    if summary.is_check:
        yield from placement_lines(summary.placements)
        yield from plan_lines(summary.plans)
    yield from finding_lines([found for found in summary.findings if found.severity is Severity.WARN])
    yield from cause_lines([cause for cause in summary.causes if cause.result is not Result.SKIPPED])
    yield from _warning_lines(summary)
    yield from accepted_key_lines(summary)
    yield from _closed_key_lines(summary)
    if summary.outcomes:
        yield _total(summary)
    if (traffic := summary.traffic) is not None:
        pushed, fetched = phrases.size(traffic.pushed_bytes), phrases.size(traffic.fetched_bytes)
        yield Text(f"{pushed} pushed, {fetched} inside the site", style="dim")
    if summary.stopped is not None:
        yield Text(f"stopped: {phrases.plain(summary.stopped.message)}", style="bold red")
    yield from _next_lines(summary)


def accepted_key_lines(summary: Summary) -> Iterator[Text]:
    """Whose keys ``--accept-new`` took on first sight: each is worth what nobody has compared."""
    keys = summary.accepted_keys
    if not keys:
        return
    hosts = phrases.folded([key.host for key in keys])
    yield Text.assemble(
        ("warning", "yellow"),
        f"  --accept-new accepted {counted(len(keys), 'host key')} on first sight: {hosts}",
    )
    shown = "; ".join(f"{key.known_as} {key.fingerprint}" for key in keys[:KEYS_SHOWN])
    more = f"; and {len(keys) - KEYS_SHOWN:,} more, see -o json" if len(keys) > KEYS_SHOWN else ""
    yield Text(f"  {phrases.plain(shown)}{more}", style="dim")
    yield Text("  → compare them with the hosts' consoles, then pin them (ionetctl trust scan)", style="dim")


def _closed_key_lines(summary: Summary) -> Iterator[Text]:
    """Which keys are of no use any more, and where."""
    hosts: dict[tuple[str, str], list[str]] = {}
    for key in summary.closed_keys:
        hosts.setdefault((key.account, key.fingerprint), []).append(key.host)
    for (account, fingerprint), names in hosts.items():
        what = f"closed to {fingerprint} as {account}, proven by a refused login: {phrases.folded(names)}"
        yield Text(f"{phrases.hosts(len(names))} {phrases.plain(what)}", style="green")


def finding_lines(findings: Sequence[FindingGroup]) -> Iterator[Text]:
    """Each finding with its hosts."""
    for found in findings:
        style = SEVERITY_STYLES[found.severity]
        yield Text.assemble(
            (found.severity.value, style),
            (f"  {found.code}", "bold"),
            f" on {phrases.hosts(len(found.hosts))}",
        )
        yield from _reason_lines(found.message, found.hosts, found.hint, found.reasons)


def short_cause_lines(cause: Cause, width: int) -> list[Text]:
    """The cause in one line of at most ``width``, or in two where that is narrow."""
    head = Text.assemble(
        (cause.result.value, STYLES[cause.result]), f" {len(cause.hosts):,}  ", (cause.code, "bold"), "  "
    )
    return named_lines(head, cause.hosts[:SAMPLE], phrases.plain(cause.message), width)


def named_lines(head: Text, names: Sequence[str], message: str, width: int) -> list[Text]:
    """Head, hosts and message in one line of at most ``width``, else in two.

    What does not fit loses hosts first: the addresses in the message, then the middle of the names.
    """
    least = len(phrases.folded(names, NAMES_MIN))
    forms = (message, _ADDRESS.sub("…", message))
    for form in forms:
        room = width - head.cell_len - len(form) - 2
        if room >= least:
            return [_with_names(head, names, form, room)]
    head.rstrip()
    room = width - len(INDENT) - 2
    form = next((form for form in forms if len(form) + least <= room), forms[-1])
    below = _with_names(Text(INDENT), names, form, max(min(NAMES_MIN, width // 3), room - len(form)))
    below.truncate(width, overflow="ellipsis")
    return [head, below]


def _with_names(head: Text, names: Sequence[str], message: str, room: int) -> Text:
    return head.append(phrases.folded(names, min(room, NAMES_MAX)), "cyan").append(f"  {message}", "dim")


def overview_lines(summary: Summary, changing: int, width: int) -> Iterator[Text]:
    """What is about to happen to how many hosts, and why others are left out."""
    counts = summary.counts
    left_out = sum(outcome.problem is not None for outcome in summary.outcomes)
    enrols = summary.action == ENROLL
    aim, done = ("to enrol", Result.ENROLLED) if enrols else ("to change", Result.DONE)
    parts = [f"{changing:,} {aim}", f"{counts[Result.UNCHANGED]:,} unchanged", f"{left_out:,} left out"]
    if counts[done]:
        parts.append(f"{counts[done]:,} {done.value} before")
    yield Text(", ".join(parts), style="bold")
    causes = summary.causes
    for cause in causes[:MAX_LEFT_OUT]:
        yield from (Text(INDENT).append_text(line) for line in short_cause_lines(cause, width - len(INDENT)))
    if len(causes) > MAX_LEFT_OUT:
        yield Text(f"{INDENT}and {len(causes) - MAX_LEFT_OUT:,} more causes", style="dim")


def cause_lines(causes: Sequence[Cause]) -> Iterator[Text]:
    """Each cause with its hosts, in the order of ``Summary.causes``."""
    for cause in causes[:MAX_CAUSES]:
        yield Text.assemble(
            (cause.result.value, STYLES[cause.result]),
            (f"  {cause.code}", "bold"),
            f" in {cause.step}, {phrases.hosts(len(cause.hosts))}",
        )
        yield from _reason_lines(cause.message, cause.hosts, cause.hint)
    if len(causes) > MAX_CAUSES:
        rest = sum(len(cause.hosts) for cause in causes[MAX_CAUSES:])
        yield Text(
            f"and {counted(len(causes) - MAX_CAUSES, 'more cause')} on {phrases.hosts(rest)}; see -o json or --report"
        )


def _reason_lines(
    message: str, hosts: Sequence[str], hint: str, reasons: Sequence[str] = ()
) -> Iterator[Text]:
    """Messages are indented behind labels, since CI systems read commands at the beginning of a line."""
    yield Text(f"  why    {phrases.plain(message)}")
    yield Text(f"  hosts  {phrases.folded(hosts)}", style="cyan")
    for reason in reasons:
        yield Text(f"  said   {phrases.plain(reason)}", style="dim")
    if hint and not reasons:
        yield Text(f"  do     {phrases.plain(hint)}", style="dim")
    yield Text("")


def placement_lines(placements: Sequence[PlacementGroup]) -> Iterator[Text]:
    """The regions chosen for hosts with ``region: auto``, with the reasons for the first host of each."""
    for group in placements:
        yield Text.assemble(
            (f"{phrases.hosts(len(group.hosts))} to {phrases.plain(group.region)}", "bold"),
            f": {phrases.folded(group.hosts)}",
        )
        yield from (Text(f"  because {phrases.plain(reason)}", style="dim") for reason in group.reasons[:1])
        yield from (Text(f"  not     {phrases.plain(reason)}", style="dim") for reason in group.reasons[1:])
        yield Text("")


def plan_lines(plans: Sequence[PlanGroup]) -> Iterator[Text]:
    """The planned changes; hosts with the same changes are grouped."""
    for group in plans:
        if not group.changes:
            yield Text(f"{phrases.hosts(len(group.hosts))} as planned already: {phrases.folded(group.hosts)}")
            continue
        yield Text(f"{phrases.hosts(len(group.hosts))}: {phrases.folded(group.hosts)}", style="bold")
        yield from (_change_line(change) for change in group.changes)
        if group.allocations:
            yield _allocations_line(group.allocations, {change.action for change in group.changes})
        yield from _job_lines(group)
        yield from (line for diff in group.diffs for line in _diff_lines(diff))
        yield Text("")


ALLOCATIONS_NAMED: Final = 5
"""The most allocations that a plan names."""


def _allocations_line(names: Sequence[str], actions: Collection[Action]) -> Text:
    """The jobs that run there, and what becomes of them: a drain moves them, Nomad's restart leaves them running."""
    named = ", ".join(phrases.plain(name) for name in names[:ALLOCATIONS_NAMED])
    more = f" and {len(names) - ALLOCATIONS_NAMED:,} more" if len(names) > ALLOCATIONS_NAMED else ""
    count = "1 allocation runs" if len(names) == 1 else f"{len(names):,} allocations run"
    if Action.DRAIN in actions:
        fate = "will be moved away or stopped"
    else:
        fate = "will go on" if Action.EXCLUDE in actions else "will go on through the restart"
    return Text(f"    {count} there and {fate}: {named}{more}", style="yellow")


def _job_lines(group: PlanGroup) -> Iterator[Text]:
    """The jobs that are lost or may be, by the reason; and those that run on where no agent is restarted."""
    lines: dict[tuple[Fate, str], list[str]] = {}
    for job in group.jobs:
        if job.fate is not Fate.SURVIVES or not group.allocations:
            name = f"{job.allocation} ({', '.join(job.drivers)})" if job.drivers else job.allocation
            lines.setdefault((job.fate, job.reason), []).append(name)
    for (fate, reason), names in lines.items():
        named = ", ".join(phrases.plain(name) for name in names[:ALLOCATIONS_NAMED])
        more = f" and {len(names) - ALLOCATIONS_NAMED:,} more" if len(names) > ALLOCATIONS_NAMED else ""
        what = f"{counted(len(names), 'allocation')} {_FATES[fate][len(names) > 1]}: {named}{more}: {phrases.plain(reason)}"
        yield Text(f"    {what}", style="bold red" if fate is Fate.LOST else "yellow")


_FATES: Final = {
    Fate.SURVIVES: ("that runs there goes on", "that run there go on"),
    Fate.UNTRIED: ("that runs there may end", "that run there may end"),
    Fate.LOST: ("would be lost", "would be lost"),
}
_DIFF_STYLES: Final = {"+": "green", "-": "red", "@": "cyan"}


def _diff_lines(diff: FileDiff) -> Iterator[Text]:
    """A file's diff, indented, since CI systems read commands at the beginning of a line."""
    for line in diff.lines:
        yield Text(f"      {phrases.plain(line)}", style=_DIFF_STYLES.get(line[:1], ""))


def resume_command(summary: Summary) -> str:
    """The command that goes on with the rollout, as it was given last, quoted for a shell."""
    command = summary.command or ("enroll", summary.inventory)
    return shlex.join(["ionetctl", *command, "--resume", "--rollout", str(summary.rollout)])


def _change_line(change: Change) -> Text:
    sign, style = _SIGNS[change.action]
    line = Text.assemble((f"  {sign} ", style))
    line.append(f"{change.action.value} {phrases.plain(change.path)}")
    if change.is_secret:
        line.append(" (secret)", style="dim")
    if change.reason:
        line.append(f"  {phrases.plain(change.reason)}", style="dim")
    return line


def _total(summary: Summary) -> Text:
    """How many hosts ended how; of a check, how many would be enrolled."""
    line = Text.assemble((f"{phrases.hosts(len(summary.outcomes))}: ", "bold"))
    planned = {host for group in summary.plans if group.changes for host in group.hosts}
    would = sum(_is_skipped(outcome) and outcome.host in planned for outcome in summary.outcomes)
    counts = {**summary.counts}
    if summary.is_check and would:
        counts[Result.SKIPPED] -= would
        what = "enrolled" if summary.action == ENROLL else "changed"
        line.append(f"{would:,} would be {what}", style="cyan")
    for result, count in counts.items():
        if count:
            line.append("" if line.plain.endswith(": ") else ", ")
            line.append(f"{count:,} {result.value}", style=STYLES[result])
    line.append(f" in {phrases.duration(summary.duration_s)}")
    if summary.rollout is not None:
        line.append(f" (rollout {phrases.plain(summary.rollout)})", style="dim")
    return line


def _is_skipped(outcome: Outcome) -> bool:
    return outcome.result is Result.SKIPPED


def _warning_lines(summary: Summary) -> Iterator[Text]:
    for warning in summary.warnings:
        hint = f" → {phrases.plain(warning.hint)}" if warning.hint else ""
        yield Text.assemble(("warning", "yellow"), f"  {phrases.plain(warning.message)}", (hint, "dim"))
    if summary.warnings_dropped:
        yield Text(f"and {counted(summary.warnings_dropped, 'more warning')}; the journal has them all")


def _next_lines(summary: Summary) -> Iterator[Text]:
    if summary.is_check and summary.exit_code is ExitCode.CHANGES:
        yield Text("nothing was changed: this was --check", style="dim")
    elif is_resumable(summary):
        if summary.stopped is not None and summary.stopped.code.startswith("too_many_"):
            yield Text("next: mend the causes above, or allow more with a higher --max-failures")
        # One line whatever the width, so that it can be copied.
        command = resume_command(summary)
        yield Text(f"to go on: {command}", style="bold", no_wrap=True)


def is_resumable(summary: Summary) -> bool:
    """Whether hosts were left that another run may do: it was stopped, other than by a no, or could not reach some."""
    if summary.rollout is None or summary.is_check:
        return False
    was_stopped = summary.stopped is not None and summary.stopped.code != "declined"
    return was_stopped or summary.exit_code in _RESUMABLE
