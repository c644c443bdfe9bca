"""The notation for jump hosts of ProxyJump and of ``ssh -J``."""

from __future__ import annotations

import re
from typing import Final

from ionetctl.core.model.host import Jump
from ionetctl.core.sanitize import harmless

_JUMP: Final = re.compile(
    r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<address>\[[^\]]+\]|[^:@\[\]]+|[0-9A-Fa-f:]+:[0-9A-Fa-f:.]+)(?::(?P<port>\d{1,5}))?/?"
)


def parse_jumps(text: str) -> tuple[Jump, ...]:
    """The chain that ``[user@]host[:port],…`` names, nearest hop first; empty for ``none``.

    Raises ``ValueError`` for text that is no such chain.
    """
    if text.lower() == "none":
        return ()
    return tuple(_parse_jump(part.strip()) for part in text.split(","))


def _parse_jump(text: str) -> Jump:
    match = _JUMP.fullmatch(text)
    if match is None:
        raise ValueError(f"not a jump host: {harmless(text, 100)!r}")
    port = int(match["port"]) if match["port"] else None
    return Jump(match["address"].strip("[]"), port, match["user"])
