"""Events into a summary."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ionetctl.core import events
from ionetctl.core.errors import ExitCode
from ionetctl.core.model.names import HostName
from ionetctl.core.model.outcome import Finding, Outcome, Problem, Result, Severity
from ionetctl.core.model.plan import Action, Change
from ionetctl.summary.rollout_summary import (
    ClosedKey,
    Failure,
    Summary,
    SurveySummary,
    Traffic,
)
from ionetctl.summary.summary_fold import MAX_WARNINGS, SummaryFold, summarize
from tests.support import streams
from tests.support.streams import FOREIGN_KEY, GPU_MISSING, START, TIMEOUT, UNCONFIRMED, Rollout, Stream


def without_end(rollout: Rollout) -> Summary:
    return summarize(rollout.play()[:-1])


def test_summary_counts_every_result() -> None:
    """Each host is counted once under how it ended, and results that did not occur are named too."""
    rollout = Rollout(
        hosts=20,
        problems={1: GPU_MISSING, 2: TIMEOUT, 3: UNCONFIRMED},
        unchanged=frozenset({4, 5}),
        exit_code=5,
    )
    expected = {
        Result.ENROLLED: 15,
        Result.UNCHANGED: 2,
        Result.FAILED: 1,
        Result.UNREACHABLE: 1,
        Result.UNVERIFIED: 1,
        Result.SKIPPED: 0,
    }
    assert summarize(rollout.play()).counts == expected


def test_traffic_is_added_up() -> None:
    """Bytes that the controller sent, and those that came from inside the site; none where nobody said so."""
    stream = Stream()
    said = [
        events.FilesObtained(origin="push", pushed_bytes=100, fetched_bytes=0),
        events.FilesObtained(origin="peer", pushed_bytes=10, fetched_bytes=90, peer=HostName("a")),
    ]
    assert summarize([stream.say(event) for event in said]).traffic == Traffic(110, 90)
    assert summarize(Rollout(hosts=1).play()).traffic is None


def test_accepted_keys_are_told_once() -> None:
    """A jump host's key may be accepted by several workers; two keys of a name are two."""
    stream = Stream()
    said = [
        events.HostKeyAccepted(host=HostName(host), fingerprint=key, known_as=host)
        for host, key in (("jump", "SHA256:j"), ("a", "SHA256:a"), ("jump", "SHA256:j"), ("a", "SHA256:b"))
    ]
    keys = summarize([stream.say(event) for event in said]).accepted_keys
    assert [(key.host, key.fingerprint) for key in keys] == [
        ("jump", "SHA256:j"),
        ("a", "SHA256:a"),
        ("a", "SHA256:b"),
    ]


def test_closed_keys_are_told_once() -> None:
    """Of each host that was closed its account and key."""
    stream = Stream()
    closed = events.KeyClosed(host=HostName("a"), account="miner", fingerprint="SHA256:a")
    keys = summarize([stream.say(closed), stream.say(closed)]).closed_keys
    assert keys == (ClosedKey(HostName("a"), "miner", "SHA256:a"),)


def test_outcomes_keep_the_inventory_order() -> None:
    """Hosts stand as the inventory lists them, however they finished."""
    rollout = Rollout(hosts=20, unchanged=frozenset({19}))
    assert [outcome.host for outcome in summarize(rollout.play()).outcomes] == [
        streams.host_name(index) for index in range(20)
    ]


def test_summary_says_who_and_what() -> None:
    """Rollout, inventory, owner and times come from the events."""
    summary = summarize(Rollout(hosts=1).play())
    assert (
        summary.rollout,
        summary.inventory,
        summary.owner,
        summary.is_check,
        summary.is_finished,
        summary.started_at,
        round(summary.duration_s, 2),
        summary.exit_code,
    ) == (
        streams.ROLLOUT,
        "site/inventory.yaml",
        "ops@controller",
        False,
        True,
        "2026-03-01T12:00:00.050000Z",
        0.75,
        ExitCode.OK,
    )


def test_no_events_make_an_empty_summary() -> None:
    """Before anything was heard there is nothing to count and nothing wrong."""
    assert summarize([]) == Summary(exit_code=ExitCode.OK)


def test_hosts_without_outcome_are_skipped() -> None:
    """A host that the rollout never came to is in the summary as skipped."""
    stream = Rollout(hosts=3).play()[:1]
    assert [outcome.result for outcome in summarize(stream).outcomes] == [Result.SKIPPED] * 3


def begun(index: int, step: str = "apply") -> events.StepStarted:
    return events.StepStarted(host=streams.host_name(index), step=step, attempt=1)


def test_host_that_was_cut_off_is_not_taken_for_one_that_was_not_begun() -> None:
    """Its outcome is unknown, and it may have been changed; a survey that was cut off changed nothing."""
    say = Stream().say
    steps = (begun(0, "survey"), begun(1), begun(2), begun(2, "confirm"))
    summary = summarize([*Rollout(hosts=4).play()[:1], *map(say, steps)])
    told = [
        (one.result.value, one.problem and (one.problem.code, one.problem.step)) for one in summary.outcomes
    ]
    assert told == [
        ("skipped", None),
        ("unverified", ("outcome_unknown", "apply")),
        ("unverified", ("outcome_unknown", "confirm")),
        ("skipped", None),
    ]
    assert summary.exit_code is ExitCode.UNVERIFIED


def test_survey_after_a_host_was_cut_off_says_how_it_is() -> None:
    """Until the rollout that is resumed has looked at the host, its outcome is still unknown."""
    say = Stream().say
    surveyed = events.HostSurveyed(
        host=streams.host_name(0), os="", architecture="", gpus_seen=8, machine_id=None, node_id=None
    )
    past = [*Rollout(hosts=1).play()[:1], say(begun(0)), say(events.RolloutResumed(owner="ops", done=0))]
    past.append(say(begun(0, "survey")))
    results = [summarize(stream).outcomes[0].result for stream in (past, [*past, say(surveyed)])]
    assert results == [Result.UNVERIFIED, Result.SKIPPED]


def test_outcome_of_an_unlisted_host_is_kept() -> None:
    """A host that ended counts even where the first event did not list it."""
    say = Stream().say
    outcome = streams.outcome(streams.entry(7))
    assert summarize([say(events.HostFinished(host=outcome.host, outcome=outcome))]).outcomes == (outcome,)


def test_error_and_exit_code_can_be_given() -> None:
    """A command that could not go on says so itself, beside what was heard until then."""
    fold = SummaryFold()
    failure = Failure("region_silent", "no answer", "look")
    summary = fold.summary(failure, ExitCode.UNVERIFIED)
    assert (summary.error, summary.exit_code) == (failure, ExitCode.UNVERIFIED)


def test_recorded_exit_code_stands() -> None:
    """The exit code of the last event is used as it is."""
    assert summarize(Rollout(hosts=2, exit_code=130).play()).exit_code == ExitCode.INTERRUPTED


def test_unfinished_rollout_earns_what_its_hosts_do() -> None:
    """A journal that breaks off still has an exit code."""
    summary = without_end(Rollout(hosts=4, problems={1: GPU_MISSING}))
    assert (summary.exit_code, summary.is_finished) == (ExitCode.FAILED, False)


def test_unfinished_check_with_changes_earns_nine() -> None:
    """A check's plans count where its last event is missing."""
    assert without_end(Rollout(hosts=2, is_check=True)).exit_code == ExitCode.CHANGES


def test_stop_is_reported() -> None:
    """What ended a rollout early is in the summary."""
    stop = events.RolloutStopped(code="too_many_failures", message="3 of 5 failed")
    summary = without_end(Rollout(hosts=2, stop=stop))
    assert (summary.stopped, summary.exit_code) == (
        Failure("too_many_failures", "3 of 5 failed"),
        ExitCode.STOPPED,
    )


@pytest.mark.parametrize(
    ("problem", "expected"),
    [(GPU_MISSING, ExitCode.UNWRITABLE), (FOREIGN_KEY, ExitCode.TRUST)],
    ids=["after 11", "before 11"],
)
def test_broken_journal_ranks_among_the_hosts_outcomes(problem: Problem, expected: ExitCode) -> None:
    """What the hosts came to before the records could no longer be written may be worse than that."""
    fold = SummaryFold()
    for envelope in Rollout(hosts=4, problems={1: problem}).play()[:-1]:
        fold.take(envelope)
    broken = Failure("journal_broken", "cannot write the journal: No space left on device")
    assert fold.summary(broken, ExitCode.UNWRITABLE).exit_code == expected


def test_resumed_rollout_is_not_stopped_any_more() -> None:
    """Going on takes back the stop and the end of the part before."""
    say = Stream().say
    stopped = [
        say(events.RolloutStopped(code="interrupted", message="SIGINT")),
        say(events.RolloutFinished(exit_code=130)),
    ]
    resumed = say(events.RolloutResumed(owner="ops@controller", done=0))
    assert summarize(stopped).exit_code == ExitCode.INTERRUPTED
    summary = summarize([*stopped, resumed])
    assert (summary.stopped, summary.is_finished, summary.exit_code) == (None, False, ExitCode.OK)


def test_host_at_work_again_has_not_ended() -> None:
    """An earlier failure does not outlive the host's being tried again."""
    stream = Rollout(hosts=1, problems={0: GPU_MISSING}).play()[:-1]
    again = Stream(now=streams.START).say(
        events.StepStarted(host=streams.host_name(0), step="survey", attempt=1)
    )
    assert summarize(stream).counts[Result.FAILED] == 1
    assert summarize([*stream, again]).counts[Result.FAILED] == 0


def test_hosts_with_the_same_plan_stand_together() -> None:
    """Plans are grouped by what they do, converged hosts apart."""
    summary = summarize(Rollout(hosts=4, unchanged=frozenset({2}), is_check=True).play())
    assert [(group.changes, group.hosts) for group in summary.plans] == [
        (streams.CHANGES, (streams.host_name(0), streams.host_name(1), streams.host_name(3))),
        ((), (streams.host_name(2),)),
    ]


def test_a_plans_reasons_are_true_of_all_its_hosts() -> None:
    """Hosts with other reasons stand apart; where only numbers or names differ, they are left out."""
    say = Stream().say
    names = [streams.host_name(number) for number in range(5)]
    reasons = [
        "HiveOS mines; watched for 660 s",
        "minerstat mines; watched for 120 s",
        "HiveOS mines; watched for 660 s",
        f"'{names[3]}' answers as {names[3]}",
        f"'rig' answers as {names[4]}",
    ]
    planned = [
        say(events.HostPlanned(host=host, changes=(Change(Action.PREPARE, "x", reason),), stamp="a"))
        for host, reason in zip(names, reasons, strict=True)
    ]
    groups = summarize(planned).plans
    assert [(group.changes[0].reason, group.hosts) for group in groups] == [
        (reasons[0], (names[0], names[2])),
        (reasons[1], (names[1],)),
        ("… answers as …", (names[3], names[4])),
    ]


def test_latest_plan_of_a_host_counts() -> None:
    """A host that is planned again leaves its earlier group."""
    say = Stream().say
    host = streams.host_name(0)
    first = say(events.HostPlanned(host=host, changes=streams.CHANGES, stamp="a"))
    second = say(events.HostPlanned(host=host, changes=(), stamp="a"))
    assert [group.changes for group in summarize([first, second]).plans] == [()]


def test_jobs_of_all_hosts_with_the_same_plan_stand_together() -> None:
    """The plan names what runs on while the agents are restarted."""
    say = Stream().say
    planned = [
        say(
            events.HostPlanned(
                host=streams.host_name(n), changes=streams.CHANGES, stamp="a", allocations=(f"web[{n}]",)
            )
        )
        for n in range(2)
    ]
    assert [group.allocations for group in summarize(planned).plans] == [("web[0]", "web[1]")]


def test_repeated_warnings_are_kept_once() -> None:
    """The same warning twice is one; another one is another."""
    say = Stream().say
    warned = [say(events.Warned(code="nat", message=text)) for text in ("a", "b", "a")]
    assert [warning.message for warning in summarize(warned).warnings] == ["a", "b"]


def test_warnings_are_bounded() -> None:
    """However many different warnings come, a bounded number is kept and the rest counted."""
    say = Stream().say
    warned = (say(events.Warned(code="nat", message=f"warning {index}")) for index in range(MAX_WARNINGS + 5))
    summary = summarize(warned)
    assert (len(summary.warnings), summary.warnings_dropped) == (MAX_WARNINGS, 5)


def test_memory_does_not_grow_with_events() -> None:
    """A thousand retries of a host leave nothing behind in the fold."""
    fold = SummaryFold()
    say = Stream().say
    for envelope in Rollout(hosts=2).play():
        fold.take(envelope)
    before = fold.summary()
    for attempt in range(1000):
        retried = events.StepRetried(
            host=streams.host_name(0),
            step="survey",
            attempt=attempt,
            code="x",
            message=f"{attempt}",
            delay_s=0.1,
        )
        fold.take(say(retried))
    after = fold.summary()
    assert replace(after, duration_s=before.duration_s) == before


def test_causes_are_grouped() -> None:
    """The summary's causes are those of its outcomes."""
    summary = summarize(Rollout(hosts=4, problems={1: GPU_MISSING, 2: GPU_MISSING}).play())
    assert [(cause.code, cause.hosts) for cause in summary.causes] == [
        ("gpu_count_mismatch", (HostName("rey1-a01-g02"), HostName("rey1-a01-g03")))
    ]


def test_outcome_is_what_the_event_says() -> None:
    """Outcomes pass through the fold unchanged."""
    rollout = Rollout(hosts=1, problems={0: GPU_MISSING})
    expected: Outcome = streams.outcome(streams.entry(0), Result.FAILED, GPU_MISSING)
    assert summarize(rollout.play()).outcomes == (expected,)


def test_findings_of_the_latest_survey_count() -> None:
    """A host that is surveyed again has the findings of the second look."""
    finding = Finding("clock", Severity.WARN, "off by 3 s", "ntp")
    say = Stream().say
    looks = [
        say(
            events.HostSurveyed(
                host=HostName("g1"),
                os="debian",
                architecture="x86_64",
                gpus_seen=8,
                machine_id=None,
                node_id=None,
                findings=findings,
            )
        )
        for findings in ((finding,), ())
    ]
    assert [group.hosts for group in summarize(looks[:1]).findings] == [("g1",)]
    assert summarize(looks).findings == ()


def test_findings_of_host_and_fleet_stand_together() -> None:
    """What the fleet shows of a host comes after what the host shows itself."""
    own, of_fleet = Finding("swap_on", Severity.INFO, "a", ""), Finding("mac_doubled", Severity.WARN, "b", "")
    say = Stream().say
    seen = events.HostSurveyed(
        host=HostName("g1"),
        os="debian",
        architecture="x86_64",
        gpus_seen=1,
        machine_id=None,
        node_id=None,
        findings=(own,),
        gpus=("nvidia.rtx.4090.24gb",),
        driver_version="550.54.15",
        rack="a01",
    )
    summary = summarize([say(seen), say(events.HostJudged(host=HostName("g1"), findings=(of_fleet,)))])
    gpus = ("nvidia.rtx.4090.24gb",)
    assert summary.surveys == {
        "g1": SurveySummary("a01", (own, of_fleet), "debian", "x86_64", gpus, "550.54.15", 1)
    }


def test_host_that_was_not_surveyed_has_its_rack_alone() -> None:
    """What the inventory says of it is all there is."""
    summary = summarize(Rollout(hosts=1).play()[:1])
    assert [(survey.rack, survey.os, survey.findings) for survey in summary.surveys.values()] == [
        ("a01", "", ())
    ]


def test_findings_of_no_host_are_passed_over() -> None:
    """An event without a host says nothing of any."""
    assert summarize([Stream().say(events.HostJudged(findings=()))]).surveys == {}


def test_duration_leaves_out_prompt_and_interruption() -> None:
    """A rollout took as long as it was at work, by a person's answer and a night's pause less."""
    say = Stream(now=START, step_s=1.0).say
    stream = [
        say(Rollout(hosts=2).play()[0].event),
        say(events.PlanConfirmed(waited_s=30.0), 32),
        say(events.RolloutResumed(owner="ops", done=0), 36_000),
        say(events.RolloutFinished(exit_code=0)),
    ]
    assert summarize(stream).duration_s == 3.0


def test_plans_of_the_earlier_run_are_forgotten() -> None:
    """Whoever is asked when a rollout is resumed sees what is planned now."""
    stream = Rollout(hosts=2).play()
    resumed = Stream(now=START).say(events.RolloutResumed(owner="ops", done=2))
    assert [len(summarize(s).plans) for s in (stream, [*stream, resumed])] == [1, 0]
