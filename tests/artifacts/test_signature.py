"""Whose signature over checksums counts, and what becomes of one that does not.

Most keys are made here. Those in ``keys/`` were made by GnuPG: a key before and after its owner extended it, where the later state
no longer says that the key was good when ``sums.sig`` was made, as the vendor's does since 2026. The sums of the vendor's releases
there, and their signatures, are as the vendor published them.
"""

# ruff: noqa: ASYNC240  the tests' own small files on a local disk keep no loop waiting

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pysequoia
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ionetctl.artifacts import ArtifactStore, Publisher
from ionetctl.artifacts.signature import is_signature_packet, with_exact_length
from ionetctl.core.errors import IonetctlError
from tests.artifacts.test_artifacts import AMD64, Site, archive, pins

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEYS = Path(__file__).parent / "keys"
SUMS = b"0" * 64 + b"  nomad_2.0.5_linux_amd64.zip\n"
NOW = datetime.now(UTC) + timedelta(seconds=5)
INVALID = ("artifact_signature_invalid", 6)


def signed_by(key: pysequoia.Tsk, content: bytes) -> bytes:
    mode = pysequoia.SignatureMode.DETACHED
    return pysequoia.sign(key.signer(), content, mode=mode, armor=False)


def publisher(path: Path, *keys: object, fingerprint: str = "") -> Publisher:
    """Whoever has the first key; the file holds all of them."""
    path.write_bytes(b"".join(bytes(key) for key in keys))  # type: ignore[call-overload]
    return Publisher(fingerprint or str(getattr(keys[0], "fingerprint", "")), path)


@pytest.fixture(scope="module")
def key() -> pysequoia.Tsk:
    return pysequoia.Tsk.generate("Releases <r@example.org>", validity_seconds=7 * 24 * 3600)


@pytest.fixture
def trusted(tmp_path: Path, key: pysequoia.Tsk) -> Publisher:
    return publisher(tmp_path / "key.pgp", key.extract_certificate())


def error_of(act: Callable[[], object]) -> IonetctlError:
    with pytest.raises(IonetctlError) as caught:
        act()
    return caught.value


def code_of(act: Callable[[], object]) -> tuple[str, int]:
    error = error_of(act)
    return error.code, int(error.exit_code)


def test_signed_sums(trusted: Publisher, key: pysequoia.Tsk) -> None:
    """A signature by the pinned key over these very bytes counts."""
    trusted.check(SUMS, signed_by(key, SUMS), "SHA256SUMS.sig", NOW)


def test_tampered_sums(trusted: Publisher, key: pysequoia.Tsk) -> None:
    """One byte that differs is refused, and the message has no trace of a program's stack in it."""
    signature = signed_by(key, SUMS)
    error = error_of(lambda: trusted.check(SUMS.replace(b"0", b"1", 1), signature, "SUMS.sig", NOW))
    assert (error.code, "backtrace" in error.message, "SUMS.sig" in error.message) == (
        INVALID[0],
        False,
        True,
    )


def test_foreign_key(tmp_path: Path, trusted: Publisher) -> None:
    """A good signature by another key is none, even where the file holds that key too."""
    foreign = pysequoia.Tsk.generate("Releases <r@example.org>")
    signature = signed_by(foreign, SUMS)
    publisher(tmp_path / "foreign.pgp", foreign.extract_certificate()).check(SUMS, signature, "x", NOW)
    assert code_of(lambda: trusted.check(SUMS, signature, "x", NOW)) == INVALID
    ours = pysequoia.Cert.split_file(str(trusted.key_path))
    both = publisher(tmp_path / "both.pgp", foreign.extract_certificate(), *ours)
    pinned = Publisher(trusted.fingerprint, both.key_path)
    assert code_of(lambda: pinned.check(SUMS, signature, "x", NOW)) == INVALID


def test_expired_key(trusted: Publisher, key: pysequoia.Tsk) -> None:
    """What it signed while it was good does not count either; the hint says what to do."""
    later = NOW + timedelta(days=8)
    error = error_of(lambda: trusted.check(SUMS, signed_by(key, SUMS), "x", later))
    assert (error.code, int(error.exit_code), "nomad.signing_key" in error.hint) == (
        "signing_key_expired",
        6,
        True,
    )


def test_extended_key(tmp_path: Path, key: pysequoia.Tsk) -> None:
    """The same key with a later expiry is taken by the same fingerprint."""
    later = NOW + timedelta(days=8)
    extended = key.extract_certificate().set_expiration(NOW + timedelta(days=400), key.certifier())
    publisher(tmp_path / "key.pgp", extended).check(SUMS, signed_by(key, SUMS), "x", later)


@pytest.mark.parametrize(
    ("files", "at", "code"),
    [
        (["before.asc"], 2022, None),
        (["before.asc"], 2024, "signing_key_expired"),
        (["extended.asc"], 2024, "artifact_signature_invalid"),
        (["before.asc", "extended.asc"], 2024, None),
        (["extended.asc", "before.asc"], 2024, None),
        (["extended.asc", "before.asc"], 2040, "signing_key_expired"),
    ],
)
def test_key_that_forgot_its_past(tmp_path: Path, files: list[str], at: int, code: str | None) -> None:
    """With both of its states a key is good for what it signed before it was extended, and for as long as the later one says."""
    path = tmp_path / "keys.asc"
    path.write_text("".join((KEYS / name).read_text() for name in files))
    fingerprint = pysequoia.Cert.from_file(str(KEYS / files[0])).fingerprint
    sums, signature = (KEYS / "sums").read_bytes(), (KEYS / "sums.sig").read_bytes()
    trusted, now = Publisher(fingerprint, path), datetime(at, 6, 1, tzinfo=UTC)
    if code is None:
        trusted.check(sums, signature, "x", now)
    else:
        assert code_of(lambda: trusted.check(sums, signature, "x", now))[0] == code


def test_revoked_key(tmp_path: Path, key: pysequoia.Tsk) -> None:
    """Its owner's word ends it."""
    certificate = key.extract_certificate()
    revocation = certificate.revoke(key.certifier())
    path = tmp_path / "revoked.pgp"
    path.write_bytes(bytes(certificate) + bytes(revocation))
    act = lambda: Publisher(certificate.fingerprint, path).check(SUMS, signed_by(key, SUMS), "x", NOW)  # noqa: E731
    assert code_of(act) == ("signing_key_revoked", 6)


def test_vendors_key() -> None:
    """It comes with the product, is good until 2030, and has the state that was good from 2021 to 2026 as well."""
    vendor = Publisher()
    assert vendor.fingerprint == "c8740 11f 0ab4 0511 0d02 1055 3436 5d94 72d7 468f".replace(" ", "")
    assert vendor._key().expiration == datetime(2030, 3, 1, 23, 14, 24, tzinfo=UTC)
    packets = pysequoia.packet.PacketPile.from_bytes(bytes(vendor._key()))
    signed_at = {p.signature_created.year for p in packets if p.tag == pysequoia.packet.Tag.Signature}
    assert signed_at == {2021, 2026}


@pytest.mark.parametrize("release", ["terraform_1.0.0", "terraform_1.14.9", "terraform-provider-null_3.1.0"])
def test_vendors_own_signatures(release: str) -> None:
    """Real ones, of 2023 and of 2026, and one of 2021 that gives a false length for its number; a byte of the sums makes each false."""
    sums, signature = ((KEYS / f"{release}_SHA256SUMS{end}").read_bytes() for end in ("", ".sig"))
    now, tampered = datetime(2026, 11, 1, tzinfo=UTC), sums.replace(b"a", b"b", 1)
    Publisher().check(sums, signature, "x", now)
    assert code_of(lambda: Publisher().check(tampered, signature, "x", now)) == INVALID


@pytest.mark.parametrize("bits", range(1, 40))
def test_number_of_any_length(bits: int) -> None:
    """The field may begin with whole bytes of zeros; what is right already keeps its number."""
    number = (1 << bits) - 1
    body = bytes((4, 0, 1, 8)) + bytes((0, 1, 7)) + bytes((0, 2, 8, 9)) + b"ab"
    false = body + (40).to_bytes(2) + number.to_bytes(5)
    exact = body + bits.to_bytes(2) + number.to_bytes((bits + 7) // 8)
    for written in (false, exact):
        packet = b"\xc2" + bytes((len(written),)) + written
        assert is_signature_packet(packet)
        assert with_exact_length(packet) == b"\xc2\xff" + len(exact).to_bytes(4) + exact


def test_vendors_key_does_not_sign_for_others(key: pysequoia.Tsk) -> None:
    """Without anything said, nobody but the vendor signs."""
    assert code_of(lambda: Publisher().check(SUMS, signed_by(key, SUMS), "x", NOW)) == INVALID


def test_vendors_key_expires() -> None:
    """Some day it will have to be extended again."""
    act = lambda: Publisher().check(SUMS, b"", "x", datetime(2031, 1, 1, tzinfo=UTC))  # noqa: E731
    assert code_of(act) == ("signing_key_expired", 6)


@pytest.mark.parametrize(
    "content", [None, b"", b"no key", b"x" * (2 << 20)], ids=["absent", "empty", "text", "large"]
)
def test_key_file_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    """It is named, whatever is wrong with it."""
    path = tmp_path / "key.asc"
    if content is not None:
        path.write_bytes(content)
    error = error_of(lambda: Publisher("0" * 40, path).check(SUMS, b"", "x", NOW))
    assert (error.code, int(error.exit_code), str(path) in error.message) == ("signing_key_invalid", 3, True)


def test_key_file_that_is_a_fifo(tmp_path: Path) -> None:
    """Nobody waits for what may come through it."""
    os.mkfifo(path := tmp_path / "key.asc")
    error = error_of(lambda: Publisher("0" * 40, path).check(SUMS, b"", "x", NOW))
    assert (error.code, error.message.endswith(": not a regular file")) == ("signing_key_invalid", True)


def test_key_file_that_is_too_large(trusted: Publisher, key: pysequoia.Tsk) -> None:
    """It is refused, not cut; with as much as it may have, it counts."""
    assert trusted.key_path is not None
    content = bytes(key.extract_certificate())
    signature = signed_by(key, SUMS)
    trusted.key_path.write_bytes(content * ((1 << 20) // len(content) + 1))
    error = error_of(lambda: trusted.check(SUMS, signature, "x", NOW))
    assert (error.code, "larger than 1048576 bytes" in error.message) == ("signing_key_invalid", True)
    trusted.key_path.write_bytes(content * ((1 << 20) // len(content)))
    trusted.check(SUMS, signature, "x", NOW)


def test_key_file_without_the_pinned_key(trusted: Publisher, key: pysequoia.Tsk) -> None:
    """A fingerprint is a pin: another key in the file does not do."""
    pinned = Publisher("0" * 40, trusted.key_path)
    assert code_of(lambda: pinned.check(SUMS, signed_by(key, SUMS), "x", NOW)) == ("signing_key_invalid", 3)


def test_fingerprint_without_a_file() -> None:
    """Only the vendor's key is known without one."""
    assert code_of(lambda: Publisher("0" * 40).check(SUMS, b"", "x", NOW)) == ("signing_key_invalid", 3)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", False),
        (b"\x88\x01", False),
        (b"\x88\x01x", True),
        (b"\x88\x01xx", False),
        (b"\x89\x00\x01x", True),
        (b"\xc2\x01x", True),
        (b"\xc2\xc0\x00" + bytes(192), True),
        (b"\xc8\x01x", False),
        (b"\xa3\x01x", False),
        (b"-----BEGIN PGP SIGNATURE-----", False),
    ],
)
def test_one_signature_packet(content: bytes, expected: bool) -> None:  # noqa: FBT001  (a column of the table)
    """Compressed packets, armor and a second packet are never parsed."""
    assert is_signature_packet(content) is expected


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=190))
def test_any_signature_packet(body: bytes) -> None:
    """Whatever a mirror sends as a signature, it is refused by name."""
    signature = b"\xc2" + bytes([len(body)]) + body
    assert code_of(lambda: Publisher().check(SUMS, signature, "x", NOW)) == INVALID


# --- in the store ----------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, key: pysequoia.Tsk) -> Site:
    made = Site(tmp_path / "site")
    made.put(AMD64, archive())
    sums = made.root / AMD64.sums_path
    (made.root / AMD64.signature_path).write_bytes(signed_by(key, sums.read_bytes()))
    return made


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "ionetctl.lock"


@pytest.fixture
def store(tmp_path: Path, site: Site, lock: Path, trusted: Publisher) -> ArtifactStore:
    return ArtifactStore(tmp_path / "cache", str(site.root), lock, publisher=trusted)


async def refused(work: Awaitable[object]) -> tuple[str, int]:
    with pytest.raises(IonetctlError) as caught:
        await work
    return caught.value.code, int(caught.value.exit_code)


async def test_signed_release_is_pinned(store: ArtifactStore, lock: Path) -> None:
    """The first fetch pins what the publisher has signed."""
    await store.ensure({AMD64})
    assert list(pins(lock)) == [AMD64.file_name]


async def test_other_release_under_the_old_signature(store: ArtifactStore, site: Site, lock: Path) -> None:
    """A mirror that changes archive and checksums alike is found out by the signature; nothing is pinned or kept."""
    site.put(AMD64, archive({"nomad": b"evil"}))
    assert await refused(store.ensure({AMD64})) == INVALID
    assert (store.cached(), lock.exists()) == ((), False)


async def test_release_without_a_signature(store: ArtifactStore, site: Site, lock: Path) -> None:
    """To take the signature away is no way around it."""
    (site.root / AMD64.signature_path).unlink()
    assert await refused(store.ensure({AMD64})) == ("artifact_unsigned", 6)
    assert not lock.exists()


async def test_signature_without_an_end(store: ArtifactStore, site: Site) -> None:
    """It has a size that a signature can have."""
    (site.root / AMD64.signature_path).write_bytes(bytes(1 << 20))
    assert await refused(store.ensure({AMD64})) == ("artifact_too_large", 6)


async def test_signature_that_cannot_be_read(store: ArtifactStore, site: Site) -> None:
    """That is no missing one."""
    (site.root / AMD64.signature_path).unlink()
    (site.root / AMD64.signature_path).mkdir()
    assert await refused(store.ensure({AMD64})) == ("artifact_unreachable", 3)


async def test_pin_counts_on_its_own(
    store: ArtifactStore, tmp_path: Path, site: Site, lock: Path, trusted: Publisher
) -> None:
    """What the lock file pins needs no signature any more, with an empty cache and an expired key."""
    await store.ensure({AMD64})
    (site.root / AMD64.signature_path).unlink()
    later = lambda: NOW + timedelta(days=99)  # noqa: E731
    fresh = ArtifactStore(tmp_path / "empty", str(site.root), lock, publisher=trusted, now=later)
    assert AMD64 in await fresh.ensure({AMD64})


async def test_expired_key_pins_nothing(tmp_path: Path, site: Site, lock: Path, trusted: Publisher) -> None:
    """An expired key is an error, not a pass."""
    later = lambda: NOW + timedelta(days=99)  # noqa: E731
    store = ArtifactStore(tmp_path / "cache", str(site.root), lock, publisher=trusted, now=later)
    assert await refused(store.ensure({AMD64})) == ("signing_key_expired", 6)
    assert lock.exists() is False
