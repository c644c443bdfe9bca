"""Whether a release's checksums were signed by its publisher, whose key is pinned by its fingerprint (OpenPGP, RFC 9580).

A key may be extended: its owner signs a new expiry, and the fingerprint stays. What was signed before is confirmed by the key as
it was then, so every known state of a key is merged. The only import of pysequoia.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ConfigurationError, TrustError
from ionetctl.core.regular_file import open_regular
from ionetctl.core.sanitize import harmless

if TYPE_CHECKING:
    from datetime import datetime

    from pysequoia import Cert

VENDOR_FINGERPRINT: Final = "c874011f0ab405110d02105534365d9472d7468f"
"""HashiCorp's key for releases, as its page on security has it."""
SIGNATURE_LIMIT_BYTES: Final = 1 << 12

_VENDOR_KEY: Final = Path(__file__).with_name("hashicorp.asc")
_KEY_LIMIT_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who signs releases: the fingerprint of the key (lower-case hexadecimal digits), and a file with it.

    The file may hold several states of the key, in binary or in ASCII armor. The vendor's key needs none: what a file has is
    added to what is known of it.
    """

    fingerprint: str = VENDOR_FINGERPRINT
    key_path: Path | None = None

    def check(self, sums: bytes, signature: bytes, origin: str, now: datetime) -> None:
        """Raise unless ``signature`` is this publisher's over ``sums``, and the key holds ``now``.

        ``TrustError``: ``artifact_signature_invalid``, ``signing_key_expired``, ``signing_key_revoked``;
        ``ConfigurationError`` (``signing_key_invalid``) where the file has no such key.
        """
        import pysequoia

        key = self._key()
        if key.is_revoked:
            raise TrustError("signing_key_revoked", f"{self._name} was revoked by its owner", _ASK_VENDOR)
        if key.expiration is not None and key.expiration <= now:
            message = f"{self._name} expired on {key.expiration:%Y-%m-%d}"
            raise TrustError("signing_key_expired", message, _EXTENDED)
        if not is_signature_packet(signature):
            raise _invalid(origin, f"is no detached OpenPGP signature in binary form by {self._name}")
        try:
            exact = pysequoia.Sig.from_bytes(with_exact_length(signature))
            pysequoia.verify(sums, lambda _: [key], signature=exact)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise _invalid(origin, f"is no signature of it by {self._name}: {reason}") from error

    @property
    def _name(self) -> str:
        return f"the signing key {self.fingerprint.upper()}"

    def _key(self) -> Cert:
        """All that is known of the key, in one."""
        places = [path for path in (self.key_path, self._own_place()) if path is not None]
        states = [key for path in places for key in _read_keys(path) if key.fingerprint == self.fingerprint]
        if not states:
            where = f"{self.key_path} does not hold" if self.key_path else "there is no file with"
            message = f"{where} {self._name}"
            hint = "name a file with it in nomad.signing_key, or correct nomad.signing_fingerprint"
            raise ConfigurationError("signing_key_invalid", message, hint)
        return reduce(lambda merged, state: merged.merge(state), states)

    def _own_place(self) -> Path | None:
        return _VENDOR_KEY if self.fingerprint == VENDOR_FINGERPRINT else None


_ASK_VENDOR: Final = "nothing that it signs is trusted; ask the publisher for the new key and its fingerprint"
_EXTENDED: Final = (
    "publishers extend their key under the same fingerprint: take it from their site (https://www.hashicorp.com/security) "
    "into a file and name that in nomad.signing_key, or use a newer ionetctl; what ionetctl.lock pins needs no signature"
)
_TAG_OLD_1, _TAG_OLD_2, _TAG_NEW = 0x88, 0x89, 0xC2
_LEAST_BYTES, _NEW_TWO_BYTES = 3, 192
_RSA_V4: Final = {b"\4\1", b"\4\3"}
"""Version of the packet and algorithm (RFC 9580, sections 5.2.3 and 9.1)."""
_LONG_HEADER: Final = b"\xc2\xff"


def is_signature_packet(content: bytes) -> bool:
    """Whether ``content`` is one signature packet and nothing else, by its header (RFC 9580, section 4.2).

    So no packet that nests others, compressed ones above all, comes before a parser.
    """
    if len(content) < _LEAST_BYTES:
        return False
    tag, first, second = content[:_LEAST_BYTES]
    is_short = first < _NEW_TWO_BYTES
    lengths = {
        _TAG_OLD_1: 2 + first,
        _TAG_OLD_2: 3 + (first << 8) + second,
        _TAG_NEW: 2 + first if is_short else 3 + ((first - _NEW_TWO_BYTES) << 8) + second + _NEW_TWO_BYTES,
    }
    return lengths.get(tag) == len(content)


def with_exact_length(packet: bytes) -> bytes:
    """The same signature packet, where its RSA number says how many bits it has (RFC 9580, section 3.2).

    Some of the vendor's signatures of 2021 give the bits of the field instead, as Go's x/crypto/openpgp wrote them: GnuPG
    takes them, pysequoia does not. The length is not signed.
    """
    is_long = packet[0] == _TAG_OLD_2 or (packet[0] == _TAG_NEW and packet[1] >= _NEW_TWO_BYTES)
    body = packet[3 if is_long else 2 :]
    at = 4
    for _ in range(2):  # the subpackets that are signed, and those that are not
        at += 2 + int.from_bytes(body[at : at + 2])
    at += 2  # the digest's first bytes
    told, number = int.from_bytes(body[at : at + 2]), body[at + 2 :].lstrip(b"\0")
    is_one_number = len(body) - at - 2 == (told + 7) // 8
    if body[:1] + body[2:3] not in _RSA_V4 or not is_one_number:
        return packet
    bits = int.from_bytes(number).bit_length()
    exact = body[:at] + bits.to_bytes(2) + number
    return _LONG_HEADER + len(exact).to_bytes(4) + exact


def unsigned(location: str) -> TrustError:
    """The error for a release whose signature is not where its checksums are."""
    hint = "copy it from the vendor's site; for builds of your own say nomad.own_builds: true"
    return TrustError(
        "artifact_unsigned", f"there is no {location}, so nobody vouches for its checksums", hint
    )


def _read_keys(path: Path) -> list[Cert]:
    import pysequoia

    try:
        return pysequoia.Cert.split_bytes(_content(path))
    except (OSError, RuntimeError) as error:
        reason = harmless(getattr(error, "strerror", None) or str(error).partition("\n")[0])
        message = f"cannot read a key from {path}: {reason}"
        hint = "it must hold an OpenPGP public key, as gpg --export writes it"
        raise ConfigurationError("signing_key_invalid", message, hint) from error


def _content(path: Path) -> bytes:
    with open_regular(path) as file:
        content = file.read(_KEY_LIMIT_BYTES + 1)
    if len(content) > _KEY_LIMIT_BYTES:
        raise OSError(f"it is larger than {_KEY_LIMIT_BYTES} bytes")
    return content


def _invalid(origin: str, reason: str) -> TrustError:
    hint = "checksums or signature were changed on the way: compare both with the vendor's site"
    return TrustError("artifact_signature_invalid", f"{origin}: {harmless(reason)}", hint)
