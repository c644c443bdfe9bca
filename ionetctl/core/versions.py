"""Order of Nomad's version numbers. Pure."""

from __future__ import annotations

import re
from typing import Final

_VERSION: Final = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")

FIRST_WITH_DEFAULT_INELIGIBLE: Final = "2.0.3"
"""The first Nomad release with the client option ``default_ineligible``; older ones refuse a configuration with it."""

FIRST_WITH_DENIED_USERS: Final = "1.10.0"
"""The first minor release of which every version has ``denied_host_uids`` of exec and java; older ones do not start with it."""

LAST_UNDER_MPL: Final = ("1.5.12", "1.6.5")
"""The last releases of their minor versions under the Mozilla Public License; everything later is under the Business Source License."""

LOST_UNDER_MPL: Final = (
    "they have no introduction tokens, so whoever has a certificate may join at any time, and no default_ineligible, so a new node may "
    "get jobs for a moment before it is held"
)

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


def is_under_mpl(version: str) -> bool:
    """Whether a release is under the Mozilla Public License, which none with build metadata (``+ent``) is. Raises as ``precedence``."""
    if "+" in version:
        return False
    numbers = precedence(version)[:3]
    last = (precedence(text)[:3] for text in LAST_UNDER_MPL)
    is_in_a_line = any(numbers[:2] == of[:2] and numbers <= of for of in last)
    return is_in_a_line or numbers < precedence(LAST_UNDER_MPL[0])[:2]


def starts_ineligible(version: str) -> bool:
    """Whether a release's nodes can register as ineligible by their configuration. Raises as ``precedence``."""
    return precedence(version) >= precedence(FIRST_WITH_DEFAULT_INELIGIBLE)


def denies_host_users(version: str) -> bool:
    """Whether a release can refuse tasks that ask to run as one of the host's users. Raises as ``precedence``."""
    return precedence(version) >= precedence(FIRST_WITH_DENIED_USERS)
