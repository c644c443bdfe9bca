"""``ionetctl region check`` from outside, where no region is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import RunIonetctl


def test_inventory_that_is_wrong_is_told_in_the_commands_own_document(
    ionetctl: RunIonetctl, write: Callable[[str, str], str]
) -> None:
    """Scripts find the error where they look for it, and no regions."""
    ended = ionetctl("region", "check", write("site.yaml", "version: 2\n"), "-o", "json")
    document = ended.document
    assert (ended.exit_code, document["schema"], document["exit_code"]) == (3, "ionetctl.region-check/1", 3)
    assert (document["regions"], document["error"]["code"]) == ([], "inventory_invalid")


def test_regions_commands_are_listed(ionetctl: RunIonetctl) -> None:
    """The group says what it has."""
    ended = ionetctl("region", "--help")
    assert (ended.exit_code, "check" in ended.stdout) == (0, True)
