"""What one apply sends: nothing that is not needed and nothing left out, in an archive that every tar reads."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionetctl.core import host_paths
from ionetctl.core.errors import ConfigurationError, TrustError
from ionetctl.core.model.facts import Facts, RemoteFile
from ionetctl.core.model.names import Digest, RolloutId
from ionetctl.core.model.node import NodeCertificate
from ionetctl.core.model.plan import Action, BundleFile, Change, Form, Kind, Plan, Program
from ionetctl.plan.bundle import sha256, with_stamp
from ionetctl.plan.difference import PlanContext, make_plan
from ionetctl.plan.payload import Payload, build_payload, renews_certificate, steps_member
from ionetctl.plan.ustar import BLOCK_BYTES, RECORD_BYTES
from tests.support.programs import needs
from tests.support.sample import BARE, HOST, OWN_KEYS, bundle, converged, drifted

# --- from plan to payload ---------------------------------------------------------------------------------------------

BUNDLE = bundle()
CONVERGED = converged(BUNDLE)
NEW_NONCE = "ffffffffffff"
PEM = {host_paths.NODE_CERT: b"new chain", host_paths.NODE_KEY: b"new key"}


def plan_of(facts: Facts, unfit: str | None = None, *, is_known: bool = True) -> Plan:
    return make_plan(BUNDLE, facts, PlanContext(NEW_NONCE, unfit, is_known=is_known))


def ship(plan: Plan, facts: Facts, *, needs_token: bool = False) -> Payload:
    return build_payload(
        BUNDLE,
        plan,
        facts,
        NodeCertificate(PEM[host_paths.NODE_CERT], PEM[host_paths.NODE_KEY])
        if renews_certificate(plan)
        else None,
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
    """Every file, program and link of the bundle, and our manifest of it; nothing there is worth keeping."""
    payload = ship(plan_of(BARE, "there is none", is_known=False), BARE)
    paths = {*sent(payload), *(file.path for file in (*payload.programs, *payload.links))}
    assert paths == {file.path for file in BUNDLE.files} | {host_paths.MANIFEST}
    assert (payload.keeps, payload.chmods) == ((), ())


def test_fence_is_that_of_the_survey() -> None:
    """The host can tell whether the plan is of the host as it is now."""
    assert ship(plan_of(CONVERGED), replace(CONVERGED, fence=7)).fence == 7


def test_bare_host_starts_its_agent_with_a_token() -> None:
    """The agent is started, not restarted, and waits for its introduction."""
    payload = ship(plan_of(BARE, "there is none", is_known=False), BARE, needs_token=True)
    assert (payload.start, payload.needs_token) == ("start", True)


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


def own(facts: Facts, unfit: str | None = None) -> Payload:
    """What is sent in a region where hosts make their keys themselves."""
    plan = make_plan(OWN, facts, PlanContext(NEW_NONCE, unfit, is_known=True))
    return build_payload(
        OWN, plan, facts, None, rollout=RolloutId("r-1"), apply_script=b"#", needs_token=False
    )


OWN = bundle(region=OWN_KEYS)


def test_key_that_the_host_makes_is_not_sent() -> None:
    """Neither is its certificate: both stand in a record of their own, with their rights, and in no manifest."""
    payload = own(converged(OWN), "it is old")
    assert (PEM.keys() & sent(payload).keys(), PEM.keys() & manifest(payload).keys()) == (set(), set())
    record = "own_pair\t0600\troot:root\t/etc/nomad.d/tls/client-key.pem\t0644\troot:root\t/etc/nomad.d/tls/client.pem"
    assert record in steps_member(payload).decode().splitlines()


def test_key_of_the_host_that_stays_is_kept() -> None:
    """Both are there for the validation of what changes, nothing is asked for, and they stay out of the manifest."""
    payload = own(drifted(OWN))
    assert (payload.own_pair, PEM.keys() - set(payload.keeps)) == ((), set())
    assert PEM.keys() & manifest(payload).keys() == set()


def test_drifted_file_is_sent_alone() -> None:
    """The file that differs, the configuration with its new stamp and the manifest; no program and no link."""
    facts = drifted(BUNDLE)
    payload = ship(plan_of(facts), facts)
    assert set(sent(payload)) == {host_paths.DOCKER_CONFIG, host_paths.CLIENT_CONFIG, host_paths.MANIFEST}
    assert (payload.programs, payload.links) == ((), ())


def test_drifted_file_restarts_the_agent() -> None:
    """What the agent reads takes effect with a restart."""
    facts = drifted(BUNDLE)
    assert ship(plan_of(facts), facts).start == "restart"


def test_what_has_not_drifted_is_kept() -> None:
    """The files that are not sent are named, so that the host can validate the whole."""
    facts = drifted(BUNDLE)
    assert set(ship(plan_of(facts), facts).keeps) == {
        host_paths.NVIDIA_CONFIG,
        host_paths.START_SCRIPT,
        host_paths.UNIT,
        host_paths.HOWTO,
        host_paths.CA_CERT,
        host_paths.NODE_CERT,
        host_paths.NODE_KEY,
    }


def test_no_certificate_is_needed_where_none_is_renewed() -> None:
    """An issuer is asked only where the plan says so; what was installed keeps its recorded digest."""
    facts = drifted(BUNDLE)
    plan = plan_of(facts)
    assert (renews_certificate(plan), renews_certificate(plan_of(CONVERGED, "old"))) == (False, True)
    assert manifest(ship(plan, facts))[host_paths.NODE_KEY] == facts.manifest[host_paths.NODE_KEY]


def test_rights_are_mended_without_sending() -> None:
    """A file whose content is right gets its rights alone."""
    payload = ship(chmod(host_paths.CLIENT_CONFIG), CONVERGED)
    assert [file.path for file in payload.chmods] == [host_paths.CLIENT_CONFIG]
    assert set(sent(payload)) == {host_paths.MANIFEST}


def test_rights_are_mended_without_a_restart() -> None:
    """The agent goes on."""
    assert ship(chmod(host_paths.CLIENT_CONFIG), CONVERGED).start == "no"


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


def test_second_survey_after_the_apply_finds_nothing_to_do() -> None:
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


# --- the archive ------------------------------------------------------------------------------------------------------

SECRET = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n"
SCRIPT = b"echo applied\n"
DIGEST = Digest("d" * 64)
PACKED = Digest("e" * 64)
SIZE = 200_113
"""Of the compressed program: three blocks and a bit."""


def text(path: str, content: bytes, mode: int = 0o644) -> BundleFile:
    digest = Digest(hashlib.sha256(content).hexdigest())
    return BundleFile(path, Kind.FILE, mode, restarts=True, content=content, digest=digest)


def packed(directory: Path) -> BundleFile:
    """A program whose packed form spans several blocks."""
    path = directory / "nomad.xz"
    path.write_bytes(hashlib.shake_256(b"program").digest(SIZE))
    program = Program("nomad", "2.0.5", "amd64", DIGEST, 700_000, str(path), SIZE, PACKED, Form.XZ)
    return BundleFile("/opt/nomad", Kind.PROGRAM, 0o755, restarts=True, digest=DIGEST, program=program)


@pytest.fixture
def payload(tmp_path: Path) -> Payload:
    return Payload(
        rollout=RolloutId("r-1"),
        apply_script=SCRIPT,
        files=(text("/etc/nomad.d/nomad.hcl", b"client {}\n"), text("/etc/key.pem", SECRET, 0o600)),
        programs=(packed(tmp_path),),
        links=(BundleFile("/usr/bin/x", Kind.LINK, 0o777, restarts=True, target="/opt/nomad"),),
        chmods=(text("/etc/ca.pem", b"ca"),),
        asides=("/etc/nomad.d/zz foreign.hcl",),
        keeps=("/etc/kept.pem",),
        needs_token=True,
        start="restart",
        validate_with="/opt/nomad",
    )


def archive(payload: Payload) -> bytes:
    return b"".join(bytes(block) for block in payload.blocks({}))


def contents(payload: Payload) -> dict[str, bytes]:
    """What must come out again, by name."""
    files = {f"f/{number}": file.content for number, file in enumerate(payload.files, 1)}
    programs = [file.program for file in payload.programs if file.program is not None]
    packed = {f"p/{program.packed_digest}.0": Path(program.packed_path).read_bytes() for program in programs}
    return {"apply.sh": payload.apply_script, "steps": steps_member(payload), **files, **packed}


def members(payload: Payload, present: dict[Digest, int]) -> dict[str, bytes]:
    """What Python's tar reads in the archive, which must be as long as was said, in whole records."""
    data = b"".join(bytes(block) for block in payload.blocks(present))
    assert (len(data), len(data) % RECORD_BYTES) == (payload.size_bytes(present), 0)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {member.name: tar.extractfile(member) for member in tar}
        return {name: file.read() for name, file in found.items() if file}


def test_the_steps_are_the_protocols(payload: Payload) -> None:
    """Every change is one record; a file has the number of its member, a program the digest of its compressed file."""
    hcl, key = payload.files
    program = payload.programs[0].program
    assert program is not None
    expected = [
        "rollout\tr-1",
        "token\tyes",
        "start\trestart",
        "validate\t/opt/nomad",
        f"file\t1\t{hcl.digest}\t0644\troot:root\t/etc/nomad.d/nomad.hcl",
        f"file\t2\t{key.digest}\t0600\troot:root\t/etc/key.pem",
        f"program\t{PACKED}\t{DIGEST}\t700000\t0755\troot:root\t/opt/nomad\t2.0.5\txz",
        "link\t/opt/nomad\t/usr/bin/x",
        "chmod\t0644\troot:root\t/etc/ca.pem",
        "aside\t/etc/nomad.d/zz foreign.hcl",
        "keep\t/etc/kept.pem",
    ]
    assert steps_member(payload).decode().splitlines() == expected


def test_a_small_payload_asks_for_nothing() -> None:
    """Without changes there are three records."""
    assert steps_member(Payload(RolloutId("r-1"), SCRIPT)) == b"rollout\tr-1\ntoken\tno\nstart\tno\n"


def test_the_size_is_known_beforehand(payload: Payload) -> None:
    """The archive is as long as was said, in whole records."""
    assert len(archive(payload)) == payload.size_bytes({})
    assert payload.size_bytes({}) % RECORD_BYTES == 0


@given(st.lists(st.binary(max_size=3000), max_size=6))
def test_the_size_holds_for_any_content(bodies: list[bytes]) -> None:
    """Whatever the sizes, the archive is as long as was said, and Python reads it back."""
    files = tuple(text(f"/f/{number}", body) for number, body in enumerate(bodies))
    payload = Payload(RolloutId("r-1"), SCRIPT, files)
    assert members(payload, {}) == contents(payload)


@pytest.mark.parametrize(
    ("lies_there", "start"),
    [
        pytest.param(0, 0, id="nothing"),
        pytest.param(1, 1, id="a-byte"),
        pytest.param(100_000, 100_000, id="half"),
        pytest.param(SIZE - 1, SIZE - 1, id="all-but-one"),
        pytest.param(SIZE, None, id="all"),
        pytest.param(SIZE + 1, 0, id="too-much"),
    ],
)
def test_only_the_rest_of_a_program_is_sent(payload: Payload, lies_there: int, start: int | None) -> None:
    """The member's name says from which byte on it is; too much there cannot be a beginning of it."""
    expected = contents(payload)
    whole = expected.pop(f"p/{PACKED}.0")
    if start is not None:
        expected[f"p/{PACKED}.{start}"] = whole[start:]
    assert members(payload, {PACKED: lies_there}) == expected


def test_the_host_is_asked_for_programs(payload: Payload) -> None:
    """Programs are what it may have a part of, by the digest of what is sent."""
    assert (payload.packed_digests, replace(payload, programs=()).packed_digests) == ((PACKED,), ())


def test_blocks_are_few(payload: Payload) -> None:
    """No block is larger than a session sends at once, a program comes without a copy, and what is between is joined."""
    blocks = list(payload.blocks({}))
    kinds = [(type(block), len(block) == BLOCK_BYTES) for block in blocks]
    assert kinds == [(bytes, False), *[(memoryview, True)] * (SIZE // BLOCK_BYTES), (bytes, False)]


def test_many_small_files_fill_their_blocks() -> None:
    """Joined content is cut into blocks that a session may send."""
    files = tuple(text(f"/f/{number}", b"x" * 30_000) for number in range(8))
    payload = Payload(RolloutId("r-1"), SCRIPT, files)
    sizes = [len(block) for block in payload.blocks({})]
    assert (max(sizes) <= BLOCK_BYTES, len(sizes), sum(sizes)) == (True, 5, payload.size_bytes({}))


def test_programs_are_shared(payload: Payload) -> None:
    """Two payloads read a program from the same map."""
    first, second = (
        next(block for block in each.blocks({}) if len(block) == BLOCK_BYTES) for each in (payload, payload)
    )
    assert isinstance(first, memoryview)
    assert isinstance(second, memoryview)
    assert first.obj is second.obj


@pytest.mark.parametrize("command", [("tar",), ("busybox", "tar")], ids=" ".join)
def test_every_tar_reads_it(payload: Payload, tmp_path: Path, command: tuple[str, ...]) -> None:
    """GNU's and busybox's tar unpack what was packed, private to its owner, and leave nothing in the pipe."""
    needs(command[0])
    target = tmp_path / "out"
    target.mkdir()
    run = subprocess.run(
        (*command, "-xf", "-"), input=archive(payload), cwd=target, capture_output=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, b"")
    found = {str(path.relative_to(target)): path for path in target.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == contents(payload)
    assert {path.stat().st_mode & 0o077 for path in found.values()} == {0}


def test_secrets_are_not_shown(payload: Payload) -> None:
    """A payload's representation holds no file's content; the archive does."""
    assert SECRET in archive(payload)
    assert "PRIVATE KEY" not in repr(payload)
    assert "r-1" in repr(payload)


@pytest.mark.parametrize("value", ["", "a\tb", "a\nb", "a\0b", "x" * 5000], ids=repr)
def test_a_value_that_breaks_its_record_is_refused(payload: Payload, value: str) -> None:
    """What cannot be said in a record is a mistake of ours, found before anything is sent."""
    with pytest.raises(ValueError, match="aside record"):
        steps_member(replace(payload, asides=(value,)))


def test_a_program_must_have_its_release(payload: Payload) -> None:
    """A file without a release is no program."""
    with pytest.raises(ValueError, match="is no program"):
        steps_member(replace(payload, programs=payload.files[:1]))


def test_a_missing_program_is_named(payload: Payload) -> None:
    """A program that is gone from the cache ends the payload with its path."""
    gone = replace(payload.programs[0].program, packed_path="/nowhere/nomad.gz")  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match=r"/nowhere/nomad\.gz") as caught:
        archive(replace(payload, programs=(replace(payload.programs[0], program=gone),)))
    assert caught.value.code == "artifact_missing"


def test_a_shrunken_program_is_refused(payload: Payload) -> None:
    """A program that is no longer as long as it was does not go to any host."""
    other = replace(payload.programs[0].program, packed_bytes=7)  # type: ignore[type-var]
    with pytest.raises(TrustError) as caught:
        archive(replace(payload, programs=(replace(payload.programs[0], program=other),)))
    assert caught.value.code == "artifact_digest_mismatch"
