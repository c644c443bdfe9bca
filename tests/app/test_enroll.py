"""What a rollout remembers of its regions, and that its record has an end whatever ended it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from ionetctl.app.enroll import _host_entry, _region_entry, _Run
from ionetctl.app.open_inventory import Site
from ionetctl.app.resume import Past
from ionetctl.core import events
from ionetctl.core.errors import (
    ConfigurationError,
    ExitCode,
    RegionError,
    TrustError,
    UnwritableError,
    UsageError,
)
from ionetctl.core.events import HostEntry, RegionEntry
from ionetctl.core.model.host import AUTO_REGION, GpuPromise
from ionetctl.core.model.inventory import Inventory, NomadSettings, ReadyPair, RegionSettings
from ionetctl.core.model.names import Digest, RolloutId
from ionetctl.core.model.outcome import Result
from ionetctl.core.model.secret import SecretRef
from ionetctl.core.settings import Settings
from ionetctl.credentials.secrets import SecretStore
from ionetctl.host.dependencies import RegionTools
from ionetctl.nomad import Wait
from ionetctl.rollout.options import Goal, RolloutOptions
from ionetctl.rollout.signals import StoppingSignals
from ionetctl.rollout.stop import Stop
from ionetctl.verification.node_watcher import NodeWatcher
from tests.support.clock import ManualClock
from tests.support.fakes import STRICT, Emitted, FakeIssuer, FakeRegion
from tests.support.sample import EU_NORTH, HOST, REGION

if TYPE_CHECKING:
    from pathlib import Path

    from ionetctl.core.model.inventory import Introduction
    from ionetctl.core.model.node import RegionStatus

FIRST = RolloutId("20261123T010000-aaaaaa")
OPTIONS = RolloutOptions("site.yaml")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A state directory of the test's own."""
    made = Settings.load({"HOME": str(tmp_path), "IONETCTL_STATE_DIR": str(tmp_path / "state")})
    made.prepare_state()
    return made


# --- regions ---------------------------------------------------------------------------------------------------------


def opened(settings: RegionSettings = REGION, region: FakeRegion | None = None) -> RegionTools:
    api = region or FakeRegion()
    return RegionTools(settings, api, NodeWatcher(api, api.clock), FakeIssuer(), b"CA PEM\n")


def run_of(
    region: FakeRegion,
    introduction: Introduction,
    goal: Goal = Goal.ENROLL,
    settings: Settings = cast("Settings", None),  # noqa: B008  what most do not need
) -> _Run:
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
    site = Site(inventory, (HOST,), SecretStore({}), nobody, region.clock)
    site.regions[EU_NORTH] = opened(replace(REGION, introduction=introduction), region)
    options = replace(OPTIONS, goal=goal)
    stop = Stop()
    return _Run(options, settings, site, FIRST, Emitted(), region.clock, nobody, stop, StoppingSignals(stop))


async def test_beginning_that_cannot_be_recorded_touches_no_host(settings: Settings) -> None:
    """A disk that is full before the first event is an error of the site, 3; later it is 11."""
    full = UnwritableError("journal_broken", "No space left on device", "make room")
    run = replace(run_of(FakeRegion(), "auto"), settings=settings, emit=Emitted(error=full))
    with pytest.raises(ConfigurationError) as caught:
        await run.recorded(Past())
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


# --- the end of the record -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (RuntimeError("a bug"), 1),
        (MemoryError(), 1),
        (asyncio.CancelledError(), 130),
        (UsageError("size_invalid", "no", ""), 2),
        (BaseExceptionGroup("several", [RegionError("region_failing", "no"), KeyError("bug")]), 1),
        (BaseExceptionGroup("several", [RegionError("region_failing", "no")]), 8),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_record_has_its_end(settings: Settings, error: BaseException, exit_code: int) -> None:
    """A bug, a lack of memory, a cancellation: whatever ends the run is raised, and the record says that it ended."""
    run = run_of(FakeRegion(errors={"status": [error]}), "auto", Goal.SURVEY, settings)
    with pytest.raises(type(error)):
        await run.recorded(Past())
    told = cast("Emitted", run.emit).events
    assert [type(event) for event in told] == [events.RolloutStarted, events.RolloutFinished]
    assert told[-1] == events.RolloutFinished(exit_code=exit_code)


async def test_broken_record_has_no_end(settings: Settings) -> None:
    """Where the journal itself fails, its error is the one that is raised."""
    broken = ConfigurationError("journal_broken", "No space left on device")
    run = replace(run_of(FakeRegion(), "auto", Goal.SURVEY, settings), emit=Emitted(error=broken, from_=0))
    with pytest.raises(ConfigurationError, match="No space"):
        await run.recorded(Past())


class Silent(FakeRegion):
    """A region that accepts the question, and never answers."""

    asked = asyncio.Event()

    async def status(self) -> RegionStatus:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_region_is_not_waited_for_once_the_end_is_asked_for(settings: Settings) -> None:
    """A signal while a region does not answer ends the run: no host was touched, each has its outcome."""
    region = Silent()
    run = run_of(region, "auto", Goal.SURVEY, settings)
    running = asyncio.create_task(run.recorded(Past()))
    await region.asked.wait()
    run.stop.request("interrupted", "SIGINT", ExitCode.INTERRUPTED)
    assert await running is ExitCode.INTERRUPTED
    names = cast("Emitted", run.emit).names
    assert names == ["RolloutStarted", "RolloutStopped", "HostFinished", "RolloutFinished"]
