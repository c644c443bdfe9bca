"""A word for the maintenance door of one node: what is signed, and carried there by its region. Pure.

``docs/explanation/maintenance.md`` describes it; ``remote/maintenance*.sh`` reads it.
"""

from __future__ import annotations

import base64
import gzip
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from ionetctl.core import host_paths
from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.names import RolloutId
from ionetctl.plan.bundle import sha256
from ionetctl.plan.payload import program_of

if TYPE_CHECKING:
    from ionetctl.core.model.names import Digest, NodeId
    from ionetctl.plan.payload import Payload

Condition = Literal["any", "ineligible", "drained"]
"""What the region must say of the node when the word is carried out; ``drained`` implies ``ineligible``."""

NAMESPACE: Final = "ionet-maintenance"
"""What its signature is for (the namespace of OpenSSH's SSHSIG): one for another purpose is none for a word."""
SIGNATURE_BEGINS: Final = b"-----BEGIN SSH SIGNATURE-----\n"
LIMIT_BYTES: Final = 65_000
"""Word and signature together: a variable of Nomad's holds 64 KiB, its name and the names of its items included."""
_NO_STAMP: Final = "-"
_VALUE: Final = re.compile(r"[A-Za-z0-9.,:/_~%-]+")
"""What the host takes as a value of the header."""


@dataclass(frozen=True, slots=True)
class Word:
    """What a word says beside its payload.

    ``serial`` must be above that of every word that the node has had; ``expires_at`` is in seconds since the epoch. ``stamp`` is that of
    the configuration that the payload was made for, ``None`` for a host without any. ``signers`` is the digest of the list of signers that the
    host had then, which no stamp tells. ``confirm_s`` is how long the region may take to show the
    node ready with the new one before the host puts back what it had; 0 does not ask it. ``source`` is the URL below
    which the host finds packed programs by their SHA-256.
    """

    node: NodeId
    serial: int
    expires_at: int
    stamp: str | None
    signers: Digest
    confirm_s: int = 180
    when: Condition = "any"
    source: str | None = None


def word_text(word: Word, payload: Payload) -> bytes:
    """What is to be signed.

    Raises ``ConfigurationError`` (``word_needs_dialogue``) for a payload that needs a token or a private key, or a program without a ``source`` that hosts take.
    """
    if payload.needs_token or payload.own_pair or any(file.is_secret for file in payload.files):
        message = "an introduction or a private key cannot be carried through the region"
        raise ConfigurationError("word_needs_dialogue", message, "enroll the host over SSH")
    if payload.programs and word.source is None:
        message = "a program is larger than what a region carries, and there is no URL from which hosts fetch"
        raise ConfigurationError("word_needs_dialogue", message, "mirror: http://… in the inventory")
    if payload.programs and not _VALUE.fullmatch(word.source or ""):
        message = f"hosts take no such URL from a word: {word.source}"
        hint = (
            "mirror: http://… with letters, digits and .:/_~- alone, so by a name instead of an IPv6 address"
        )
        raise ConfigurationError("word_needs_dialogue", message, hint)
    # By this name the host knows its own changes again after it was cut off.
    named = replace(payload, rollout=RolloutId(f"word-{word.serial}"))
    programs = {each.packed_digest: each.packed_bytes for each in map(program_of, payload.programs)}
    packed = gzip.compress(b"".join(named.blocks(programs)), mtime=0)
    # A host that has the list already, by an earlier word of the same change whose answer was lost, is as it must be.
    brought = (file.digest for file in payload.files if file.path == host_paths.ALLOWED_SIGNERS)
    header: dict[str, object] = {
        NAMESPACE: 1,
        "node": word.node,
        "serial": word.serial,
        "expires": word.expires_at,
        "when": word.when,
        "from": word.stamp or _NO_STAMP,
        "signers": ",".join(dict.fromkeys((word.signers, *brought))),
        "confirm": word.confirm_s,
        "payload": sha256(packed),
    }
    if programs:
        listed = ",".join(f"{digest}:{size_bytes}" for digest, size_bytes in programs.items())
        header |= {"programs": listed, "source": word.source}
    lines = "".join(f"{key} {value}\n" for key, value in header.items())
    return lines.encode() + b"\n" + base64.encodebytes(packed)


def signed_word(text: bytes, signature: bytes) -> bytes:
    """The word as it is dropped: the text and the signature over it, in OpenSSH's armour.

    Raises ``ConfigurationError``: ``word_too_large``, ``signature_malformed``.
    """
    if not signature.startswith(SIGNATURE_BEGINS):
        raise ConfigurationError("signature_malformed", "what was signed has no signature of OpenSSH's")
    whole = text + signature
    if len(whole) > LIMIT_BYTES:
        message = f"it has {len(whole)} bytes, and a variable of the region holds no more than {LIMIT_BYTES}"
        raise ConfigurationError("word_too_large", message, "enroll the host over SSH")
    return whole
