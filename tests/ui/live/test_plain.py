"""A rollout as plain lines."""

from __future__ import annotations

import pytest

from ionetctl.core import events
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.outcome import Result
from ionetctl.summary.live_progress import Phase, Progress, ProgressFold
from ionetctl.ui.live.plain import PlainLines, progress_line
from ionetctl.ui.verbosity import Verbosity
from tests.support import streams
from tests.support.streams import GPU_MISSING, Rollout, Stream

HOST = HostName("rey1-a01-g01")


async def said(stream: list[events.Envelope], verbosity: Verbosity = Verbosity.NORMAL) -> list[str]:
    lines: list[str] = []
    sink = PlainLines(lines.append, verbosity)
    for envelope in stream:
        await sink.take([envelope])
    await sink.take([])
    await sink.close()
    return lines


async def test_a_line_per_wave_and_per_failure() -> None:
    """Without a terminal a rollout is reported wave by wave, and every failure when it happens."""
    stream = Rollout(hosts=5, problems={1: GPU_MISSING}, batch=2).play()
    assert await said(stream) == [
        "rollout 20260301T120000Z-7f3a: enrolling 5 hosts",
        "region eu-north: Nomad 2.0.5",
        "failed rey1-a01-g02: gpu_count_mismatch in survey: 7 GPUs seen, 8 promised",
        "canary: 1 host",
        "wave 1 of 3 is through",
        "wave 2 of 3: 2 hosts",
        "wave 2 of 3 is through",
        "wave 3 of 3: 1 host",
        "wave 3 of 3 is through",
    ]


async def test_quiet_says_what_went_wrong_alone() -> None:
    """With -q nothing but failures is said."""
    stream = Rollout(hosts=3, problems={1: GPU_MISSING}).play()
    assert await said(stream, Verbosity.QUIET) == [
        "failed rey1-a01-g02: gpu_count_mismatch in survey: 7 GPUs seen, 8 promised"
    ]


async def test_verbose_says_every_host() -> None:
    """With -v every host's end is said, with -vv every step."""
    stream = Rollout(hosts=1).play()
    ended = "enrolled rey1-a01-g01 in 4 s"
    step = "rey1-a01-g01 apply install"
    assert [
        (ended in lines, step in lines)
        for lines in [
            await said(stream),
            await said(stream, Verbosity.VERBOSE),
            await said(stream, Verbosity.DEBUG),
        ]
    ] == [(False, False), (True, False), (True, True)]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (events.RolloutResumed(owner="ops", done=3), "resumed; 3 hosts done before"),
        (
            events.HostKeyAccepted(host=HOST, fingerprint="SHA256:abc", known_as="x"),
            "accepted SHA256:abc as the key of rey1-a01-g01",
        ),
        (
            events.RolloutStopped(code="too_many_failures", message="3 of 5"),
            "stopped (too_many_failures): 3 of 5",
        ),
        (events.Warned(code="nat", message="one address"), "warning: one address"),
        (events.Warned(host=HOST, code="nat", message="a", hint="b"), "warning rey1-a01-g01: a → b"),
        (
            events.StepRetried(
                host=HOST, step="survey", attempt=1, code="x", message="no route", delay_s=2.0
            ),
            "retry rey1-a01-g01 survey: no route; again in 2 s",
        ),
        (
            events.HostFinished(host=HOST, outcome=streams.outcome(streams.entry(0), Result.FAILED)),
            "failed rey1-a01-g01: no reason given",
        ),
        (events.WaveFinished(index=2, of=3, failed=1), "wave 2 of 3 is through, 1 failed"),
        (
            events.RegionChecked(region=RegionName("eu\x1b[2J"), server_version="1\n2", enforcement=None),
            "region eu: Nomad 1 2",
        ),
        (
            events.RegionWaited(
                region=RegionName("eu\x1b[2J"),
                address="https://n-1:4646",
                attempt=2,
                waited_s=14.2,
                code="region_unreachable",
                message="it cannot be\nreached",
            ),
            "waiting for region eu at https://n-1:4646: attempt 2 failed, 14 s yet: it cannot be reached",
        ),
    ],
)
async def test_events_have_their_line(event: events.AnyEvent, expected: str) -> None:
    """What is worth a line gets one that cannot disturb a terminal."""
    assert await said([Stream().say(event)], Verbosity.VERBOSE) == [expected]


async def test_progress_is_said_now_and_then() -> None:
    """A long rollout says every quarter minute how far it is."""
    stream = Rollout(hosts=100, batch=50, step_s=0.1).play()
    lines = [line for line in await said(stream) if line.startswith(("survey:", "rollout:"))]
    assert lines == [
        "survey: 37 of 100 hosts; 148 hosts/min; about 26 s left",
        "survey: 75 of 100 hosts; 150 hosts/min; about 10 s left",
        "rollout: 6 of 100 hosts; 6 enrolled; 75 hosts/min; about 1 min 15 s left",
        "rollout: 28 of 100 hosts; 28 enrolled; 85 hosts/min; about 51 s left",
        "rollout: 49 of 100 hosts; 49 enrolled; 84 hosts/min; about 36 s left",
        "rollout: 70 of 100 hosts; 70 enrolled; 84 hosts/min; about 21 s left",
        "rollout: 92 of 100 hosts; 92 enrolled; 85 hosts/min; about 6 s left",
    ]


async def test_past_of_a_resumed_rollout_is_not_said_again() -> None:
    """The first batch of a resumed rollout counts, and is silent."""
    lines: list[str] = []
    sink = PlainLines(lines.append, has_past=True)
    await sink.take(Rollout(hosts=3, problems={1: GPU_MISSING}).play()[:-3])
    await sink.take([Stream().say(events.RolloutResumed(owner="ops", done=1))])
    assert lines == ["resumed; 1 host done before"]


def test_progress_without_ground_promises_nothing() -> None:
    """Before anything is done there is neither pace nor estimate."""
    progress: Progress = ProgressFold().snapshot()
    assert (progress.phase, progress_line(progress)) == (Phase.SURVEY, "survey: 0 of 0 hosts")
