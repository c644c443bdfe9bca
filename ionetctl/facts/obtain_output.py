"""What a host prints that was told to get packed programs, and perhaps to serve them (docs/explanation/host-protocol.md). Pure.

What is printed is not trusted: an address that the host was not given, or a file that it was not asked for, does not count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.sanitize import harmless

if TYPE_CHECKING:
    from collections.abc import Collection

    from ionetctl.core.model.names import Digest

OBTAIN_LIMIT_BYTES: Final = 64 * 1024
_REASON_CHARS: Final = 200
_PORTS: Final = range(1024, 65536)
_SIZE: Final = re.compile(r"[0-9]{1,15}")
CUT_OFF: Final = "cut_off"
OWN_FAULTS: Final = frozenset({CUT_OFF, "no_tool", "no_room"})
"""Why a file is missing although its source may be sound."""


@dataclass(frozen=True, slots=True)
class ObtainOutput:
    """The files that lie on the host now, with the bytes that came for each, and where it serves them (``address``, port).

    ``kind`` and ``reason`` say why a file is missing, ``not_serving`` why the host serves nobody although it was to.
    """

    got: dict[Digest, int]
    kind: str = ""
    reason: str = ""
    serving: tuple[str, int] | None = None
    not_serving: str = ""

    @property
    def is_hosts_own_fault(self) -> bool:
        """Whether another source would have been of no more use."""
        return self.kind in OWN_FAULTS


def parse_obtained(
    output: bytes, nonce: str, files: Collection[Digest], addresses: Collection[str]
) -> ObtainOutput:
    """What the host got; output that is not whole says nothing."""
    opening, *lines = output.decode(errors="replace").split("\n")
    ending = f"ionet-obtain-end\t{nonce}"
    if opening != f"ionet-obtain\t1\t{nonce}" or ending not in lines:
        return ObtainOutput({}, CUT_OFF, "what the host says of the files is cut off")
    got: dict[Digest, int] = {}
    kind = reason = not_serving = ""
    serving = None
    for line in lines[: lines.index(ending)]:
        match line.split("\t"):
            case ["got", digest, size] if digest in files and _SIZE.fullmatch(size):
                got |= {known: int(size) for known in files if known == digest}
            case ["missed", digest, why, text] if digest in files:
                kind, reason = harmless(why, _REASON_CHARS), harmless(text, _REASON_CHARS)
            case ["serving", address, port] if address in addresses and _is_port(port):
                serving = address, int(port)
            case ["not-serving", text]:
                not_serving = harmless(text, _REASON_CHARS)
            case _:
                pass
    return ObtainOutput(got, kind, reason, serving, not_serving)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len("65535") and int(text) in _PORTS
