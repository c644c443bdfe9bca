"""From a plan to the payload that carries it out: nothing that is not needed, nothing left out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core import host_paths
from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.facts import Facts, RemoteFile
from ionetctl.core.model.names import Digest, RolloutId
from ionetctl.core.model.node import NodeCertificate
from ionetctl.core.model.plan import Action, Change, Plan
from ionetctl.plan.bundle import sha256, with_stamp
from ionetctl.plan.plan import Circumstances, make_plan
from ionetctl.plan.shipment import pack
from tests.support.sample import BARE, HOST, bundle, converged, drifted

if TYPE_CHECKING:
    from ionetctl.plan.payload import Payload

BUNDLE = bundle()
CONVERGED = converged(BUNDLE)
NEW_NONCE = "ffffffffffff"
PEM = {host_paths.NODE_CERT: b"new chain", host_paths.NODE_KEY: b"new key"}


def plan_of(facts: Facts, unfit: str | None = None, *, is_known: bool = True) -> Plan:
    return make_plan(BUNDLE, facts, Circumstances(NEW_NONCE, unfit, is_known=is_known))


def ship(plan: Plan, facts: Facts, *, needs_token: bool = False) -> Payload:
    return pack(
        BUNDLE,
        plan,
        facts,
        lambda: NodeCertificate(PEM[host_paths.NODE_CERT], PEM[host_paths.NODE_KEY]),
        rollout=RolloutId("r-1"),
        apply_script=b"#",
        needs_token=needs_token,
    )


def sent(payload: Payload) -> dict[str, bytes]:
    return {file.path: file.content for file in payload.files}


def manifest(payload: Payload) -> dict[str, str]:
    """Path → digest, as sha256sum would read it."""
    lines = sent(payload)[host_paths.MANIFEST].decode().splitlines()
    return {path: digest for digest, _, path in (line.partition("  ") for line in lines)}


def chmod(path: str) -> Plan:
    return Plan(HOST.name, str(CONVERGED.nomad.stamp), (Change(Action.CHMOD, path, "is 0666"),))


def test_bare_host_is_sent_everything() -> None:
    """Every file, program and link of the bundle, and our manifest of it."""
    payload = ship(plan_of(BARE, "there is none", is_known=False), BARE, needs_token=True)
    paths = {*sent(payload), *(file.path for file in (*payload.programs, *payload.links))}
    assert paths == {file.path for file in BUNDLE.files} | {host_paths.MANIFEST}
    assert (payload.start, payload.keeps, payload.chmods, payload.needs_token) == ("start", (), (), True)


def test_stamp_is_filled_in() -> None:
    """The configuration that is sent proves this apply, and its digest is that of what is sent."""
    plan = plan_of(BARE, "there is none", is_known=False)
    [config] = [file for file in ship(plan, BARE).files if file.path == host_paths.CLIENT_CONFIG]
    template = next(file.content for file in BUNDLE.files if file.path == host_paths.CLIENT_CONFIG)
    assert config.content == with_stamp(template, plan.stamp)
    assert (config.digest, plan.stamp.encode() in config.content) == (sha256(config.content), True)


def test_certificate_and_key_go_together() -> None:
    """Both are issued at once, and the manifest knows both by digest."""
    payload = ship(plan_of(CONVERGED, "it is old"), CONVERGED)
    assert {path: sent(payload)[path] for path in PEM} == PEM
    assert {path: manifest(payload)[path] for path in PEM} == {p: sha256(c) for p, c in PEM.items()}


def test_drifted_file_is_sent_alone() -> None:
    """The file that differs and the configuration with its new stamp; the rest is kept for the judgement."""
    facts = drifted(BUNDLE)
    payload = ship(plan_of(facts), facts)
    assert set(sent(payload)) == {host_paths.DOCKER_CONFIG, host_paths.CLIENT_CONFIG, host_paths.MANIFEST}
    assert (payload.programs, payload.links, payload.start) == ((), (), "restart")
    assert set(payload.keeps) == {
        host_paths.NVIDIA_CONFIG,
        host_paths.UNIT,
        host_paths.HOWTO,
        host_paths.CA_CERT,
        host_paths.NODE_CERT,
        host_paths.NODE_KEY,
    }


def test_no_certificate_is_issued_where_none_is_renewed() -> None:
    """An issuer is asked only where the plan says so; what was installed keeps its recorded digest."""

    def issue() -> NodeCertificate:
        raise ConfigurationError("ca_expired", "it ended")

    facts = drifted(BUNDLE)
    payload = pack(
        BUNDLE,
        plan_of(facts),
        facts,
        issue,
        rollout=RolloutId("r-1"),
        apply_script=b"#",
        needs_token=False,
    )
    assert manifest(payload)[host_paths.NODE_KEY] == facts.manifest[host_paths.NODE_KEY]


def test_issuers_refusal_comes_out() -> None:
    """A certificate that cannot be issued is no payload."""

    def issue() -> NodeCertificate:
        raise ConfigurationError("ca_expired", "it ended")

    with pytest.raises(ConfigurationError, match="it ended"):
        pack(
            BUNDLE,
            plan_of(CONVERGED, "old"),
            CONVERGED,
            issue,
            rollout=RolloutId("r-1"),
            apply_script=b"#",
            needs_token=False,
        )


def test_rights_are_mended_without_sending() -> None:
    """A file whose content is right gets its rights, and nothing starts anew."""
    payload = ship(chmod(host_paths.CLIENT_CONFIG), CONVERGED)
    assert [file.path for file in payload.chmods] == [host_paths.CLIENT_CONFIG]
    assert (set(sent(payload)), payload.start) == ({host_paths.MANIFEST}, "no")


def test_file_that_is_sent_needs_no_chmod() -> None:
    """What is sent has its rights already: a key goes with its certificate."""
    key = CONVERGED.files[host_paths.NODE_KEY]
    facts = replace(CONVERGED, files={**CONVERGED.files, host_paths.NODE_KEY: replace(key, mode=0o666)})
    payload = ship(plan_of(facts, "it is old"), facts)
    assert (payload.chmods, host_paths.NODE_KEY in sent(payload)) == ((), True)


def test_strays_are_moved_aside_in_order() -> None:
    """What is not ours and would be read goes out of the way."""
    strays = (f"{host_paths.CONFIG_DIR}/zz.hcl", f"{host_paths.CONFIG_DIR}/aa.json")
    nomad = replace(CONVERGED.nomad, config_files=(*CONVERGED.nomad.config_files, *strays))
    facts = replace(CONVERGED, nomad=nomad)
    assert ship(plan_of(facts), facts).asides == tuple(sorted(strays))


def test_manifest_is_installed_with_the_plan() -> None:
    """After the apply the manifest says of every file what the survey will find; links have no digest."""
    payload = ship(plan_of(BARE, "there is none", is_known=False), BARE)
    installed = {file.path: file.digest for file in (*payload.files, *payload.programs)}
    del installed[host_paths.MANIFEST]
    assert manifest(payload) == installed


def test_bundle_is_judged_by_its_own_nomad() -> None:
    """The release that will run judges the configuration, even where another one is linked."""
    plan = plan_of(CONVERGED, "it is old")
    assert ship(plan, CONVERGED).validate_with == host_paths.nomad_program("2.0.5")


def test_second_survey_after_the_shipment_finds_nothing_to_do() -> None:
    """What is sent is what the next plan looks for."""
    plan = plan_of(BARE, "there is none", is_known=False)
    payload = ship(plan, BARE)
    files = {
        file.path: RemoteFile(file.path, Digest(file.digest), file.mode, file.owner)
        for file in (*payload.files, *payload.programs)
    }
    facts = replace(
        converged(BUNDLE, nonce=NEW_NONCE),
        files=files,
        links={link.path: link.target for link in payload.links},
        manifest={path: Digest(digest) for path, digest in manifest(payload).items()},
    )
    assert plan_of(facts).changes == ()
