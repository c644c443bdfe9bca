"""The plan is the bundle minus the facts: nothing more, nothing less."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core import host_paths
from ionetctl.core.model.plan import Action, Kind, Plan
from ionetctl.plan.bundle import sha256
from ionetctl.plan.difference import PlanContext, drivers_lost, make_plan, new_digests
from tests.support.sample import BARE, HOST, NONCE, OWN_KEYS, SIGNERS, VERIFYING, bundle, converged

if TYPE_CHECKING:
    from ionetctl.core.model.facts import Facts, RemoteFile

BUNDLE = bundle()
CONVERGED = converged(BUNDLE)
NEW_NONCE = "ffffffffffff"


def plan_of(
    facts: Facts, *, unfit: str | None = None, is_known: bool = True, unconfirmed: str | None = None
) -> Plan:
    return make_plan(BUNDLE, facts, PlanContext(NEW_NONCE, unfit, is_known, unconfirmed))


def actions(plan: Plan) -> set[tuple[str, str]]:
    return {(change.action.value, change.path) for change in plan.changes}


def with_file(facts: Facts, path: str, **changes: object) -> Facts:
    """The facts with one file that is different there."""
    return replace(facts, files={**facts.files, path: replace(facts.files[path], **changes)})  # type: ignore[arg-type]


def without_file(facts: Facts, path: str) -> Facts:
    return replace(facts, files={name: file for name, file in facts.files.items() if name != path})


RESTAMPED = {("update", host_paths.CLIENT_CONFIG), ("restart", host_paths.UNIT_NAME)}


def test_converged_host_has_an_empty_plan() -> None:
    """A host that has everything needs nothing, and keeps its stamp."""
    plan = plan_of(CONVERGED)
    assert (plan.changes, plan.stamp) == ((), CONVERGED.nomad.stamp)


def test_bare_host_gets_everything() -> None:
    """Every path of the bundle is created, the certificate issued, the node introduced and started."""
    plan = plan_of(BARE, unfit="there is none", is_known=False)
    created = {("create", file.path) for file in BUNDLE.files} - {("create", host_paths.NODE_KEY)}
    service = {
        ("register", host_paths.UNIT_NAME),
        ("start", host_paths.UNIT_NAME),
    }
    assert actions(plan) == created | service


def test_digests_of_new_files() -> None:
    """Those of files and programs, as they will lie on the host; no key's, and not the stamped configuration's."""
    files = {file.path: file for file in BUNDLE.files}
    found = new_digests(BUNDLE, plan_of(BARE, unfit="there is none"))
    programs = {path: file.digest for path, file in files.items() if file.kind is Kind.PROGRAM}
    assert programs.items() <= found.items()
    assert found[host_paths.DOCKER_CONFIG] == sha256(files[host_paths.DOCKER_CONFIG].content)
    assert {host_paths.CLIENT_CONFIG, host_paths.NODE_KEY, host_paths.NODE_CERT}.isdisjoint(found)
    assert new_digests(BUNDLE, plan_of(CONVERGED)) == {}


def test_new_stamp_names_bundle_and_nonce() -> None:
    """The stamp of an apply is the bundle's digest and the nonce of that apply."""
    assert plan_of(BARE, is_known=False).stamp == f"{BUNDLE.digest[:16]}-{NEW_NONCE}"


@pytest.mark.parametrize(
    "path",
    [
        host_paths.DOCKER_CONFIG,
        host_paths.NVIDIA_CONFIG,
        host_paths.UNIT,
        host_paths.CA_CERT,
        host_paths.nomad_program("2.0.5"),
    ],
)
def test_edited_file_is_the_only_content_that_changes(path: str) -> None:
    """An edited file is replaced, and the agent restarted under a new stamp."""
    assert actions(plan_of(with_file(CONVERGED, path, digest="00" * 32))) == {("update", path), *RESTAMPED}


def test_lost_file_is_created() -> None:
    """A file that is gone comes back."""
    assert actions(plan_of(without_file(CONVERGED, host_paths.DOCKER_CONFIG))) == {
        ("create", host_paths.DOCKER_CONFIG),
        *RESTAMPED,
    }


def test_edited_client_configuration_restarts_once() -> None:
    """The configuration that carries the stamp is updated once, not twice."""
    plan = plan_of(with_file(CONVERGED, host_paths.CLIENT_CONFIG, digest="00" * 32))
    assert sorted(actions(plan)) == sorted(RESTAMPED)
    assert len(plan.changes) == 2


def test_edited_howto_is_mended_without_a_restart() -> None:
    """What the agent does not read changes neither agent nor stamp."""
    plan = plan_of(with_file(CONVERGED, host_paths.HOWTO, digest="00" * 32))
    assert (actions(plan), plan.stamp) == ({("update", host_paths.HOWTO)}, CONVERGED.nomad.stamp)


@pytest.mark.parametrize("path", [host_paths.NODE_KEY, host_paths.NODE_CERT, host_paths.CLIENT_CONFIG])
def test_loose_rights_are_mended_without_a_restart(path: str) -> None:
    """Rights that were loosened are put right, and nothing else happens."""
    plan = plan_of(with_file(CONVERGED, path, mode=0o666))
    assert actions(plan) == {("chmod", path)}


def test_link_to_another_release_is_switched() -> None:
    """The link is part of what is compared: an older release may still be in use."""
    facts = replace(
        CONVERGED, links={**CONVERGED.links, host_paths.NOMAD_LINK: host_paths.nomad_program("1.9.0")}
    )
    assert actions(plan_of(facts)) == {("update", host_paths.NOMAD_LINK), *RESTAMPED}


def test_stray_configuration_is_moved_aside() -> None:
    """The agent merges every file of its directory, so what is not ours cannot stay."""
    stray = f"{host_paths.CONFIG_DIR}/zz-server.hcl"
    nomad = replace(CONVERGED.nomad, config_files=(*CONVERGED.nomad.config_files, stray))
    assert actions(plan_of(replace(CONVERGED, nomad=nomad))) == {("move-aside", stray), *RESTAMPED}


@pytest.mark.parametrize(
    ("nomad", "expected"),
    [
        ({"is_ours": False}, {("move-aside", host_paths.UNIT)}),
        ({"is_ours": True}, set()),
        ({"is_ours": False, "is_interrupted": True}, set()),
    ],
)
def test_what_somebody_else_wrote_in_our_place_is_kept(
    nomad: dict[str, object], expected: set[tuple[str, str]]
) -> None:
    """On a host that was never ours; what an admin edited since is replaced."""
    facts = with_file(CONVERGED, host_paths.UNIT, digest="00" * 32)
    plan = plan_of(replace(facts, nomad=replace(facts.nomad, **nomad)))  # type: ignore[arg-type]
    assert actions(plan) == {("update", host_paths.UNIT), *expected, *RESTAMPED}


def test_certificate_is_renewed_with_its_reason() -> None:
    """What the issuer says against a certificate is the reason of its renewal."""
    plan = plan_of(CONVERGED, unfit="less than a third of its life is left")
    renewals = [change.reason for change in plan.changes if change.action is Action.RENEW]
    assert renewals == ["less than a third of its life is left"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (host_paths.NODE_KEY, "the private key is not the one that was installed"),
        (host_paths.NODE_CERT, "the certificate is not the one that was installed"),
    ],
)
def test_exchanged_pair_is_renewed(path: str, reason: str) -> None:
    """A key or certificate that we did not install is taken not to belong to the other."""
    plan = plan_of(with_file(CONVERGED, path, digest="11" * 32))
    assert [change.reason for change in plan.changes if change.action is Action.RENEW] == [reason]


def test_first_certificate_is_created() -> None:
    """What is not there yet is not renewed."""
    plan = plan_of(without_file(CONVERGED, host_paths.NODE_CERT), unfit="is missing")
    found = [(change.action, change.reason) for change in plan.changes if change.path == host_paths.NODE_CERT]
    assert found == [(Action.CREATE, "is missing")]


def test_lost_key_renews_the_pair() -> None:
    """A certificate without its key is of no use."""
    plan = plan_of(without_file(CONVERGED, host_paths.NODE_KEY))
    reasons = [change.reason for change in plan.changes if change.action is Action.RENEW]
    assert reasons == ["the private key is missing"]


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({"active": "failed"}, "start"),
        ({"active": "inactive"}, "start"),
        ({"is_enabled": False}, "restart"),
        ({"is_interrupted": True}, "restart"),
    ],
)
def test_service_that_is_not_as_it_should_be_is_started(changes: dict[str, object], action: str) -> None:
    """A service that is down, not enabled or half applied is started anew, under a new stamp."""
    nomad = replace(CONVERGED.nomad, **changes)  # type: ignore[arg-type]
    plan = plan_of(replace(CONVERGED, nomad=nomad))
    assert actions(plan) == {("update", host_paths.CLIENT_CONFIG), (action, host_paths.UNIT_NAME)}


def test_node_that_the_region_does_not_know_is_introduced() -> None:
    """A node that was purged, or whose state was wiped, registers again."""
    assert actions(plan_of(CONVERGED, is_known=False)) == {("register", host_paths.UNIT_NAME), *RESTAMPED}


def test_node_that_the_region_does_not_confirm_is_restarted() -> None:
    """Where nothing differs but the region shows something else, only a restart can tell."""
    plan = plan_of(CONVERGED, unconfirmed="the region sees it down")
    assert actions(plan) == RESTAMPED
    assert plan.changes[-1].reason == "the region sees it down"


def test_second_plan_after_the_first_was_carried_out_is_empty() -> None:
    """Converged means that a new survey gives an empty plan, whatever nonce it was asked with."""
    assert plan_of(converged(BUNDLE, nonce=NEW_NONCE)).is_empty


def test_stamp_of_another_bundle_is_replaced() -> None:
    """A host that carries another bundle's stamp has another configuration."""
    other = bundle(replace(HOST, meta={"power": "wind"}))
    plan = plan_of(converged(other, nonce=NONCE))
    assert actions(plan) == RESTAMPED


def test_secret_changes_are_marked() -> None:
    """What concerns a secret file says so, so that no face shows its content."""
    plan = plan_of(with_file(CONVERGED, host_paths.NODE_KEY, mode=0o644))
    assert [change.is_secret for change in plan.changes] == [True]


def test_foreign_owner_is_a_difference() -> None:
    """A configuration that belongs to somebody else is taken back."""
    found: RemoteFile = CONVERGED.files[host_paths.CLIENT_CONFIG]
    facts = with_file(CONVERGED, host_paths.CLIENT_CONFIG, owner="miner:miner")
    assert actions(plan_of(facts)) == {("chmod", found.path)}


def test_a_door_that_is_not_asked_for_any_more_is_closed() -> None:
    """Its signers, its program and its units are moved aside, and the agent restarts without its volumes."""
    door = bundle(facts=VERIFYING, drivers=("docker", "exec"), signers=SIGNERS)
    plan = plan_of(converged(door, VERIFYING))
    aside = {change.path for change in plan.changes if change.action is Action.MOVE_ASIDE}
    assert aside == set(host_paths.MAINTENANCE_FILES)
    assert any(change.action is Action.RESTART for change in plan.changes)


def test_takeover_keeps_contents_and_nothing_else_aside() -> None:
    """Of a host that was never ours what is overwritten is kept; a link or rights alone hold nothing to keep."""
    unit = CONVERGED.files[host_paths.UNIT]
    foreign = replace(
        with_file(CONVERGED, host_paths.DOCKER_CONFIG, digest="00" * 32),
        links={**CONVERGED.links, host_paths.NOMAD_LINK: "/opt/other/nomad"},
        nomad=replace(CONVERGED.nomad, is_ours=False),
    )
    plan = plan_of(with_file(foreign, unit.path, mode=0o600))
    aside = [change.path for change in plan.changes if change.action is Action.MOVE_ASIDE]
    assert (aside, {("update", host_paths.NOMAD_LINK), ("chmod", host_paths.UNIT)} <= actions(plan)) == (
        [host_paths.DOCKER_CONFIG],
        True,
    )


def with_drivers(*drivers: str, is_ours: bool = True) -> Facts:
    machine = replace(CONVERGED.machine, nomad_drivers=drivers or None)
    return replace(CONVERGED, machine=machine, nomad=replace(CONVERGED.nomad, is_ours=is_ours))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (with_drivers("docker"), ()),
        (with_drivers("docker", "exec"), ("exec",)),
        (with_drivers("exec", "raw_exec"), ("exec", "raw_exec")),
        (with_drivers(), ("exec", "java", "qemu")),
        (with_drivers(is_ours=False), ("exec", "java", "qemu")),
        (replace(BARE, nomad=replace(BARE.nomad, is_running=True)), ("exec", "java", "qemu")),
        (BARE, ()),
        (without_file(CONVERGED, host_paths.CLIENT_CONFIG), ()),
    ],
)
def test_drivers_that_a_host_loses(facts: Facts, expected: tuple[str, ...]) -> None:
    """Those that its configuration allows now; one without a list, as ionetctl used to write it, allows all but raw_exec."""
    assert drivers_lost(("docker",), facts) == expected


@pytest.mark.parametrize(
    ("allocations", "expected"),
    [
        (0, "differs; jobs may no longer use exec, java"),
        (
            2,
            "differs; jobs may no longer use exec, java: those that do fail at the restart, and their processes stay behind",
        ),
    ],
)
def test_plan_says_what_the_loss_of_a_driver_does(allocations: int, expected: str) -> None:
    """At the change of the client configuration, and of nothing else."""
    edited = with_file(CONVERGED, host_paths.CLIENT_CONFIG, digest=sha256(b"x"))
    edited = with_file(edited, host_paths.HOWTO, digest=sha256(b"x"))
    facts = replace(edited, nomad=replace(edited.nomad, allocations=allocations))
    context = PlanContext(NEW_NONCE, None, is_known=True, drivers_lost=("exec", "java"))
    reasons = {change.path: change.reason for change in make_plan(BUNDLE, facts, context).changes}
    assert (reasons[host_paths.CLIENT_CONFIG], reasons[host_paths.HOWTO]) == (expected, "differs")


def test_takeover_says_it_too() -> None:
    """At the configuration that is created, and not at the one that is moved aside."""
    foreign = replace(BARE.nomad, is_running=True, active="active", config_files=("/etc/nomad.d/client.hcl",))
    context = PlanContext(NEW_NONCE, None, is_known=False, drivers_lost=("exec",))
    changes = make_plan(BUNDLE, replace(BARE, nomad=foreign), context).changes
    said = [(change.action, change.path) for change in changes if "may no longer use exec" in change.reason]
    assert said == [(Action.CREATE, host_paths.CLIENT_CONFIG)]


OWN = bundle(region=OWN_KEYS)


def own_plan(facts: Facts) -> Plan:
    return make_plan(OWN, facts, PlanContext(NEW_NONCE, None, is_known=True))


def test_host_that_made_its_key_has_an_empty_plan() -> None:
    """The issuer's check holds key and certificate together; the manifest has neither."""
    assert own_plan(converged(OWN)).is_empty


def test_key_that_was_sent_is_replaced_where_hosts_make_theirs() -> None:
    """A controller has had it: the inventory says since that none should."""
    [renewed, *_] = [
        each for each in own_plan(converged(BUNDLE)).changes if each.path == host_paths.NODE_CERT
    ]
    assert (renewed.action, renewed.reason) == (Action.RENEW, "the private key was not made on the host")


def test_key_of_the_host_is_replaced_where_it_is_sent() -> None:
    """The way back: the manifest does not know the pair."""
    plan = plan_of(converged(OWN))
    assert ("renew", host_paths.NODE_CERT) in actions(plan)


def test_lost_key_of_the_host_renews_the_pair() -> None:
    """The certificate alone is of no use."""
    plan = own_plan(without_file(converged(OWN), host_paths.NODE_KEY))
    assert [each.reason for each in plan.changes if each.path == host_paths.NODE_CERT] == [
        "the private key is missing"
    ]


def test_loose_rights_of_the_hosts_key_are_mended() -> None:
    """Without a new one."""
    plan = own_plan(with_file(converged(OWN), host_paths.NODE_KEY, mode=0o644))
    assert actions(plan) == {("chmod", host_paths.NODE_KEY)}
