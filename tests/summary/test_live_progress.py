"""Events into what is going on right now."""

from __future__ import annotations

from datetime import timedelta
from itertools import takewhile

import pytest

from ionetctl.core import events
from ionetctl.core.events import Envelope, WaveStarted
from ionetctl.core.model.outcome import Result
from ionetctl.summary.live_progress import Phase, Progress, ProgressFold, Retry, Slow, Stage, Wave
from ionetctl.summary.rate import WINDOW_S, RecentRate
from tests.support import streams
from tests.support.streams import GPU_MISSING, START, TIMEOUT, UNCONFIRMED, Rollout, Stream

HOST = streams.host_name(0)


def folded(stream: list[Envelope]) -> ProgressFold:
    fold = ProgressFold()
    for envelope in stream:
        fold.take(envelope)
    return fold


def snapshot(stream: list[Envelope]) -> Progress:
    return folded(stream).snapshot()


def until_waves(rollout: Rollout) -> list[Envelope]:
    return list(takewhile(lambda envelope: not isinstance(envelope.event, WaveStarted), rollout.run()))


def one_host(*later: events.AnyEvent) -> list[Envelope]:
    say = Stream().say
    return [*Rollout(hosts=1).play()[:1], *(say(event) for event in later)]


def test_nothing_is_known_at_first() -> None:
    """Before the first event there is no pace, no time and no host."""
    progress = ProgressFold().snapshot()
    assert (progress.total, progress.elapsed_s, progress.per_minute, progress.remaining_s, progress.slow) == (
        0,
        0.0,
        None,
        None,
        (),
    )


def test_hosts_wait_at_first() -> None:
    """Every host of the rollout's first event waits."""
    assert snapshot(Rollout(hosts=5).play()[:1]).stages[Stage.WAITING] == 5


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("survey", Stage.SURVEY),
        ("plan", Stage.SURVEY),
        ("apply", Stage.APPLY),
        ("confirm", Stage.CONFIRM),
        ("finish", Stage.CONFIRM),
        ("something new", Stage.WAITING),
    ],
)
def test_host_stands_where_its_step_is(step: str, expected: Stage) -> None:
    """A begun step puts its host into a stage; one that is not known leaves it where it was."""
    stream = one_host(events.StepStarted(host=HOST, step=step, attempt=1))
    assert [stage for stage, count in snapshot(stream).stages.items() if count] == [expected]


def test_surveyed_hosts_are_planned() -> None:
    """After the survey the hosts wait for their wave, and the survey's pace gives an estimate."""
    progress = snapshot(until_waves(Rollout(hosts=20)))
    assert (progress.phase, progress.stages[Stage.PLANNED], progress.done, progress.remaining_s) == (
        Phase.SURVEY,
        20,
        20,
        None,
    )


def test_finished_hosts_are_counted_by_result() -> None:
    """Hosts that ended stand under their results and in no stage."""
    problems = {1: GPU_MISSING, 2: TIMEOUT, 3: UNCONFIRMED}
    progress = snapshot(Rollout(hosts=20, problems=problems, unchanged=frozenset({4})).play())
    assert ({result: count for result, count in progress.results.items() if count}, progress.finished) == (
        {
            Result.ENROLLED: 16,
            Result.UNCHANGED: 1,
            Result.FAILED: 1,
            Result.UNREACHABLE: 1,
            Result.UNVERIFIED: 1,
        },
        20,
    )
    assert (sum(progress.stages.values()), progress.is_over) == (0, True)


def test_waves_count_their_hosts() -> None:
    """Each wave knows how many of its hosts ended, and how many of those badly."""
    progress = snapshot(Rollout(hosts=12, problems={3: UNCONFIRMED}, batch=6).play())
    assert progress.waves == (
        Wave(1, 3, 1, 1, 0, is_canary=True, is_through=True),
        Wave(2, 3, 6, 6, 1, is_canary=False, is_through=True),
        Wave(3, 3, 5, 5, 0, is_canary=False, is_through=True),
    )


def test_wave_that_was_not_announced_is_passed_over() -> None:
    """The end of an unknown wave changes nothing."""
    assert snapshot(one_host(events.WaveFinished(index=9, of=9, failed=0))).waves == ()
    started = events.WaveStarted(index=1, of=9, hosts=(HOST,))
    stream = one_host(started, events.WaveFinished(index=9, of=9, failed=0))
    assert [wave.is_through for wave in snapshot(stream).waves] == [False]


def test_pace_and_estimate_follow_the_hosts_of_late() -> None:
    """Half way through the waves, as much time remains as the last hosts needed."""
    stream = Rollout(hosts=101, batch=100, step_s=0.1).play()
    waves_began = next(i for i, envelope in enumerate(stream) if isinstance(envelope.event, WaveStarted))
    ended = [i for i, one in enumerate(stream) if isinstance(one.event, events.HostFinished)]
    progress = snapshot(stream[: ended[50] + 1])
    took_s = 0.1 * (ended[50] - waves_began)
    assert progress.phase is Phase.ROLLOUT
    assert progress.per_minute == pytest.approx(51 / took_s * 60)
    assert progress.remaining_s == pytest.approx(50 / (51 / took_s))


def at_work(*hosts: int, total: int = 4) -> ProgressFold:
    """One host is surveyed at once; the ``hosts`` are in their survey since."""
    fold = folded(Rollout(hosts=total).play()[:1])
    say = Stream(now=START, step_s=0.0).say
    surveyed = events.HostSurveyed(
        host=HOST, os="debian", architecture="x86_64", gpus_seen=8, machine_id=None, node_id=None
    )
    fold.take(say(surveyed))
    for index in hosts:
        fold.take(say(events.StepStarted(host=streams.host_name(index), step="survey", attempt=1)))
    return fold


@pytest.mark.parametrize(
    ("hosts", "after_s", "expected"),
    [((1, 2), 2, 6.0), ((1, 2, 3), 2, None), ((1, 2), 34, None)],
    ids=["one waits for its turn", "all are at work", "nothing moves"],
)
def test_estimate_is_made_of_what_moves(hosts: tuple[int, ...], after_s: int, expected: float | None) -> None:
    """The rate says nothing of hosts that are the last, nor of hosts that hang."""
    now = START + timedelta(seconds=after_s)
    assert at_work(*hosts).snapshot(now).remaining_s == pytest.approx(expected, abs=0.2)


def test_host_that_hangs_is_named() -> None:
    """Once nothing moves, the hosts that are waited for, the longest first."""
    fold = at_work(1, 2)
    names = [[slow.host for slow in fold.snapshot(START + timedelta(seconds=s)).stalled] for s in (4, 34)]
    assert names == [[], [streams.host_name(1), streams.host_name(2)]]
    assert fold.snapshot(START + timedelta(seconds=34)).stalled[0].seconds == 34.0


def test_slow_but_steady_pace_is_no_stall() -> None:
    """Where a host takes a minute, half a minute without one is as expected."""
    rate = RecentRate()
    rate.begin(START)
    rate.count(START + timedelta(seconds=60))
    found = [rate.is_stalled(START + timedelta(seconds=second)) for second in (90, 100, 600)]
    assert (found, RecentRate().is_stalled(START)) == ([False, False, True], False)


def test_time_at_the_prompt_is_left_out() -> None:
    """Elapsed time is that of work."""
    fold = ProgressFold()
    say = Stream(now=START, step_s=0.0).say
    fold.take(say(events.PlanConfirmed(waited_s=1.0)))
    fold.take(say(Rollout(hosts=1).play()[0].event))
    fold.take(say(events.PlanConfirmed(waited_s=50.0), after_s=60))
    assert fold.snapshot().elapsed_s == 10.0


def test_resumed_rollout_forgets_failures() -> None:
    """What failed is tried again, so it counts as waiting, not as failed."""
    stream = Rollout(hosts=4, problems={1: GPU_MISSING}, unchanged=frozenset({2})).play()
    progress = snapshot([*stream, Stream(now=START).say(events.RolloutResumed(owner="ops", done=3))])
    assert (progress.results[Result.FAILED], progress.finished, progress.stages[Stage.WAITING]) == (0, 3, 1)


def test_pace_forgets_what_is_long_ago() -> None:
    """Only what was done within the window counts."""
    pace = RecentRate()
    pace.begin(START)
    for second in range(10):
        pace.count(START + timedelta(seconds=second))
    assert pace.per_second(START + timedelta(seconds=10)) == 1.0
    assert pace.per_second(START + timedelta(seconds=WINDOW_S + 11)) is None
    pace.count(START + timedelta(seconds=WINDOW_S + 11))
    assert pace.per_second(START + timedelta(seconds=WINDOW_S + 11)) == 1 / WINDOW_S


def test_several_a_second_share_a_bin() -> None:
    """A thousand hosts in a second cost the memory of one."""
    pace = RecentRate()
    pace.begin(START)
    for _ in range(1000):
        pace.count(START)
    assert (len(pace._bins), pace.per_second(START + timedelta(seconds=2))) == (1, 500.0)


RETRIED = events.StepRetried(
    host=HOST, step="survey", attempt=2, code="connect_timeout", message="no answer", delay_s=1.0
)


def test_retried_host_is_in_trouble() -> None:
    """A host that is tried again is named with the reason."""
    assert snapshot(one_host(RETRIED)).retries == (Retry(HOST, "survey", 2, "connect_timeout", "no answer"),)


def test_end_of_an_apply_does_not_look_like_its_beginning() -> None:
    """The host tidies up after the region's confirmation, within its apply: it stays in its stage."""
    steps = [("apply", "install"), ("confirm", ""), ("apply", "finish")]
    stream = one_host(*(events.StepStarted(host=HOST, step=s, attempt=1, detail=d) for s, d in steps))
    assert snapshot(stream).stages[Stage.CONFIRM] == 1


@pytest.mark.parametrize(
    "relief",
    [
        events.StepFinished(host=HOST, step="apply", attempt=2, duration_s=1.0),
        events.HostFinished(host=HOST, outcome=streams.outcome(streams.entry(0))),
    ],
)
def test_trouble_ends_with_the_step_or_the_host(relief: events.AnyEvent) -> None:
    """A step that went well, or the host's end, takes it off the list."""
    assert snapshot(one_host(RETRIED, relief)).retries == ()


def test_slow_host_is_named() -> None:
    """A host that stays in one step for more than a minute is shown, the slowest first."""
    fold = folded(Rollout(hosts=3).play()[:1])
    say = Stream(now=START, step_s=0.0).say
    fold.take(say(events.StepStarted(host=streams.host_name(0), step="apply", attempt=1, detail="install")))
    fold.take(say(events.StepStarted(host=streams.host_name(1), step="survey", attempt=1), after_s=20))
    fold.take(say(events.StepStarted(host=streams.host_name(2), step="survey", attempt=1), after_s=60))
    assert fold.snapshot().slow == (
        Slow(streams.host_name(0), "apply", "install", 80.0),
        Slow(streams.host_name(1), "survey", "", 60.0),
    )


def test_second_survey_does_not_count_twice() -> None:
    """The look before an apply is no second host surveyed."""
    surveyed = events.HostSurveyed(
        host=HOST, os="debian", architecture="x86_64", gpus_seen=8, machine_id=None, node_id=None
    )
    assert snapshot(one_host(surveyed, surveyed)).done == 1


def test_resumed_rollout_starts_over_with_what_is_left() -> None:
    """Hosts that ended stay so, the others wait again, and earlier waves are gone."""
    rollout = Rollout(hosts=12, batch=6)
    stream = rollout.play()
    middle = [i for i, one in enumerate(stream) if isinstance(one.event, events.HostFinished)][4]
    say = Stream(now=START + timedelta(minutes=5)).say
    progress = snapshot([*stream[: middle + 2], say(events.RolloutResumed(owner="ops", done=5))])
    assert (
        progress.finished,
        progress.stages[Stage.WAITING],
        progress.waves,
        progress.phase,
        progress.is_over,
    ) == (
        5,
        7,
        (),
        Phase.SURVEY,
        False,
    )


def test_host_that_is_tried_again_leaves_its_result() -> None:
    """A failed host at work again counts as at work, not as failed."""
    outcome = streams.outcome(streams.entry(0), Result.FAILED, GPU_MISSING)
    ended = one_host(events.HostFinished(host=HOST, outcome=outcome))
    again = Stream(now=START).say(events.StepStarted(host=HOST, step="survey", attempt=1))
    assert snapshot(ended).results[Result.FAILED] == 1
    progress = snapshot([*ended, again])
    assert (progress.results[Result.FAILED], progress.stages[Stage.SURVEY]) == (0, 1)


def test_plan_after_the_end_changes_nothing() -> None:
    """A straggling event does not bring a finished host back."""
    outcome = streams.outcome(streams.entry(0))
    stream = one_host(
        events.HostFinished(host=HOST, outcome=outcome), events.HostPlanned(host=HOST, changes=(), stamp="")
    )
    assert (snapshot(stream).finished, snapshot(stream).total) == (1, 1)


def test_host_that_nobody_listed_is_counted() -> None:
    """The end of a host without a beginning is an end all the same."""
    outcome = streams.outcome(streams.entry(0))
    say = Stream().say
    assert snapshot([say(events.HostFinished(host=HOST, outcome=outcome))]).finished == 1


def test_other_events_are_no_news() -> None:
    """What says nothing of progress changes nothing but the time."""
    before, after = one_host(), one_host(events.Warned(code="nat", message="x"))
    assert snapshot(before).stages == snapshot(after).stages


def test_host_that_ends_unsurveyed_in_its_wave_is_done() -> None:
    """A resumed part may begin with waves; its hosts count without a survey's event."""
    started = events.WaveStarted(index=1, of=1, hosts=(HOST,))
    ended = events.HostFinished(host=HOST, outcome=streams.outcome(streams.entry(0)))
    progress = snapshot(one_host(started, ended))
    assert (progress.done, [wave.finished for wave in progress.waves]) == (1, [1])


def test_node_says_what_is_waited_for() -> None:
    """A host that is at work has it as its detail, until it is slow enough to be named with it."""
    stream = one_host(
        events.StepStarted(host=HOST, step="change", attempt=1),
        events.NodeProgressed(host=HOST, waits_for="2 allocations to end", left=2),
    )
    (slow,) = folded(stream).snapshot(START + timedelta(seconds=300)).stalled
    assert (slow.host, slow.detail) == (HOST, "2 allocations to end")
