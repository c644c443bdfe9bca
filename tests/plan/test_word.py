"""A word for the maintenance door: what is signed, and what it must not carry."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
from dataclasses import replace

import pytest

from ionetctl.core import host_paths
from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.names import Digest, RolloutId
from ionetctl.core.model.plan import BundleFile, Kind
from ionetctl.plan.payload import Payload
from ionetctl.plan.word import LIMIT_BYTES, SIGNATURE_BEGINS, Word, signed_word, word_text
from tests.support.sample import NODE_ID, NOMAD

FILE = BundleFile(
    "/etc/nomad.d/nomad.hcl", Kind.FILE, 0o640, restarts=True, content=b"text", digest=Digest("aa" * 32)
)
PAYLOAD = Payload(RolloutId("20260301T120000Z-7f3a"), b"apply", (FILE,), start="restart")
WITH_PROGRAM = replace(PAYLOAD, programs=(replace(FILE, kind=Kind.PROGRAM, program=NOMAD),))
SIGNERS = replace(FILE, path=host_paths.ALLOWED_SIGNERS, digest=Digest("bb" * 32))
WORD = Word(NODE_ID, 17, 1_800_000_000, "0123456789abcdef-one", Digest("cc" * 32), 60, "drained")


def test_a_word_names_its_node_its_time_and_its_payload() -> None:
    """Plain lines, an empty one, and the archive that the apply takes, packed."""
    header, _, body = word_text(WORD, PAYLOAD).decode().partition("\n\n")
    packed = base64.b64decode(body)
    assert header.splitlines() == [
        "ionet-maintenance 1",
        f"node {NODE_ID}",
        "serial 17",
        "expires 1800000000",
        "when drained",
        "from 0123456789abcdef-one",
        f"signers {'cc' * 32}",
        "confirm 60",
        f"payload {hashlib.sha256(packed).hexdigest()}",
    ]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as archive:
        steps = archive.extractfile("steps")
        assert archive.getnames() == ["apply.sh", "steps", "f/1"]
        assert steps is not None
        assert steps.read().startswith(b"rollout\tword-17\n")


def test_a_host_without_configuration_has_no_stamp() -> None:
    """Which is a value as any other for the host to compare."""
    assert b"\nfrom -\n" in word_text(replace(WORD, stamp=None), PAYLOAD)


@pytest.mark.parametrize(
    ("brought", "named"), [("bb", f"{'cc' * 32},{'bb' * 32}"), ("cc", "cc" * 32)], ids=["other", "same"]
)
def test_a_word_names_the_signers_that_it_brings_beside_those_it_was_made_for(
    brought: str, named: str
) -> None:
    """A host that an earlier word has given them is no other than was meant."""
    payload = replace(PAYLOAD, files=(FILE, replace(SIGNERS, digest=Digest(brought * 32))))
    assert f"\nsigners {named}\n" in word_text(WORD, payload).decode()


def test_the_same_word_is_the_same_text() -> None:
    """No time and no chance goes into it."""
    assert word_text(WORD, PAYLOAD) == word_text(WORD, PAYLOAD)


@pytest.mark.parametrize(
    "payload",
    [
        replace(PAYLOAD, needs_token=True),
        replace(PAYLOAD, own_pair=(FILE, FILE)),
        replace(PAYLOAD, files=(replace(FILE, is_secret=True),)),
        WITH_PROGRAM,
    ],
    ids=["introduction", "own-key", "secret", "program"],
)
def test_what_is_secret_or_large_does_not_go_through_a_region(payload: Payload) -> None:
    """Whoever may read the variable would have it."""
    with pytest.raises(ConfigurationError) as caught:
        word_text(WORD, payload)
    assert caught.value.code == "word_needs_dialogue"


def test_programs_are_named_and_fetched_by_the_host() -> None:
    """By digest and size, from the URL that the word names; nothing of them is in it."""
    text = word_text(replace(WORD, source="http://mirror.example/packed"), WITH_PROGRAM).decode()
    header, _, body = text.partition("\n\n")
    assert header.splitlines()[-2:] == [
        f"programs {NOMAD.packed_digest}:{NOMAD.packed_bytes}",
        "source http://mirror.example/packed",
    ]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(base64.b64decode(body)))) as archive:
        assert archive.getnames() == ["apply.sh", "steps", "f/1"]


@pytest.mark.parametrize(
    "source",
    ["http://[2001:db8::1]:8480", "http://mirror.example/a b", "http://mirror.example/?a"],
    ids=["ipv6", "space", "query"],
)
def test_a_url_that_no_host_would_take_is_refused(source: str) -> None:
    """Before it is signed, rather than by each host; a word without programs names none."""
    with pytest.raises(ConfigurationError, match="hosts take no such URL") as caught:
        word_text(replace(WORD, source=source), WITH_PROGRAM)
    assert caught.value.code == "word_needs_dialogue"
    assert b"source" not in word_text(replace(WORD, source=source), PAYLOAD)


def test_the_signature_follows() -> None:
    """One file, so that neither is ever there without the other."""
    assert signed_word(b"text\n", SIGNATURE_BEGINS + b"x") == b"text\n" + SIGNATURE_BEGINS + b"x"


@pytest.mark.parametrize(
    ("text", "signature", "code"),
    [
        (b"text\n", b"what ssh-keygen says\n", "signature_malformed"),
        (b"x" * LIMIT_BYTES, SIGNATURE_BEGINS, "word_too_large"),
    ],
    ids=["no-signature", "too-large"],
)
def test_what_would_be_refused_is_not_sent(text: bytes, signature: bytes, code: str) -> None:
    """A variable of Nomad's holds 64 KiB."""
    with pytest.raises(ConfigurationError) as caught:
        signed_word(text, signature)
    assert caught.value.code == code
