"""What a rollout is called, what it goes on with, and what it remembers of its regions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from ionetctl.app.enroll import _host_entry, _region_entry, _Run
from ionetctl.app.open_inventory import Site
from ionetctl.app.resume import Past, identify, open_journal
from ionetctl.core import events
from ionetctl.core.errors import (
    ConfigurationError,
    ExitCode,
    RegionError,
    TrustError,
    UnwritableError,
    UsageError,
)
from ionetctl.core.events import Envelope, HostEntry, RegionEntry
from ionetctl.core.model.host import AUTO_REGION, GpuPromise
from ionetctl.core.model.inventory import Inventory, NomadSettings, ReadyPair, RegionSettings
from ionetctl.core.model.names import Digest, HostName, RolloutId
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.core.model.secret import SecretRef
from ionetctl.core.settings import Settings
from ionetctl.history.journal import Journal, read_journal
from ionetctl.host.dependencies import RegionTools
from ionetctl.nomad import Wait
from ionetctl.rollout.options import Goal, RolloutOptions
from ionetctl.verification.registrar import Registrar
from tests.support.clock import ManualClock
from tests.support.fakes import STRICT, Emitted, FakeIssuer, FakeRegion
from tests.support.sample import EU_NORTH, HOST, REGION

if TYPE_CHECKING:
    from pathlib import Path

    from ionetctl.core.events import AnyEvent
    from ionetctl.core.model.inventory import Introduction

FIRST = RolloutId("20261123T010000-aaaaaa")
SECOND = RolloutId("20261123T020000-bbbbbb")
OPTIONS = RolloutOptions("site.yaml")
RESUMING = RolloutOptions("site.yaml", resume=True)


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


def identity(settings: Settings, options: RolloutOptions = RESUMING) -> tuple[str, Past]:
    return identify(options, settings, ManualClock())


# --- identity --------------------------------------------------------------------------------------------------------


def test_new_rollout_has_an_id_of_its_own(settings: Settings) -> None:
    """Its id sorts by time, and nothing lies behind it."""
    rollout, past = identity(settings, OPTIONS)
    assert (rollout[:16], past.envelopes, past.first_seq, past.leaves(HostName("g1"))) == (
        "20261123T011226-",
        (),
        1,
        True,
    )


async def test_resume_goes_on_where_the_journal_ends(settings: Settings) -> None:
    """The same id, the next number, and only the hosts that are not done: the last word on each counts."""
    await record(
        settings,
        FIRST,
        started(FIRST),
        finished("g1", Result.ENROLLED),
        finished("g2", Result.UNCHANGED),
        finished("g3", Result.FAILED),
        finished("g4", Result.UNREACHABLE),
        finished("g4", Result.ENROLLED),
    )
    rollout, past = identity(settings)
    assert (rollout, past.first_seq) == (FIRST, 7)
    assert [name for name in ("g1", "g2", "g3", "g4") if past.leaves(HostName(name))] == ["g3"]


async def test_host_that_the_rollout_did_not_begin_with_is_not_its(settings: Settings) -> None:
    """What was added to the inventory since waits for a rollout of its own."""
    await record(settings, FIRST, started(FIRST))
    _, past = identity(settings)
    assert (past.leaves(HostName("g4")), past.leaves(HostName("g5"))) == (True, False)


async def test_last_rollout_of_the_inventory_is_resumed(settings: Settings) -> None:
    """Checks and other inventories' rollouts are passed over, empty journals too."""
    await record(settings, FIRST, started(FIRST))
    await record(settings, SECOND, started(SECOND, "other.yaml"))
    await record(settings, RolloutId("20261123T030000-cccccc"), started(FIRST, is_check=True))
    await record(settings, RolloutId("20261123T040000-dddddd"))
    assert identity(settings)[0] == FIRST


async def test_rollout_may_be_named(settings: Settings) -> None:
    """Another than the last is resumed by its id."""
    await record(settings, FIRST, started(FIRST))
    await record(settings, SECOND, started(SECOND))
    assert identity(settings, replace(RESUMING, rollout=FIRST))[0] == FIRST


@pytest.mark.parametrize(
    ("rollout", "code"),
    [(None, "nothing_to_resume"), (SECOND, "rollout_unknown"), ("../../etc/passwd", "rollout_unknown")],
)
def test_what_cannot_be_resumed_is_refused(settings: Settings, rollout: str | None, code: str) -> None:
    """Nothing to go on with is the user's mistake, told as such."""
    with pytest.raises(UsageError) as caught:
        identity(settings, replace(RESUMING, rollout=rollout))
    assert caught.value.code == code


async def test_journal_without_a_beginning_is_no_rollout(settings: Settings) -> None:
    """A journal that does not begin with its rollout cannot be resumed by name."""
    await record(settings, FIRST, events.RolloutFinished(exit_code=0))
    with pytest.raises(UsageError) as caught:
        identity(settings, replace(RESUMING, rollout=FIRST))
    assert caught.value.code == "rollout_empty"


async def test_check_cannot_be_resumed(settings: Settings) -> None:
    """A check that was named is not turned into a rollout."""
    await record(settings, FIRST, started(FIRST, is_check=True))
    with pytest.raises(UsageError) as caught:
        identity(settings, replace(RESUMING, rollout=FIRST))
    assert caught.value.code == "rollout_was_check"


async def test_journal_of_a_resumed_rollout_is_continued(settings: Settings) -> None:
    """The events go on in the same file."""
    await record(settings, FIRST, started(FIRST))
    _, past = identity(settings)
    journal = open_journal(settings, FIRST, past)
    resumed = Envelope(past.first_seq, "2026-11-23T02:00:00.000Z", events.RolloutResumed(owner="o", done=0))
    await journal.take([resumed])
    await journal.close()
    assert [envelope.seq for envelope in read_journal(journal.path)] == [1, 2]


async def test_journal_of_a_new_rollout_is_made(settings: Settings) -> None:
    """A new rollout has a new file."""
    journal = open_journal(settings, FIRST, Past((), frozenset()))
    await journal.close()
    assert journal.path.name == f"{FIRST}.ndjson"


# --- regions ---------------------------------------------------------------------------------------------------------


def opened(settings: RegionSettings = REGION, region: FakeRegion | None = None) -> RegionTools:
    api = region or FakeRegion()
    return RegionTools(settings, api, Registrar(api, api.clock), FakeIssuer(), b"CA PEM\n")


def run_of(region: FakeRegion, introduction: Introduction, goal: Goal = Goal.ENROLL) -> _Run:
    """A rollout of one host into ``region``; what it does not need here is left out."""
    nobody = cast("Any", None)
    inventory = Inventory(
        "site.yaml",
        "/",
        Digest("ab" * 32),
        "as-written",
        {EU_NORTH: REGION},
        NomadSettings("2.0.5", "1.1.0"),
        (HOST,),
    )
    site = Site(inventory, (HOST,), nobody, nobody, region.clock)
    site.regions[EU_NORTH] = opened(replace(REGION, introduction=introduction), region)
    options = replace(OPTIONS, goal=goal)
    return _Run(options, nobody, site, FIRST, Emitted(), region.clock, nobody)


async def test_beginning_that_cannot_be_recorded_touches_no_host(settings: Settings) -> None:
    """A disk that is full before the first event is an error of the site, 3; later it is 11."""
    full = UnwritableError("journal_broken", "No space left on device", "make room")
    run = replace(run_of(FakeRegion(), "auto"), settings=settings, emit=Emitted(error=full))
    with pytest.raises(ConfigurationError) as caught:
        await run.recorded(Past((), frozenset()))
    assert (caught.value.code, caught.value.exit_code) == ("journal_broken", 3)


@pytest.mark.parametrize(
    ("introduction", "enforcement", "expected"),
    [
        ("auto", "strict", True),
        ("auto", "warn", True),
        ("auto", "none", False),
        ("auto", None, True),
        ("required", "none", True),
        ("off", "strict", False),
    ],
)
async def test_nodes_are_introduced_as_region_and_inventory_have_it(
    introduction: Introduction, enforcement: str | None, *, expected: bool
) -> None:
    """The region's setting decides where the inventory leaves it open; where we may not look, we try."""
    region = FakeRegion(state=replace(STRICT, enforcement=enforcement))
    run = run_of(region, introduction)
    assert (await run._asked(EU_NORTH)).introduces is expected
    assert cast("Emitted", run.emit).events == [
        events.RegionChecked(
            region=EU_NORTH,
            server_version="2.0.5",
            enforcement=enforcement,
            entry=_region_entry(run.site.regions[EU_NORTH]),
        )
    ]


UNREACHABLE = RegionError("region_unreachable", "nobody answers", "is it up?")
UNTRUSTED = TrustError("region_untrusted", "another CA", "is it this region?")


@pytest.mark.parametrize("goal", list(Goal))
@pytest.mark.parametrize("error", [UNREACHABLE, UNTRUSTED])
async def test_region_that_does_not_answer_is_reported_and_left(
    goal: Goal, error: RegionError | TrustError
) -> None:
    """Its trouble is kept and told with its name; whatever is asked for goes on with the other regions."""
    run = run_of(FakeRegion(errors={"status": [error]}), "auto", goal)
    await run._ask_regions()
    tools = run.site.regions[EU_NORTH]
    assert (tools.status, tools.trouble, tools.introduces) == (None, error, False)
    message = f"region eu-north: {error.message}"
    warning = events.Warned(code=error.code, message=message, hint=error.hint)
    assert cast("Emitted", run.emit).events == [warning]


async def test_region_that_may_be_chosen_is_done_without() -> None:
    """A candidate that cannot take hosts keeps nobody from joining another."""
    run = run_of(FakeRegion(state=replace(STRICT, pools=frozenset({"default"}))), "required")
    run.site.hosts = (replace(HOST, region=AUTO_REGION),)
    run.site.regions[EU_NORTH] = opened(
        replace(REGION, introduction="required"), FakeRegion(state=replace(STRICT, server_version="1.10.0"))
    )
    assert (await run._asked(EU_NORTH)).status is None
    assert [type(event) for event in cast("Emitted", run.emit).events] == [events.Warned]


async def test_region_without_the_pool_is_refused_before_it_is_told() -> None:
    """A node pool that does not exist stops the rollout, and nothing is said of the region."""
    run = run_of(FakeRegion(state=replace(STRICT, pools=frozenset({"default"}))), "auto")
    with pytest.raises(ConfigurationError, match="node pool gpu"):
        await run._ask_regions()
    assert cast("Emitted", run.emit).events == []


@pytest.mark.parametrize(
    ("error", "exit_code", "is_enrolled", "result"),
    [
        (UNREACHABLE, ExitCode.UNVERIFIED, False, Result.SKIPPED),
        (UNREACHABLE, ExitCode.UNVERIFIED, True, Result.UNVERIFIED),
        (UNTRUSTED, ExitCode.TRUST, False, Result.SKIPPED),
    ],
)
async def test_rollout_whose_regions_are_all_dead_touches_no_host(
    error: RegionError | TrustError, exit_code: ExitCode, result: Result, *, is_enrolled: bool
) -> None:
    """It says that nothing was installed, names the region at every host, and connects to none."""
    run = run_of(FakeRegion(errors={"status": [error]}), "auto")
    run = replace(run, enrolled=frozenset({(EU_NORTH, HOST.name)}) if is_enrolled else frozenset())
    await run._ask_regions()
    with pytest.raises(type(error), match="nothing was installed: region eu-north: ") as caught:
        await run._leave_all((HOST,))
    assert (caught.value.code, caught.value.exit_code) == (error.code, exit_code)
    [event] = [one for one in cast("Emitted", run.emit).events if isinstance(one, events.HostFinished)]
    problem = event.outcome.problem
    assert problem is not None
    assert (event.outcome.result, problem.code, problem.step, problem.exit_code) == (
        result,
        error.code,
        "region",
        exit_code,
    )
    assert problem.message == f"region eu-north: {error.message}; nothing was changed on the host"


async def test_waiting_for_a_region_is_recorded() -> None:
    """As an event with the region's name, once there is a record to write to."""
    nobody = cast("Any", None)
    site = Site(nobody, (HOST,), nobody, nobody, ManualClock())
    wait = Wait("https://n-1:4646", 2, 14.23, UNREACHABLE)
    await site._waited(EU_NORTH, wait)
    site.emit = emit = Emitted()
    await site._waited(EU_NORTH, wait)
    assert emit.events == [
        events.RegionWaited(
            region=EU_NORTH,
            address="https://n-1:4646",
            attempt=2,
            waited_s=14.2,
            code="region_unreachable",
            message="nobody answers",
        )
    ]


def test_region_is_remembered_by_reference() -> None:
    """What status needs to ask again: addresses, CA, and where secrets are to be had, never the secrets."""
    client = ReadyPair("/pki/cli.pem", SecretRef("file", "/pki/cli-key.pem"))
    with_client = replace(REGION, tls=replace(REGION.tls, client=client))
    plain = RegionEntry(
        EU_NORTH,
        ("https://nomad-1.eu-north.example:4646",),
        "CA PEM\n",
        "server.eu-north.nomad",
        "env",
        "TOKEN",
        None,
        None,
        None,
        "auto",
        10_000,
    )
    entries = [_region_entry(opened(settings)) for settings in (REGION, with_client)]
    assert [
        entries[0],
        entries[1].client_cert,
        entries[1].client_key_source,
        entries[1].client_key_locator,
    ] == [
        plain,
        "/pki/cli.pem",
        "file",
        "/pki/cli-key.pem",
    ]


def test_host_is_listed_with_its_promise() -> None:
    """The first event lists each host with what was promised of it."""
    host = replace(HOST, gpus=GpuPromise("rtx-4090", 2))
    assert _host_entry(host) == HostEntry(
        HOST.name, "10.20.1.1", EU_NORTH, "rey1", "a01", "gpu", 2, "rtx-4090"
    )
