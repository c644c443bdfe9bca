"""Order of Nomad's version numbers. Pure."""

from __future__ import annotations

import re
from typing import Final

_VERSION: Final = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")

FIRST_WITH_DEFAULT_INELIGIBLE: Final = "2.0.3"
"""The first Nomad release with the client option ``default_ineligible``; older ones refuse a configuration with it."""

Precedence = tuple[int, int, int, bool]
"""Major, minor, patch, and whether it is a release: a pre-release comes before its release."""


def precedence(version: str) -> Precedence:
    """The order of a version as Nomad writes it (``2.0.5``, ``1.11.0-beta.1``, ``1.9.3+ent``).

    What follows a ``+`` does not count. Raises ``ValueError`` for anything else.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ValueError(f"not a version: {version!r}")
    major, minor, patch, pre_release = match.groups()
    return int(major), int(minor), int(patch or 0), pre_release is None


def precedence_of_agent(text: str) -> Precedence:
    """The order of the version that an agent or a region tells (``Nomad v2.0.5``, ``2.0.5``); of anything else the least."""
    try:
        return precedence(text.removeprefix("Nomad "))
    except ValueError:
        return 0, 0, 0, False


def starts_ineligible(version: str) -> bool:
    """Whether a release's nodes can register as ineligible by their configuration. Raises as ``precedence``."""
    return precedence(version) >= precedence(FIRST_WITH_DEFAULT_INELIGIBLE)
