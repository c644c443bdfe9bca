"""What a rollout learns and records of its regions before its first host."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from ionetctl.app.ask_regions import RegionsAsked, _region_entry
from ionetctl.core import events
from ionetctl.core.errors import ConfigurationError, ExitCode, RegionError, TrustError
from ionetctl.core.events import RegionEntry
from ionetctl.core.model.host import AUTO_REGION
from ionetctl.core.model.inventory import ReadyPair
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.node import Namespace, SeenNamespaces
from ionetctl.core.model.outcome import Result
from ionetctl.core.model.secret import SecretRef
from tests.support.fakes import FENCED, STRICT, Emitted, FakeRegion
from tests.support.sample import EU_NORTH, HOST, REGION
from tests.support.sites import opened, site_of

if TYPE_CHECKING:
    from ionetctl.core.model.inventory import Introduction, Licence


def asked(region: FakeRegion, introduction: Introduction, *, takes_hosts: bool = True) -> RegionsAsked:
    """The regions of a rollout of one host, which is ``region``."""
    return RegionsAsked(site_of(region, introduction), Emitted(), takes_hosts)


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
    regions = asked(region, introduction)
    assert (await regions._asked(EU_NORTH)).introduces is expected
    assert cast("Emitted", regions.emit).events == [
        events.RegionChecked(
            region=EU_NORTH,
            server_version="2.0.5",
            enforcement=enforcement,
            entry=_region_entry(regions.site.regions[EU_NORTH]),
        )
    ]


UNREACHABLE = RegionError("region_unreachable", "nobody answers", "is it up?")
UNTRUSTED = TrustError("region_untrusted", "another CA", "is it this region?")


@pytest.mark.parametrize("takes_hosts", [True, False])
@pytest.mark.parametrize("error", [UNREACHABLE, UNTRUSTED])
async def test_region_that_does_not_answer_is_reported_and_left(
    error: RegionError | TrustError, *, takes_hosts: bool
) -> None:
    """Its trouble is kept and told with its name; whatever is asked for goes on with the other regions."""
    regions = asked(FakeRegion(errors={"status": [error]}), "auto", takes_hosts=takes_hosts)
    await regions.ask()
    tools = regions.site.regions[EU_NORTH]
    assert (tools.status, tools.trouble, tools.introduces) == (None, error, False)
    message = f"region eu-north: {error.message}"
    warning = events.Warned(code=error.code, message=message, hint=error.hint)
    assert cast("Emitted", regions.emit).events == [warning]


async def test_region_that_may_be_chosen_is_done_without() -> None:
    """A candidate that cannot take hosts keeps nobody from joining another."""
    regions = asked(FakeRegion(state=replace(STRICT, pools=frozenset({"default"}))), "required")
    regions.site.hosts = (replace(HOST, region=AUTO_REGION),)
    regions.site.regions[EU_NORTH] = opened(
        replace(REGION, introduction="required"), FakeRegion(state=replace(STRICT, server_version="1.10.0"))
    )
    assert (await regions._asked(EU_NORTH)).status is None
    assert [type(event) for event in cast("Emitted", regions.emit).events] == [events.Warned]


async def test_region_without_the_pool_is_refused_before_it_is_told() -> None:
    """A node pool that does not exist stops the rollout, and nothing is said of the region."""
    regions = asked(FakeRegion(state=replace(STRICT, pools=frozenset({"default"}))), "auto")
    with pytest.raises(ConfigurationError, match="node pool gpu"):
        await regions.ask()
    assert cast("Emitted", regions.emit).events == []


UNFENCED = SeenNamespaces((*FENCED.namespaces, Namespace("team")), are_all=True)
HIDDEN = replace(FENCED, are_all=False)


@pytest.mark.parametrize(
    ("seen", "code"),
    [(UNFENCED, "namespace_unfenced"), (HIDDEN, "namespaces_hidden")],
    ids=["unfenced", "hidden"],
)
async def test_no_door_is_put_where_tenants_would_get_exec(seen: SeenNamespaces, code: str) -> None:
    """With a door asked for that is the region's trouble, told before any host; without one nobody looks."""
    region = FakeRegion(seen=seen)
    for takes_hosts in (True, False):
        regions = RegionsAsked(site_of(region, "auto", "key"), Emitted(), takes_hosts)
        await regions.ask()
        tools = regions.site.regions[EU_NORTH]
        [warning] = cast("Emitted", regions.emit).events
        assert isinstance(warning, events.Warned)
        assert (tools.status, tools.trouble and tools.trouble.code, warning.code) == (None, code, code)
        assert warning.message.startswith("region eu-north: no maintenance door: ")
    plain = Emitted()
    await RegionsAsked(site_of(region, "auto"), plain, takes_hosts=True).ask()
    assert [type(event) for event in plain.events] == [events.RegionChecked]


async def test_region_without_fences_leaves_the_hosts_of_others_to_go_on() -> None:
    """Its own have its trouble; the other region can take hosts, whatever that one's operator does."""
    site = site_of(FakeRegion(seen=UNFENCED), "auto", "key")
    us_east = replace(REGION, name=RegionName("us-east"))
    site.inventory.regions[us_east.name] = us_east  # type: ignore[index]  # a dict in these tests
    site.regions[us_east.name] = opened(us_east)
    site.hosts = (HOST, replace(HOST, name=HostName("other"), region=us_east.name))
    await RegionsAsked(site, Emitted(), takes_hosts=True).ask()
    assert {name: tools.status is None for name, tools in site.regions.items()} == {
        EU_NORTH: True,
        us_east.name: False,
    }


@pytest.mark.parametrize(
    ("troubles", "kind"),
    [
        (["namespace_unfenced", "namespaces_hidden"], ConfigurationError),
        (["namespace_unfenced", "region_unreachable"], RegionError),
    ],
    ids=["no-fences", "one-is-silent"],
)
async def test_rollout_for_doors_that_no_region_takes_is_misconfigured(
    troubles: list[str], kind: type[Exception]
) -> None:
    """It ends with 3 where each region lacks fences, and names them; its hosts have their region's code."""
    regions = asked(FakeRegion(), "auto")
    us_east = replace(REGION, name=RegionName("us-east"))
    hosts = (HOST, replace(HOST, name=HostName("other"), region=us_east.name))
    for settings, code in zip((REGION, us_east), troubles, strict=True):
        regions.site.regions[settings.name] = replace(opened(settings), trouble=RegionError(code, "closed"))
    with pytest.raises(
        kind, match=r"nothing was installed: region eu-north: closed; region us-east: closed"
    ) as caught:
        await regions.leave_all(hosts, frozenset())
    assert type(caught.value) is kind
    finished = [one for one in cast("Emitted", regions.emit).events if isinstance(one, events.HostFinished)]
    assert [one.outcome.problem and one.outcome.problem.code for one in finished] == troubles


async def test_fenced_region_takes_doors() -> None:
    """The namespaces are asked once the region can take hosts."""
    site, emit = site_of(FakeRegion(), "auto", "key"), Emitted()
    await RegionsAsked(site, emit, takes_hosts=True).ask()
    assert site.regions[EU_NORTH].trouble is None
    assert [type(event) for event in emit.events] == [events.RegionChecked]


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
    regions = asked(FakeRegion(errors={"status": [error]}), "auto")
    enrolled = frozenset({(EU_NORTH, HOST.name)}) if is_enrolled else frozenset()
    await regions.ask()
    with pytest.raises(type(error), match="nothing was installed: region eu-north: ") as caught:
        await regions.leave_all((HOST,), enrolled)
    assert (caught.value.code, caught.value.exit_code) == (error.code, exit_code)
    [event] = [one for one in cast("Emitted", regions.emit).events if isinstance(one, events.HostFinished)]
    problem = event.outcome.problem
    assert problem is not None
    assert (event.outcome.result, problem.code, problem.step, problem.exit_code) == (
        result,
        error.code,
        "region",
        exit_code,
    )
    assert problem.message == f"region eu-north: {error.message}; nothing was changed on the host"


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


@pytest.mark.parametrize(
    ("licence", "takes_hosts", "expected"), [("mpl-only", True, 1), ("mpl-only", False, 0), (None, True, 0)]
)
async def test_what_is_lost_with_old_releases_is_told(
    licence: Licence | None, *, takes_hosts: bool, expected: int
) -> None:
    """Once, where hosts are to get one."""
    regions = asked(FakeRegion(), "auto", takes_hosts=takes_hosts)
    inventory = regions.site.inventory
    regions.site.inventory = replace(
        inventory, nomad=replace(inventory.nomad, version="1.6.5", licence=licence)
    )
    await regions.ask()
    told = [each for each in cast("Emitted", regions.emit).events if isinstance(each, events.Warned)]
    assert [each.code for each in told] == ["licence_mpl_only"] * expected
    assert all("default_ineligible" in each.hint for each in told)
