"""Which rollout is gone on with, what is left to do in it, and that two processes keep its journal whole."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from ionetctl.app.resume import Past, find_rollout, open_journal
from ionetctl.core import events
from ionetctl.core.errors import LockedError, UsageError
from ionetctl.core.events import Envelope, HostEntry
from ionetctl.core.model.installed import Installed
from ionetctl.core.model.names import HostName, RolloutId
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.core.settings import Settings
from ionetctl.history.journal import Journal, read_journal
from ionetctl.rollout.options import RetryFailed, RolloutOptions
from tests.support.clock import ManualClock
from tests.support.sample import EU_NORTH, HOST

if TYPE_CHECKING:
    from ionetctl.core.events import AnyEvent

ROOT = Path(__file__).parents[2]
FIRST = RolloutId("20261123T010000-aaaaaa")
SECOND = RolloutId("20261123T020000-bbbbbb")
OPTIONS = RolloutOptions("site.yaml")
RESUMING = RolloutOptions("site.yaml", resume=True)
HOSTS = tuple(replace(HOST, name=HostName(f"g{number}")) for number in range(1, 6))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A state directory of the test's own."""
    made = Settings.load({"HOME": str(tmp_path), "IONETCTL_STATE_DIR": str(tmp_path / "state")})
    made.prepare_state()
    return made


def started(rollout: RolloutId, inventory: str = "site.yaml", *, is_check: bool = False) -> AnyEvent:
    names = [HostName(f"g{number}") for number in range(1, 5)]
    entries = tuple(HostEntry(name, "10.0.0.1", EU_NORTH, "rey1", None, "gpu", 2, None) for name in names)
    return events.RolloutStarted(
        rollout=rollout,
        inventory=inventory,
        inventory_digest="ab" * 32,
        owner="ops@ctl",
        version="0.1.0",
        hosts=entries,
        regions=(),
        is_check=is_check,
    )


def finished(name: str, result: Result) -> AnyEvent:
    outcome = Outcome(HostName(name), "10.0.0.1", EU_NORTH, "rey1", result)
    return events.HostFinished(host=HostName(name), outcome=outcome)


async def record(settings: Settings, rollout: RolloutId, *said: AnyEvent) -> None:
    journal = Journal.create(settings.rollouts_dir, rollout)
    await journal.take([Envelope(n, "2026-11-23T01:00:00.000Z", event) for n, event in enumerate(said, 1)])
    await journal.close()


def found(settings: Settings, options: RolloutOptions = RESUMING) -> RolloutId:
    return find_rollout(options, settings, ManualClock())


def past_of(settings: Settings, rollout: RolloutId = FIRST) -> Past:
    journal, past = open_journal(settings, rollout, is_resumed=True)
    journal.close_now()
    return past


def left(past: Past, choice: RetryFailed = RetryFailed.LAST) -> list[str]:
    return [str(host.name) for host in past.remaining(HOSTS, choice)]


def test_new_rollout_has_an_id_of_its_own(settings: Settings) -> None:
    """Its id sorts by time, nothing lies behind it, and all hosts lie before it."""
    assert (found(settings, OPTIONS)[:16], Past().first_seq, left(Past())) == (
        "20261123T011226-",
        1,
        ["g1", "g2", "g3", "g4", "g5"],
    )


STORY = (
    started(FIRST),
    finished("g1", Result.FAILED),
    finished("g2", Result.UNCHANGED),
    finished("g3", Result.SKIPPED),
    finished("g4", Result.UNREACHABLE),
    finished("g2", Result.ENROLLED),
)


async def test_resume_goes_on_where_the_journal_ends(settings: Settings) -> None:
    """The next number, and only the hosts that are not done; those that failed go last."""
    await record(settings, FIRST, *STORY)
    past = past_of(settings)
    assert (past.first_seq, left(past), sorted(past.failed)) == (7, ["g3", "g1", "g4"], ["g1", "g4"])


async def test_what_lies_on_hosts_is_not_kept_in_memory(settings: Settings) -> None:
    """It is large, and told to nobody again; the next number counts it."""
    lies = Installed(files=(), links={}, architecture="x86_64")
    event = events.HostInstalled(host=HostName("g1"), region=EU_NORTH, stamp="a", installed=lies)
    await record(settings, FIRST, started(FIRST), finished("g1", Result.DONE), event)
    past = past_of(settings)
    assert ([envelope.seq for envelope in past.envelopes], past.first_seq) == ([1, 2], 4)


@pytest.mark.parametrize(
    ("choice", "hosts", "results"),
    [
        (RetryFailed.ONLY, ["g1", "g4"], []),
        (RetryFailed.NEVER, ["g3"], [Result.FAILED, Result.UNREACHABLE]),
    ],
)
async def test_hosts_that_failed_are_a_choice(
    settings: Settings, choice: RetryFailed, hosts: list[str], results: list[Result]
) -> None:
    """Only they are tried again, or they are left out; what is left out still counts for the exit code."""
    await record(settings, FIRST, *STORY)
    past = past_of(settings)
    assert (left(past, choice), [outcome.result for outcome in past.left_out(choice)]) == (hosts, results)


async def test_last_result_of_a_host_counts(settings: Settings) -> None:
    """A host that failed and was enrolled when it was tried again is done."""
    await record(settings, FIRST, *STORY, finished("g1", Result.ENROLLED))
    assert left(past_of(settings)) == ["g3", "g4"]


async def test_host_that_the_rollout_did_not_begin_with_is_not_its(settings: Settings) -> None:
    """What was added to the inventory since waits for a rollout of its own."""
    await record(settings, FIRST, started(FIRST))
    assert left(past_of(settings)) == ["g1", "g2", "g3", "g4"]


async def test_last_rollout_of_the_inventory_is_resumed(settings: Settings) -> None:
    """Checks and other inventories' rollouts are passed over, empty journals too."""
    await record(settings, FIRST, started(FIRST))
    await record(settings, SECOND, started(SECOND, "other.yaml"))
    await record(settings, RolloutId("20261123T030000-cccccc"), started(FIRST, is_check=True))
    await record(settings, RolloutId("20261123T040000-dddddd"))
    assert found(settings) == FIRST


async def test_rollout_may_be_named(settings: Settings) -> None:
    """Another than the last is resumed by its id."""
    await record(settings, FIRST, started(FIRST))
    await record(settings, SECOND, started(SECOND))
    assert found(settings, replace(RESUMING, rollout=FIRST)) == FIRST


@pytest.mark.parametrize(
    ("rollout", "code"),
    [(None, "nothing_to_resume"), (SECOND, "rollout_unknown"), ("../../etc/passwd", "rollout_unknown")],
)
def test_what_cannot_be_resumed_is_refused(settings: Settings, rollout: str | None, code: str) -> None:
    """Nothing to go on with is the user's mistake, told as such."""
    with pytest.raises(UsageError) as caught:
        found(settings, replace(RESUMING, rollout=rollout))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (events.RolloutFinished(exit_code=0), "rollout_empty"),
        (started(FIRST, is_check=True), "rollout_was_check"),
    ],
)
async def test_what_is_no_rollout_is_not_resumed(settings: Settings, event: AnyEvent, code: str) -> None:
    """A journal without a beginning, or of a check, is left alone, and its lock released."""
    await record(settings, FIRST, event)
    for _ in range(2):
        with pytest.raises(UsageError) as caught:
            open_journal(settings, FIRST, is_resumed=True)
        assert caught.value.code == code


OF_META = events.RolloutStarted(
    rollout=FIRST,
    inventory="catalog",
    inventory_digest="",
    owner="ops@ctl",
    version="0.1.0",
    hosts=(),
    action="set-meta",
    details=("site_row=7",),
)


async def test_change_of_nodes_is_resumed_as_what_it_was(settings: Settings) -> None:
    """Half of the nodes would have one value, and half another; the lock is released."""
    await record(settings, FIRST, OF_META)
    for details in (("site_row=8",), ()):
        with pytest.raises(UsageError, match="set-meta with site_row=7") as caught:
            open_journal(settings, FIRST, is_resumed=True, action="set-meta", details=details)
        assert caught.value.code == "rollout_of_other_details"
    journal, past = open_journal(settings, FIRST, is_resumed=True, action="set-meta", details=("site_row=7",))
    journal.close_now()
    assert past.first_seq == 2


async def test_change_of_nodes_by_an_older_version_is_resumed_unseen(settings: Settings) -> None:
    """Its journal does not say what it did."""
    await record(settings, FIRST, msgspec.structs.replace(OF_META, details=None))
    journal, _ = open_journal(settings, FIRST, is_resumed=True, action="set-meta", details=("site_row=8",))
    journal.close_now()


def test_journal_of_a_new_rollout_is_made(settings: Settings) -> None:
    """A new rollout has a new file."""
    journal, past = open_journal(settings, FIRST, is_resumed=False)
    journal.close_now()
    assert (journal.path.name, past) == (f"{FIRST}.ndjson", Past())


OTHER = """
import asyncio, sys
from ionetctl.app.resume import open_journal
from ionetctl.core.events import Envelope, RolloutResumed
from ionetctl.core.settings import Settings

async def main():
    journal, past = open_journal(Settings.load(), sys.argv[1], is_resumed=True)
    print("open", flush=True)
    sys.stdin.read()
    resumed = RolloutResumed(owner="other", done=0)
    await journal.take([Envelope(past.first_seq, "2026-11-23T02:00:00.000Z", resumed)])
    await journal.close()

asyncio.run(main())
"""


async def test_past_is_read_behind_the_lock(settings: Settings, tmp_path: Path) -> None:
    """What another process wrote between finding the rollout and opening its journal is not numbered a second time."""
    await record(settings, FIRST, started(FIRST))
    environment = {"HOME": str(tmp_path), "IONETCTL_STATE_DIR": str(settings.state_dir)}
    argv = [sys.executable, "-c", OTHER, FIRST]
    with subprocess.Popen(  # noqa: ASYNC220  a neighbour
        argv, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        rollout = found(settings)
        with pytest.raises(LockedError) as caught:
            open_journal(settings, rollout, is_resumed=True)
        other.communicate()
    journal, past = open_journal(settings, rollout, is_resumed=True)
    resumed = events.RolloutResumed(owner="this", done=0)
    await journal.take([Envelope(past.first_seq, "2026-11-23T02:00:01.000Z", resumed)])
    await journal.close()
    assert (caught.value.code, past.first_seq) == ("rollout_running", 3)
    assert [envelope.seq for envelope in read_journal(journal.path)] == [1, 2, 3]
