"""A private key that the host makes itself: what leaves the host, what comes back, and what is kept when it goes wrong."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from ionetctl.core import host_paths
from ionetctl.core.model.node import NodeCertificate
from ionetctl.core.model.plan import BundleFile, Kind
from ionetctl.credentials.certificate_checks import IssuedByRegion
from ionetctl.credentials.certificates import parse_chain, parse_key
from ionetctl.facts.report_lines import STEPS, AwaitCertificate
from tests.remote.rehearsal import first_payload, manifest, shim
from tests.support import pki
from tests.support.programs import needs

if TYPE_CHECKING:
    from pathlib import Path

    from ionetctl.plan.payload import Payload
    from tests.remote.rehearsal import Dialogue, Host

CA = pki.root()
ROLE = "client.eu-north.nomad"
PAIR = (
    BundleFile(host_paths.NODE_KEY, Kind.OWN_KEY, 0o600, restarts=True, is_secret=True),
    BundleFile(host_paths.NODE_CERT, Kind.CERTIFICATE, 0o644, restarts=True),
)
NEITHER = frozenset({host_paths.NODE_KEY, host_paths.NODE_CERT, host_paths.MANIFEST})


def owned(payload: Payload) -> Payload:
    """The payload with a pair that the host makes instead of the one in it."""
    files = [each for each in payload.files if each.path not in NEITHER]
    pair = tuple(replace(each, owner=files[0].owner) for each in PAIR)
    return replace(payload, files=(*files, manifest(*files, *payload.programs)), own_pair=pair)


@pytest.fixture
def payload(tmp_path: Path) -> Payload:
    needs("openssl")
    return owned(first_payload(tmp_path))


@pytest.fixture
def host(host: Host) -> Host:
    """One that has openssl: busybox has none of its own."""
    (host.shims / "openssl").symlink_to(needs("openssl"))
    return host


def certified(request: bytes, *above: pki.Pair) -> str:
    """The answer with a certificate for a request, and those of CAs above it."""
    asked = x509.load_der_x509_csr(request)
    leaf = pki.signed(pki.builder(ROLE, (*above, CA)[0], asked), (*above, CA)[0])  # type: ignore[arg-type]
    return "certificate " + "".join(each.pem for each in (leaf, *above)).strip().replace("\n", ",")


def requests(dialogue: Dialogue) -> list[bytes]:
    return [each.request for each in dialogue.reports if isinstance(each, AwaitCertificate)]


def refused(dialogue: Dialogue) -> tuple[str, str]:
    assert dialogue.failure is not None
    return dialogue.failure.code, dialogue.failure.message


def survey(host: Host) -> tuple[str | None, str | None]:
    """What is wrong with the pair by a survey, in a region whose hosts make their keys, and in one whose hosts do not."""
    facts = host.survey(host_paths.NODE_CERT, host_paths.NODE_KEY)
    check = IssuedByRegion(ROLE, CA.pem.encode(), key_on_host=True)
    now = CA.certificate.not_valid_before_utc
    return check.explain_unfit(facts.node_certificate, now, facts.node_public_key), facts.node_public_key


def test_key_is_made_on_the_host_and_certified(host: Host, payload: Payload) -> None:
    """The pair is installed with its rights, and nothing is left in the staging; the key goes nowhere else."""
    dialogue = host.apply(payload, certify=certified)
    assert (dialogue.failure, dialogue.exit_status) == (None, 0)
    chain = parse_chain(host.read(host_paths.NODE_CERT).encode())
    key_pem = host.read(host_paths.NODE_KEY)
    assert parse_key(key_pem, "the host's key").public_key() == chain[0].public_key()
    assert [host.path(each.path).stat().st_mode & 0o777 for each in PAIR] == [0o600, 0o644]
    assert not host.path("/var/lib/ionet/staging").exists()
    assert "PRIVATE" in key_pem


def test_private_key_is_in_nothing_that_the_host_says(host: Host, payload: Payload) -> None:
    """The request is there, which is the control; no line of the key is."""
    dialogue = host.apply(payload, certify=certified)
    said = f"{dialogue.reports}{dialogue.stderr}"
    lines = host.read(host_paths.NODE_KEY).splitlines()[1:-1]
    assert [line for line in lines if line in said] == []
    assert str(requests(dialogue)[0]) in said


def test_certificate_is_asked_for_before_anything_else(host: Host, payload: Payload) -> None:
    """Nothing is staged yet, and the token, which is short-lived, comes later: all parts in their order."""
    assert host.apply(payload, certify=certified).steps == STEPS


def test_chain_arrives_whole(host: Host, payload: Payload) -> None:
    """The intermediates follow the certificate, as the servers need them."""
    intermediate = CA.sign("site CA", is_authority=True)
    host.apply(payload, certify=lambda request: certified(request, intermediate))
    assert parse_chain(host.read(host_paths.NODE_CERT).encode())[1] == intermediate.certificate


def test_survey_holds_the_key_against_the_certificate(host: Host, payload: Payload) -> None:
    """A pair that was installed together is unchanged, also for the next survey."""
    host.apply(payload, certify=certified)
    reason, public_key = survey(host)
    assert (reason, public_key is None) == (None, False)


def test_survey_finds_another_key(host: Host, payload: Payload) -> None:
    """Somebody has put another key there."""
    host.apply(payload, certify=certified)
    host.write(host_paths.NODE_KEY, pki.root().key_pem, 0o600)
    assert survey(host)[0] == "is not of a private key that the host has made"


@pytest.mark.parametrize("content", ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_survey_finds_a_key_that_is_none(host: Host, payload: Payload, content: str) -> None:
    """The survey goes on without it."""
    host.apply(payload, certify=certified)
    host.write(host_paths.NODE_KEY, content, 0o600)
    assert survey(host) == ("is not of a private key that the host has made", None)


def test_key_that_was_sent_is_not_looked_at(host: Host, tmp_path: Path) -> None:
    """The manifest has it: whether it is unchanged is told by its digest, and no program is run for it."""
    host.apply(first_payload(tmp_path))
    shim(host, "openssl", f"echo called >>{host.path('/called')}")
    assert (survey(host)[1], host.path("/called").exists()) == (None, False)


def test_renewal_makes_a_new_key(host: Host, payload: Payload) -> None:
    """The same way, and the old key is gone."""
    host.apply(payload, certify=certified)
    before = host.read(host_paths.NODE_KEY)
    dialogue = host.apply(replace(payload, start="restart", needs_token=False), certify=certified)
    assert (dialogue.failure, host.read(host_paths.NODE_KEY) == before) == (None, False)
    assert survey(host)[0] is None


def test_start_that_fails_puts_the_old_pair_back(host: Host, payload: Payload) -> None:
    """The agent goes on with what it had."""
    host.apply(payload, certify=certified)
    before = [host.read(each.path) for each in PAIR]
    host.write("/standin/behaviour", "fail\n")
    dialogue = host.apply(replace(payload, start="restart", needs_token=False), certify=certified)
    assert refused(dialogue)[0] == "start_failed"
    assert [host.read(each.path) for each in PAIR] == before


def test_certificate_of_another_key_is_refused(host: Host, payload: Payload) -> None:
    """Nothing was changed."""
    before = host.tree(besides=("var", "var/lib", "var/lib/ionet"))
    wrong = CA.sign(ROLE).pem.strip().replace("\n", ",")
    dialogue = host.apply(payload, certify=lambda _: f"certificate {wrong}")
    assert refused(dialogue) == (
        "certificate_mismatch",
        "the certificate is not of the key that was made here",
    )
    assert host.tree(besides=("var", "var/lib", "var/lib/ionet")) == before


@pytest.mark.parametrize("answer", ["certificate AAAA;id", "certificate $(id)", "certificate AAAA"])
def test_answer_that_is_no_certificate_is_refused(host: Host, payload: Payload, answer: str) -> None:
    """Neither is anything of it run."""
    assert refused(host.apply(payload, certify=lambda _: answer))[0] == "certificate_mismatch"


@pytest.mark.parametrize("answer", [None, "abandon", "certificate", "token -"])
def test_controller_that_gives_up_leaves_the_host_as_it_was(
    host: Host, payload: Payload, answer: str | None
) -> None:
    """The end of the input is the same as a refusal."""
    dialogue = host.apply(payload, certify=lambda _: answer)
    assert refused(dialogue) == ("abandoned", "the controller gave up, or is gone; nothing was changed")
    assert not host.path(host_paths.CONFIG_DIR).exists()


def test_survey_tells_of_openssl(host: Host) -> None:
    """Busybox alone has none."""
    assert host.survey().has_openssl
    (host.shims / "openssl").unlink()
    assert host.survey().has_openssl == (host.shell != "busybox" and shutil.which("openssl") is not None)


def test_openssl_that_fails_is_quoted(host: Host, payload: Payload) -> None:
    """What it says is the message."""
    shim(host, "openssl", "echo 'no curves here' >&2; exit 1")
    assert refused(host.apply(payload, certify=certified)) == ("apply_failed", "no curves here")


def test_certificate_of_a_node_has_no_key_unless_it_is_given() -> None:
    """Where the host has the key, the controller has none."""
    assert NodeCertificate(b"chain").key_pem == b""
