"""Types of names and identifiers."""

from __future__ import annotations

from typing import Literal, NewType

HostName = NewType("HostName", str)


NodeId = NewType("NodeId", str)


RolloutId = NewType("RolloutId", str)


Digest = NewType("Digest", str)
"""A SHA-256 in lower-case hexadecimal, without a prefix."""


RegionName = NewType("RegionName", str)


Architecture = Literal["amd64", "arm64"]
