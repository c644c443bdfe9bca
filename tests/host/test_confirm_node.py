"""From a staged host to a confirmed node: tokens, patience, and why a node does not come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core import host_paths
from ionetctl.core.errors import (
    HostFailedError,
    HostUnverifiedError,
    IonetctlError,
    RegionError,
    TrustError,
)
from ionetctl.core.events import StepStarted, TokenMinted
from ionetctl.core.model.names import RolloutId
from ionetctl.core.model.plan import Action, Change, Plan
from ionetctl.host.apply_dialogue import apply_payload
from ionetctl.host.confirm_node import FIRST_TIMEOUT_S, NodeConfirmation
from ionetctl.host.dependencies import Deadlines
from ionetctl.host.outcomes import StartedNode
from ionetctl.host.planned_host import Mark, PlannedHost
from ionetctl.host.survey import Surveyed
from ionetctl.plan.payload import Payload
from tests.support.fakes import (
    DENIED,
    FINISH,
    RECEIVE,
    START,
    TOKEN,
    VERDICT,
    WITH_TOKEN,
    WITHOUT_TOKEN,
    Emitted,
    FakeConnector,
    FakeHost,
    FakeIssuer,
    FakeRegion,
    Line,
    dependencies,
)
from tests.support.sample import BARE, HOST, OWN_KEYS, REGION, bundle, view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.node import NodeView
    from ionetctl.host.apply_dialogue import ApplyDialogue

STAMP = "0123456789abcdef-0123456789ab"
PATIENCE_S = 60.0
UNREACHABLE = ("log\tdial tcp 10.0.0.1:4647: connect: connection refused",)
RESTART = ("step\tstart", "step\tnode", "node\tID")


@dataclass
class Stage:
    """One host on its way into a region, which shows ``views`` from so many seconds on."""

    script: Sequence[Line] = WITH_TOKEN
    views: Mapping[float, NodeView] = field(default_factory=lambda: {0.0: view()})
    host: Host = HOST
    needs_token: bool = True
    introduces: bool = True
    makes_key: bool = False
    issuer: FakeIssuer = field(default_factory=FakeIssuer)
    errors: dict[str, list[BaseException]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started: list[StartedNode] = []
        self.emit = Emitted()
        self.region = FakeRegion(errors=self.errors, at_look=self._show)
        self.fake = FakeHost((), (self.script,))

    def _show(self) -> None:
        for from_s, one in self.views.items():
            if self.waited_s >= from_s:
                self.region.show(one, STAMP)

    async def lead(self, dialogue: ApplyDialogue) -> NodeView:
        deps = dependencies(
            RolloutId("r-1"),
            FakeConnector({}),
            self.region,
            self.issuer,
            self.emit,
            introduces=self.introduces,
        )
        deps = replace(deps, deadlines=Deadlines(step_s=PATIENCE_S))
        renewal = (Change(Action.RENEW, host_paths.NODE_CERT, "it is old"),)
        plan = Plan(HOST.name, STAMP, renewal if self.makes_key else ())
        wanted = bundle(region=OWN_KEYS if self.makes_key else REGION)
        mark = Mark.NEW if self.needs_token else Mark.RELEASED
        planned = PlannedHost(Surveyed(self.host, "node-name", BARE, ()), wanted, plan, mark)
        return await NodeConfirmation(deps, planned, self.started.append).lead(dialogue)

    async def run(self) -> NodeView:
        rollout = RolloutId("r-1")
        made = dependencies(rollout, FakeConnector({}), self.region, FakeIssuer(), self.emit)
        return await apply_payload(self.fake, made, Payload(rollout, b"#"), self.on_step, self.lead)

    async def on_step(self, name: str) -> None:
        pass

    async def failure(self) -> IonetctlError:
        with pytest.raises(IonetctlError) as caught:
            await self.run()
        return caught.value

    @property
    def waited_s(self) -> float:
        return self.region.clock.monotonic()


CERTIFICATE = ("step\tcertificate", "await\tcertificate\tMAo=", "step\tverify", "step\tvalidate")


async def test_host_that_makes_its_key_is_given_its_certificate() -> None:
    """The request goes to the issuer, the chain comes back on a line, before the token is minted."""
    script = (*RECEIVE[:2], *CERTIFICATE, *TOKEN, *START, *VERDICT, *FINISH)
    stage = Stage(script, makes_key=True)
    await stage.run()
    assert stage.issuer.requests == [b"0\n"]
    assert stage.fake.heard[:2] == ["certificate -----BEGIN,chain,-----END", "token jwt-1"]


async def test_request_that_is_refused_ends_the_apply() -> None:
    """The host hears nothing more, so that it tidies up, and the reason goes on."""
    error = HostFailedError("csr_refused", "it is no request")
    stage = Stage((*RECEIVE[:2], *CERTIFICATE), makes_key=True, issuer=FakeIssuer(error=error))
    assert (await stage.failure()).code == "csr_refused"
    assert (stage.fake.heard, stage.region.minted) == ([None], [])


async def test_new_node_is_confirmed() -> None:
    """The view that the region shows comes back."""
    assert await Stage().run() == view()


async def test_new_node_is_introduced() -> None:
    """The host gets a token for its name and pool, then the verdict, and puts everything away."""
    stage = Stage()
    await stage.run()
    assert (stage.fake.heard, stage.region.minted) == (
        ["token jwt-1", "confirmed"],
        [("node-name", "gpu", 300)],
    )


async def test_started_node_is_told() -> None:
    """Node id and stamp are handed on once, as soon as the node runs."""
    stage = Stage()
    await stage.run()
    assert stage.started == [StartedNode(view().id, STAMP)]


async def test_minting_and_confirming_are_told() -> None:
    """Both are events; the token itself is in neither."""
    stage = Stage()
    await stage.run()
    assert stage.emit.events == [
        TokenMinted(host=HOST.name, expires_at="2026-11-23T01:17:26+00:00"),
        StepStarted(host=HOST.name, step="confirm", attempt=1),
    ]


async def test_known_node_needs_no_token() -> None:
    """Where the plan knows the node, none is minted."""
    stage = Stage(WITHOUT_TOKEN, needs_token=False)
    await stage.run()
    assert (stage.fake.heard, stage.region.minted) == (["confirmed"], [])


async def test_slow_node_is_waited_for() -> None:
    """A node that stays away for a while has its log asked for, which says nothing, and is waited for."""
    stage = Stage((*RECEIVE, *TOKEN, *START, *VERDICT, *VERDICT, *FINISH), views={40.0: view()})
    assert await stage.run() == view()
    assert stage.fake.heard == ["token jwt-1", "journal", "confirmed"]


async def test_node_that_never_comes_is_unverified() -> None:
    """When patience ends without a reason in the log, the host is not registered."""
    stage = Stage((*RECEIVE, *TOKEN, *START, *VERDICT, *VERDICT, *VERDICT, *FINISH), views={})
    assert (await stage.failure()).code == "not_registered"
    assert stage.fake.heard == ["token jwt-1", "journal", "journal", None]
    assert stage.waited_s == FIRST_TIMEOUT_S + PATIENCE_S


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"status": "initializing"}, "node_not_ready"), ({"pool": "default"}, "wrong_node_pool")],
)
async def test_node_that_is_there_and_wrong_has_the_whole_patience(
    changes: dict[str, str], code: str
) -> None:
    """What the region says of a node may change while it settles in."""
    stage = Stage(views={0.0: view(**changes)})  # type: ignore[arg-type]
    assert (await stage.failure()).code == code
    assert stage.waited_s == FIRST_TIMEOUT_S + PATIENCE_S


@pytest.mark.parametrize("changes", [{"status": "initializing"}, {"pool": "default"}])
async def test_log_of_a_node_that_is_there_and_wrong_is_not_asked_for(changes: dict[str, str]) -> None:
    """The host hears nothing between its token and the end of its input."""
    stage = Stage(views={0.0: view(**changes)})  # type: ignore[arg-type]
    await stage.failure()
    assert stage.fake.heard == ["token jwt-1", None]


async def test_gpus_and_eligibility_are_not_waited_for() -> None:
    """Both are looked at once the host has put everything away."""
    held = view(devices=(), eligibility="ineligible")
    stage = Stage(views={0.0: held})
    assert (await stage.run(), stage.fake.heard) == (held, ["token jwt-1", "confirmed"])


async def test_cause_in_the_log_ends_the_wait() -> None:
    """What the node's own log explains is told at once, with its remedy."""
    stage = Stage((*RECEIVE, *TOKEN, *START, *VERDICT, *UNREACHABLE, *VERDICT), views={})
    failure = await stage.failure()
    assert (type(failure), failure.code) == (HostUnverifiedError, "servers_unreachable")
    assert stage.waited_s == FIRST_TIMEOUT_S


async def test_denied_node_gets_one_more_token() -> None:
    """An introduction may have expired on a slow start: it is minted once more."""
    script = (*RECEIVE, *TOKEN, *START, *VERDICT, *DENIED, *VERDICT, *RESTART, *VERDICT, *FINISH)
    stage = Stage(script, views={FIRST_TIMEOUT_S + 1: view()})
    assert await stage.run() == view()
    assert stage.fake.heard == ["token jwt-1", "journal", "token jwt-2", "confirmed"]


DENIED_TWICE = (*RECEIVE, *TOKEN, *START, *VERDICT, *DENIED, *VERDICT, *RESTART, *VERDICT, *DENIED, *VERDICT)


async def test_node_that_is_denied_twice_is_given_up() -> None:
    """After the second token it is something else."""
    stage = Stage(DENIED_TWICE, views={})
    assert (await stage.failure()).code == "introduction_denied"
    assert len(stage.region.minted) == 2


async def test_host_whose_node_is_given_up_tidies_up() -> None:
    """Its input ends without a verdict."""
    stage = Stage(DENIED_TWICE, views={})
    await stage.failure()
    assert stage.fake.heard[-1] is None


async def test_region_without_introductions_mints_nothing() -> None:
    """Where nodes are not introduced, a denial is final."""
    script = (*RECEIVE, *START, *VERDICT, *DENIED, *VERDICT)
    stage = Stage(script, views={}, needs_token=False, introduces=False)
    assert ((await stage.failure()).code, stage.region.minted) == ("introduction_denied", [])


async def test_host_without_a_node_id_is_not_asked_about() -> None:
    """A host that skips the protocol's node line cannot be confirmed."""
    stage = Stage((*RECEIVE, *TOKEN, *VERDICT))
    assert (await stage.failure()).code == "no_node_id"


SILENT = RegionError("region_silent", "m")
UNTRUSTED = TrustError("region_untrusted", "m")


@pytest.mark.parametrize(("call", "error"), [("introduce", SILENT), ("nodes", SILENT), ("nodes", UNTRUSTED)])
async def test_regions_failure_comes_out_as_it_is(call: str, error: IonetctlError) -> None:
    """Kind and arguments are those of the region's own error."""
    failure = await Stage(errors={call: [error]}).failure()
    assert (type(failure), failure.args) == (type(error), ("m",))


@pytest.mark.parametrize(
    ("call", "error", "heard"),
    [
        ("introduce", SILENT, [None]),
        ("nodes", SILENT, ["token jwt-1", None]),
        ("nodes", UNTRUSTED, ["token jwt-1", None]),
    ],
)
async def test_region_that_fails_ends_the_talk(
    call: str, error: IonetctlError, heard: list[str | None]
) -> None:
    """The host's input ends, so that it tidies up."""
    stage = Stage(errors={call: [error]})
    await stage.failure()
    assert stage.fake.heard == heard
