"""A host is asked once: what its survey and its probe say, and by which clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.model.host import GpuPromise
from ionetctl.core.model.names import RolloutId
from ionetctl.core.ports import Completed
from ionetctl.host.survey import Surveyor
from tests.support.clock import START
from tests.support.fakes import (
    LOGIN,
    Emitted,
    FakeConnector,
    FakeIssuer,
    FakeRegion,
    dependencies,
    probe_text,
    survey_text,
)
from tests.support.sample import HOST, bundle, converged

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.login_key import AccountLogin
    from ionetctl.core.ports import Command

CONVERGED = converged(bundle())
CLOCK_AHEAD_S = 7
LATE_S = 2.0
PROBE_S = 30.0


@dataclass
class Slow:
    """A ``ports.Session``: its host's clock is ahead, its survey is soon done, its probe takes long."""

    region: FakeRegion
    facts: Facts = CONVERGED
    asked: list[bytes] = field(default_factory=list)
    host_key: str | None = None
    login: AccountLogin = LOGIN

    async def run(
        self,
        command: Command,
        stdin: bytes | AsyncIterable[bytes | memoryview] = b"",
        on_line: Callable[[bytes], None] | None = None,
    ) -> Completed:
        assert isinstance(stdin, bytes)
        assert on_line is None
        self.asked.append(stdin)
        nonce = command.argv[3]
        began = self.region.clock.now()
        self.region.clock.advance(LATE_S + PROBE_S)
        survey = survey_text(self.facts, nonce)
        time = f"time\t{int(began.timestamp() + LATE_S / 2) + CLOCK_AHEAD_S}\n".encode()
        survey = survey.replace(b"ionet-survey-end", time + b"ionet-survey-end")
        probed = f"ionet-probed\t{nonce}\t{int(PROBE_S * 100)}\n".encode()
        return Completed(0, survey + probe_text(self.facts, nonce) + probed, b"")


@pytest.fixture
def region() -> FakeRegion:
    return FakeRegion()


@pytest.fixture
def surveyor(region: FakeRegion) -> Surveyor:
    rollout = RolloutId("20261123T011226-k3f9qa")
    return Surveyor(dependencies(rollout, FakeConnector({}), region, FakeIssuer(), Emitted()))


async def test_the_time_of_the_probe_is_not_the_clocks(surveyor: Surveyor, region: FakeRegion) -> None:
    """A driver that takes half a minute to wake does not make the host's clock wrong."""
    surveyed = await surveyor.survey(HOST, Slow(region))
    assert surveyed.facts.clock_offset_s == pytest.approx(CLOCK_AHEAD_S, abs=0.5)
    assert region.clock.now().timestamp() - START.timestamp() == LATE_S + PROBE_S


async def test_a_host_is_asked_once(surveyor: Surveyor, region: FakeRegion) -> None:
    """Its GPUs come with the same answer."""
    session = Slow(region)
    surveyed = await surveyor.survey(HOST, session)
    assert len(session.asked) == 1
    assert surveyed.facts.gpus == CONVERGED.gpus
    assert surveyed.facts.gpu_source == "nvml"


@pytest.mark.parametrize(("count", "program"), [(8, b"# survey.sh, promised\n"), (0, b"# survey.sh\n")])
async def test_promised_gpus_are_probed_for_in_any_case(
    surveyor: Surveyor, region: FakeRegion, count: int, program: bytes
) -> None:
    """Otherwise it is the host's bus that decides."""
    session = Slow(region)
    await surveyor.survey(replace(HOST, gpus=GpuPromise(count=count)), session)
    assert session.asked == [program]


async def test_where_nothing_can_be_no_second_probe_is_run(surveyor: Surveyor, region: FakeRegion) -> None:
    """A bus without NVIDIA devices, to which the inventory promises none, is reading enough."""
    bare = replace(CONVERGED, machine=replace(CONVERGED.machine, gpus_on_bus=0))
    session = Slow(region, bare)
    host = replace(HOST, gpus=GpuPromise(count=0))
    again = await surveyor.survey_again(await surveyor.survey(host, session), session)
    assert (len(session.asked), again.facts.gpus, again.facts.gpu_source) == (1, (), "pci")
