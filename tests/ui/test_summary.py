"""The end of a rollout in words, as a terminal of eighty columns shows it."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from ionetctl.core import events
from ionetctl.core.errors import ExitCode
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.outcome import Finding, Problem, Result, Severity
from ionetctl.core.model.plan import Action, Change, Fate, PlannedJob
from ionetctl.summary.grouping import Cause
from ionetctl.summary.rollout_summary import AcceptedKey, ClosedKey, Failure, Summary, Traffic
from ionetctl.summary.summary_fold import summarize
from ionetctl.ui.findings import VIEWS, by_cause
from ionetctl.ui.summary import (
    MAX_CAUSES,
    MAX_LEFT_OUT,
    lines,
    overview_lines,
    resume_command,
    short_cause_lines,
)
from tests.support import streams
from tests.support.streams import FOREIGN_KEY, GPU_MISSING, START, TIMEOUT, UNCONFIRMED, Rollout, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import RenderableType
    from rich.text import Text


def shown(parts: Iterable[RenderableType], width: int = 100) -> list[str]:
    console = Console(width=width, file=io.StringIO(), markup=False, color_system=None)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return captured.get().splitlines()


MIXED = Rollout(
    hosts=40,
    problems={
        3: GPU_MISSING,
        4: replace(GPU_MISSING, message="6 GPUs seen, 8 promised"),
        9: TIMEOUT,
        20: UNCONFIRMED,
    },
    unchanged=frozenset({7}),
    exit_code=5,
    findings=(),
)


def test_failures_are_grouped_with_folded_names_and_a_hint() -> None:
    """Three kinds of failure: each cause once, its hosts folded, what to do, and the counts at the end."""
    assert shown(lines(summarize(MIXED.play()))) == [
        "failed  gpu_count_mismatch in survey, 2 hosts",
        "  why    … GPUs seen, … promised",
        "  hosts  rey1-a01-g[04-05]",
        "  do     reseat the card or correct the inventory",
        "",
        "unreachable  connect_timeout in survey, 1 host",
        "  why    10.20.1.14:22 did not answer within 10 s",
        "  hosts  rey1-a01-g10",
        "  do     is it switched on?",
        "",
        "unverified  node_not_confirmed in confirm, 1 host",
        "  why    the region does not show the node",
        "  hosts  rey1-a02-g05",
        "  do     see its log",
        "",
        "40 hosts: 35 enrolled, 1 unchanged, 2 failed, 1 unreachable, 1 unverified in 21 s (rollout ",
        "20260301T120000Z-7f3a)",
    ]


@pytest.mark.parametrize(
    ("pushed", "fetched", "line"),
    [
        (0, 42_400_000, "0 MB pushed, 42 MB inside the site"),
        (1_300_000_000, 5_000_000_000_000, "1.3 GB pushed, 5,000 GB inside the site"),
    ],
)
def test_traffic_is_told(pushed: int, fetched: int, line: str) -> None:
    """How much left the controller, and how much came from inside the site; nothing where all was pushed."""
    summary = summarize(Rollout(hosts=1).play())
    assert shown(lines(replace(summary, traffic=Traffic(pushed, fetched))))[-1] == line
    assert "pushed" not in shown(lines(summary))[-1]


@pytest.mark.parametrize("view", [lines, *VIEWS.values()])
def test_keys_accepted_on_first_sight_are_told(view: Callable[[Summary], Iterator[Text]]) -> None:
    """Whose they were and their fingerprints, some of many, and what to do about it; nothing where there was none."""
    summary = summarize(Rollout(hosts=1).play())
    keys = tuple(AcceptedKey(HostName(f"g{n}"), f"SHA256:{n}", f"[g{n}]:22") for n in range(1, 11))
    told = shown(view(replace(summary, accepted_keys=keys[:2])), 200)
    at = told.index("warning  --accept-new accepted 2 host keys on first sight: g[1-2]")
    assert told[at + 1 : at + 3] == [
        "  [g1]:22 SHA256:1; [g2]:22 SHA256:2",
        "  → compare them with the hosts' consoles, then pin them (ionetctl trust scan)",
    ]
    assert "[g8]:22 SHA256:8; and 2 more, see -o json" in "\n".join(
        shown(view(replace(summary, accepted_keys=keys)), 300)
    )
    assert "accept-new" not in "\n".join(shown(view(summary), 200))


def test_closed_keys_are_told() -> None:
    """By account and key, with the hosts; nothing where none was closed."""
    summary = summarize(Rollout(hosts=1).play())
    keys = tuple(ClosedKey(HostName(f"g{n}"), "miner", "SHA256:k") for n in range(1, 4))
    told = shown(lines(replace(summary, closed_keys=keys)), 200)
    assert "3 hosts closed to SHA256:k as miner, proven by a refused login: g[1-3]" in told
    assert "closed" not in "\n".join(shown(lines(summary), 200))


def test_check_shows_the_plan() -> None:
    """A check ends with what would be done, hosts alike together, and says that nothing was."""
    check = Rollout(hosts=20, unchanged=frozenset({7}), is_check=True, exit_code=9, findings=())
    assert shown(lines(summarize(check.play())), 200) == [
        "19 hosts: rey1-a01-g[01-07,09-16], rey1-a02-g[01-04]",
        "  + create /etc/nomad.d/nomad.hcl  not there",
        "  + create /opt/nomad/releases/2.0.5/nomad  not there",
        "  * restart nomad.service  its configuration changes",
        "",
        "1 host as planned already: rey1-a01-g08",
        "20 hosts: 19 would be enrolled, 1 unchanged in 5 s (rollout 20260301T120000Z-7f3a)",
        "nothing was changed: this was --check",
    ]


def test_secret_changes_are_marked() -> None:
    """A file that holds a secret is named, never shown."""
    change = Change(Action.UPDATE, "/etc/nomad.d/tls/client-key.pem", "", is_secret=True)
    say = Stream().say
    planned = [
        *Rollout(hosts=1, is_check=True).play()[:1],
        say(events.HostPlanned(host=streams.host_name(0), changes=(change,), stamp="")),
    ]
    assert "  ~ update /etc/nomad.d/tls/client-key.pem (secret)" in shown(lines(summarize(planned)))


@pytest.mark.parametrize(
    ("count", "line"),
    [
        (1, "    1 allocation runs there and will go on through the restart: job-0"),
        (
            7,
            "    7 allocations run there and will go on through the restart: job-0, job-1, job-2, job-3, job-4 and 2 more",
        ),
    ],
)
def test_plan_names_the_jobs_that_run(count: int, line: str) -> None:
    """How many, which, and that they live through the restart of the agent."""
    change = Change(Action.RESTART, "nomad.service", "its configuration changes")
    names = tuple(f"job-{number}" for number in range(count))
    event = events.HostPlanned(host=streams.host_name(0), changes=(change,), stamp="", allocations=names)
    stream = [*Rollout(hosts=1, is_check=True).play()[:1], Stream().say(event)]
    assert line in shown(lines(summarize(stream)), 200)


def test_plan_says_what_becomes_of_jobs() -> None:
    """Those that are lost and those that nobody has tried, by the reason; of many the first."""
    change = Change(Action.RESTART, "nomad.service", "its configuration changes")
    jobs = (
        PlannedJob("web[0]", "web", "default", ("docker",), Fate.SURVIVES, "it lives on"),
        *(
            PlannedJob(f"old[{n}]", "old", "default", ("exec",), Fate.LOST, "exec is taken away")
            for n in range(6)
        ),
        PlannedJob("vm[0]", "vm", "default", (), Fate.UNTRIED, "nobody has tried"),
    )

    def told(*, restarts: bool) -> list[str]:
        names = ("web[0]",) if restarts else ()
        event = events.HostPlanned(
            host=streams.host_name(0), changes=(change,), stamp="", allocations=names, jobs=jobs
        )
        stream = [*Rollout(hosts=1, is_check=True).play()[:1], Stream().say(event)]
        return [line for line in shown(lines(summarize(stream)), 200) if "allocation" in line]

    lost = [
        "    6 allocations would be lost: "
        + ", ".join(f"old[{n}] (exec)" for n in range(5))
        + " and 1 more: exec is taken away",
        "    1 allocation that runs there may end: vm[0]: nobody has tried",
    ]
    on = "    1 allocation runs there and will go on through the restart: web[0]"
    assert told(restarts=True) == [on, *lost]
    assert told(restarts=False) == [
        "    1 allocation that runs there goes on: web[0] (docker): it lives on",
        *lost,
    ]


def test_stopped_rollout_says_why_and_how_to_go_on() -> None:
    """The reason and the resume command stand last."""
    stop = events.RolloutStopped(code="too_many_failures", message="3 hosts failed, 2 may (--max-failures)")
    stopped = Rollout(hosts=5, stop=stop, exit_code=10, findings=())
    assert shown(lines(summarize(stopped.play())), 200)[1:] == [
        "stopped: 3 hosts failed, 2 may (--max-failures)",
        "next: mend the causes above, or allow more with a higher --max-failures",
        "to go on: ionetctl enroll site/inventory.yaml --resume --rollout 20260301T120000Z-7f3a",
    ]


def test_resume_command_is_quoted_for_a_shell() -> None:
    """A path with spaces stays one word."""
    summary = Summary(exit_code=ExitCode.STOPPED, inventory="my site.yaml", rollout=streams.ROLLOUT)
    assert resume_command(summary).startswith("ionetctl enroll 'my site.yaml' --resume")


def test_warnings_and_findings_come_along() -> None:
    """What an admin should know stands with the rest; the count of what was dropped too."""
    say = Stream().say
    stream = [
        *Rollout(hosts=1, findings=(Finding("clock", Severity.WARN, "off by 3 s", "ntp"),)).play()[:4],
        say(events.Warned(code="nat", message="100 behind one address", hint="raise the limit")),
        say(events.Warned(code="nat", message="no hint")),
    ]
    summary = replace(summarize(stream), warnings_dropped=7)
    assert shown(lines(summary))[:7] == [
        "warn  clock on 1 host",
        "  why    off by 3 s",
        "  hosts  rey1-a01-g01",
        "  do     ntp",
        "",
        "warning  100 behind one address → raise the limit",
        "warning  no hint",
    ]
    assert "and 7 more warnings; the journal has them all" in shown(lines(summary))


def test_many_causes_are_cut() -> None:
    """Twenty causes are shown, the rest counted."""
    problems = {index: replace(GPU_MISSING, code=f"cause_{index}") for index in range(MAX_CAUSES + 2)}
    text = shown(lines(summarize(Rollout(hosts=30, problems=problems).play())))
    assert "and 2 more causes on 2 hosts; see -o json or --report" in text


def test_early_error_has_no_summary() -> None:
    """A command that never came to a host has nothing to sum up; its error stands on standard error."""
    summary = Summary(exit_code=ExitCode.CONFIGURATION, error=Failure("inventory_invalid", "no"))
    assert shown(lines(summary)) == []


def test_preflight_says_who_is_fit() -> None:
    """Every finding, what is in the way, and how many hosts may be enrolled."""
    surveyed = Problem("surveyed", "rollout", "looked at", "", 0)
    fit = events.HostFinished(
        host=streams.host_name(0),
        outcome=streams.outcome(streams.entry(0), Result.SKIPPED, surveyed),
    )
    note = Finding("swap", Severity.INFO, "swap is on", "")
    stream = Rollout(hosts=2, problems={1: GPU_MISSING}, is_check=True, findings=(note,)).play()
    assert shown(by_cause(summarize([*stream, Stream().say(fit)]))) == [
        "info  swap on 1 host",
        "  why    swap is on",
        "  hosts  rey1-a01-g01",
        "",
        "failed  gpu_count_mismatch in survey, 1 host",
        "  why    7 GPUs seen, 8 promised",
        "  hosts  rey1-a01-g02",
        "  do     reseat the card or correct the inventory",
        "",
        "2 hosts looked at: 1 fit, 1 unfit; nothing was changed",
    ]


def test_preflight_of_fit_hosts_names_no_unfit_ones() -> None:
    """Where all is well nothing else is said."""
    assert shown(by_cause(Summary(exit_code=ExitCode.OK))) == [
        "0 hosts looked at: 0 fit; nothing was changed"
    ]


@pytest.mark.parametrize("words", ["[bold]x[/bold]", "\x1b[2Jx", "a\nb", "::error::x", "\u202ex"])
def test_hosts_words_disturb_nothing(words: str) -> None:
    """Markup is shown, escapes and line breaks are gone, and no line begins with a host's words."""
    problem = replace(GPU_MISSING, message=words, hint=words, code="x")
    text = shown(lines(summarize(Rollout(hosts=1, problems={0: problem}).play())))
    assert [line for line in text if not line.isprintable()] == []
    assert [line for line in text if line.lstrip().startswith(("::", "##["))] == []
    assert ("[bold]" in words) is any("[bold]x[/bold]" in line for line in text)


def test_check_shows_which_regions_were_chosen() -> None:
    """Hosts of one region together, with what spoke for it and what there was beside it."""
    say = Stream().say
    stream = [*Rollout(hosts=2, is_check=True).play()[:1]]
    reasons = ("eu-north: 12 ms, 31 of 100 nodes", "us-east: 95 ms, 0 of 100 nodes")
    for index in range(2):
        placed = events.HostPlaced(
            host=streams.host_name(index), region=RegionName("eu-north"), reasons=reasons
        )
        stream.append(say(placed))
    assert shown(lines(summarize(stream)))[:4] == [
        "2 hosts to eu-north: rey1-a01-g[01-02]",
        "  because eu-north: 12 ms, 31 of 100 nodes",
        "  not     us-east: 95 ms, 0 of 100 nodes",
        "",
    ]


def test_check_ends_with_what_would_change() -> None:
    """Hosts with planned changes would be enrolled; they are not called skipped."""
    stream = Rollout(hosts=5, problems={3: GPU_MISSING}, unchanged=frozenset({4}), is_check=True, exit_code=9)
    total, last = shown(lines(summarize(stream.play())))[-2:]
    assert total.startswith("5 hosts: 3 would be enrolled, 1 unchanged, 1 failed in ")
    assert last == "nothing was changed: this was --check"


def test_too_many_failures_say_what_next() -> None:
    """Mend or allow more, then go on; also where another exit code than 10 comes first."""
    stop = events.RolloutStopped(code="too_many_failures", message="3 hosts failed, 1 may (--max-failures)")
    for problem, code in ((GPU_MISSING, 10), (FOREIGN_KEY, 6)):
        stream = Rollout(hosts=5, problems={3: problem}, stop=stop, exit_code=code).play()
        assert [line[:32] for line in shown(lines(summarize(stream)))[-3:]] == [
            "stopped: 3 hosts failed, 1 may (",
            "next: mend the causes above, or ",
            "to go on: ionetctl enroll site/i",
        ]


def test_trust_comes_first() -> None:
    """One refused key stands before any number of other causes."""
    summary = summarize(Rollout(hosts=5, problems={0: TIMEOUT, 1: TIMEOUT, 3: FOREIGN_KEY}).play())
    assert [cause.exit_code for cause in summary.causes] == [6, 4]


def test_overview_stands_before_the_question() -> None:
    """What changes, what stays, what is left out and why, and on a resumed rollout what was done before."""
    rollout = Rollout(
        hosts=20, problems={3: GPU_MISSING, 4: GPU_MISSING, 9: TIMEOUT}, unchanged=frozenset({7})
    )
    stream = rollout.play()
    asked = next(place for place, one in enumerate(stream) if isinstance(one.event, events.WaveStarted))
    assert [line.plain for line in overview_lines(summarize(stream[:asked]), 16, 80)] == [
        "16 to enrol, 1 unchanged, 3 left out",
        "  failed 2  gpu_count_mismatch  rey1-a01-g[04-05]  7 GPUs seen, 8 promised",
        "  unreachable 1  connect_timeout  rey1-a01-g10  … did not answer within 10 s",
    ]
    again = [*stream, Stream(now=START).say(events.RolloutResumed(owner="ops", done=17))]
    assert next(overview_lines(summarize(again), 3, 80)).plain.endswith(", 16 enrolled before")


def test_overview_counts_causes_that_are_too_many() -> None:
    """The question stays in view."""
    problems = {index: replace(GPU_MISSING, code=f"cause_{index}") for index in range(10)}
    text = [
        line.plain for line in overview_lines(summarize(Rollout(hosts=20, problems=problems).play()), 10, 80)
    ]
    assert (len(text), text[-1]) == (MAX_LEFT_OUT + 2, "  and 4 more causes")


@pytest.mark.parametrize(
    ("message", "width", "expected"),
    [
        (
            "miner@127.77.0.25:36113 did not answer: no connection within 20 s",
            80,
            ["unreachable 1  x  lab1-r002-g09  … did not answer: no connection within 20 s"],
        ),
        (
            "miner@127.77.0.25:36113 did not answer",
            50,
            ["unreachable 1  x  lab1-r002-g09  … did not answer"],
        ),
        (
            "the key of 10.0.0.1 is not the one that the inventory pins",
            62,
            ["unreachable 1  x", "  lab1-r002-g09  the key of … is not the one that the invento…"],
        ),
        (
            "[127.77.0.8]:36113 presents another key than gpu-1.rey1.example:22",
            80,
            ["unreachable 1  x  lab1-r002-g09  … presents another key than …"],
        ),
        ("10.0.0.1 is silent", 50, ["unreachable 1  x  lab1-r002-g09  … is silent"]),
    ],
)
def test_reasons_lose_host_names_before_words(message: str, width: int, expected: list[str]) -> None:
    """Addresses in a message give way first, since the host is named beside it."""
    cause = Cause(Result.UNREACHABLE, "x", "survey", message, "", 4, (HostName("lab1-r002-g09"),))
    found = [line.plain for line in short_cause_lines(cause, width)]
    assert found == expected
