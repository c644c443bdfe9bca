"""The live block, as a terminal of a given size shows it."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest
from rich.console import Console

from ionetctl.core import events
from ionetctl.core.events import HostFinished
from ionetctl.core.model.names import HostName
from ionetctl.summary.grouping import Causes, group_problems
from ionetctl.summary.live_progress import ProgressFold
from ionetctl.summary.summary_fold import summarize
from ionetctl.ui.live.terminal import Block, bar
from ionetctl.ui.summary import short_cause_lines
from tests.support import streams
from tests.support.streams import GPU_MISSING, TIMEOUT, UNCONFIRMED, Rollout, Stream

MIXED = Rollout(hosts=40, problems={3: GPU_MISSING, 4: GPU_MISSING, 9: TIMEOUT, 20: UNCONFIRMED}, batch=10)


def screen(envelopes: list[events.Envelope], width: int = 100, height: int = 24) -> list[str]:
    """What a terminal of that size shows, without colours."""
    fold, causes = ProgressFold(), Causes()
    for envelope in envelopes:
        fold.take(envelope)
        if isinstance(envelope.event, HostFinished):
            causes.put(envelope.event.outcome)
    console = Console(width=width, height=height, file=io.StringIO(), markup=False, color_system=None)
    with console.capture() as captured:
        console.print(Block(fold.snapshot(), causes.causes()))
    return captured.get().splitlines()


def test_survey_shows_how_far_it_is() -> None:
    """During the survey: stages, pace and the time left in it."""
    stream = MIXED.play()
    surveyed = [i for i, one in enumerate(stream) if isinstance(one.event, events.HostSurveyed)][19]
    assert screen(stream[: surveyed + 2]) == [
        "surveying 40 hosts  4 s  rollout 20260301T120000Z-7f3a",
        "━" * 17 + "─" * 13 + " 23/40  321 hosts/min  about 3 s left",
        "waiting 17 · survey 0 · planned 20 · apply 0 · confirm 0",
        "enrolled 0 · unchanged 0 · failed 2 · unreachable 1 · unverified 0 · skipped 0",
        "failed 2  gpu_count_mismatch  rey1-a01-g[04-05]  7 GPUs seen, 8 promised",
        "unreachable 1  connect_timeout  rey1-a01-g10  10.20.1.14:22 did not answer within 10 s",
    ]


def test_waves_show_the_one_under_way() -> None:
    """During the waves: the present one, how many of its hosts ended, and the causes so far."""
    stream = MIXED.play()
    ended = [i for i, one in enumerate(stream) if isinstance(one.event, HostFinished)][24]
    lines = screen(stream[: ended + 1])
    assert lines[4:] == [
        "wave 4 of 5  1/10",
        "failed 2  gpu_count_mismatch  rey1-a01-g[04-05]  7 GPUs seen, 8 promised",
        "unreachable 1  connect_timeout  rey1-a01-g10  10.20.1.14:22 did not answer within 10 s",
        "unverified 1  node_not_confirmed  rey1-a02-g05  the region does not show the node",
    ]


def test_canary_and_its_failures_are_said() -> None:
    """The canary's wave is named, a wave that is through stays until the next."""
    stream = Rollout(hosts=1, problems={0: UNCONFIRMED}).play()[:-1]
    assert screen(stream)[4] == "wave 1 of 1 (canary)  1/1, 1 failed, through"


def test_retried_hosts_and_those_that_are_waited_for_are_named() -> None:
    """What keeps the rollout waiting stands at the top, what is tried again below what ended badly."""
    say = Stream().say
    stream = [
        *Rollout(hosts=3).play()[:1],
        say(events.StepStarted(host=streams.host_name(1), step="apply", attempt=1, detail="install"), 0),
        say(events.StepStarted(host=streams.host_name(2), step="survey", attempt=1), 5),
        say(
            events.StepRetried(
                host=streams.host_name(0), step="survey", attempt=1, code="x", message="no route", delay_s=1
            ),
            after_s=75,
        ),
    ]
    assert screen(stream)[2:] == [
        "waiting for rey1-a01-g02 and 1 more: apply install, 1 min 20 s",
        "waiting 1 · survey 1 · planned 0 · apply 1 · confirm 0",
        "enrolled 0 · unchanged 0 · failed 0 · unreachable 0 · unverified 0 · skipped 0",
        "retry rey1-a01-g01  survey: no route",
        "slow rey1-a01-g03  connect for 1 min 15 s",
    ]


@pytest.mark.parametrize("size", [(100, 24), (40, 8), (10, 3), (1, 1), (1, 24), (300, 60)])
def test_block_never_outgrows_the_terminal(size: tuple[int, int]) -> None:
    """Whatever the size, there are fewer lines than the terminal has, and none is wider."""
    width, height = size
    problems = {index: replace(GPU_MISSING, code=f"cause_{index}") for index in range(100)}
    stream = Rollout(hosts=200, problems=problems).play()
    lines = screen(stream[:400], width, height)
    assert (len(lines) <= max(1, height - 1), max(map(len, lines)) <= width) == (True, True)


def test_what_does_not_fit_is_counted() -> None:
    """Where the causes outgrow the room, the last line says how many are not shown."""
    problems = {index: replace(GPU_MISSING, code=f"cause_{index}") for index in range(10)}
    assert screen(Rollout(hosts=20, problems=problems).play(), height=11)[-1] == "and 6 more"


def test_hosts_words_are_no_markup() -> None:
    """Markup, escapes and line breaks in a host's words are shown, not obeyed."""
    words = "[red]x[/red] [link=http://evil] \x1b[2J\n::error \u202eabc"
    stream = Rollout(hosts=1, problems={0: replace(GPU_MISSING, message=words)}).play()
    line = screen(stream)[-1]
    assert line.endswith("[red]x[/red] [link=http://evil] : :error abc")


def test_empty_rollout_is_drawn() -> None:
    """Before anything is known the block is drawn all the same."""
    assert screen([])[0] == "surveying 0 hosts  0.0 s"


@pytest.mark.parametrize(("done", "total", "filled"), [(0, 0, 0), (0, 9, 0), (9, 9, 30), (8999, 9000, 29)])
def test_bar_is_full_only_at_the_end(done: int, total: int, filled: int) -> None:
    """The bar fills with what is done and is full when nothing is left."""
    assert bar(done, total, 30).plain == "━" * filled + "─" * (30 - filled)


def test_drawing_five_thousand_hosts_is_cheap() -> None:
    """A drawing costs a small part of the quarter second between two of them."""
    problems = dict.fromkeys(range(0, 5000, 10), GPU_MISSING)
    stream = Rollout(hosts=5000, problems=problems, batch=500).play()
    fold = ProgressFold()
    for envelope in stream[: len(stream) // 2]:
        fold.take(envelope)
    causes = group_problems(summarize(stream).outcomes)
    console = Console(width=120, height=40, file=io.StringIO(), force_terminal=True)
    began = time.process_time()
    for _ in range(10):
        console.print(Block(fold.snapshot(), causes))
    assert (time.process_time() - began) / 10 < 0.05


HANGING = [
    *Rollout(hosts=4).play()[:1],
    *(
        Stream(now=streams.START, step_s=0.0).say(
            events.StepStarted(host=streams.host_name(index), step="survey", attempt=1)
        )
        for index in range(2)
    ),
]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (100, "waiting for rey1-a01-g01 and 1 more: connect, 34 s"),
        (40, "waiting for r… and 1 more: connect, 34 s"),
    ],
)
def test_host_that_is_connected_to_in_vain_is_named(width: int, expected: str) -> None:
    """With its step and for how long; where it is narrow the name loses its middle."""
    lines = screen([*HANGING, Stream(now=streams.START).say(events.Warned(code="x", message=""), 34)], width)
    assert lines[2] == expected


def test_narrow_terminal_drops_words_and_keeps_facts() -> None:
    """At 40 columns and 12 lines: counts, rate, wave and causes with hosts and reasons."""
    stream = MIXED.play()
    ended = [i for i, one in enumerate(stream) if isinstance(one.event, HostFinished)][24]
    assert screen(stream[: ended + 1], 40, 12) == [
        "enrolling 40 hosts  16 s",
        "━━━━━━──── 25/40  167/min  5 s left",
        "planned 15",
        "enrolled 21 · failed 2 · unreachable 1",
        "unverified 1",
        "wave 4 of 5  1/10",
        "failed 2  gpu_count_mismatch",
        "  rey1…g[04-05]  7 GPUs seen, 8 promised",
        "unreachable 1  connect_timeout",
        "  rey1-a01-g10  … did not answer within…",
        "and 1 more",
    ]


def test_names_are_cut_before_reasons() -> None:
    """A cause's message is whole where the hosts' names can give way."""
    hosts = tuple(HostName(f"gpu-{index * 7}.site") for index in range(40))
    cause = replace(group_problems(summarize(MIXED.play()).outcomes)[0], hosts=hosts)
    assert [line.plain for line in short_cause_lines(cause, 80)] == [
        "failed 40  gpu_count_mismatch  gpu-[0,7…9,266,273].site  7 GPUs seen, 8 promised"
    ]
