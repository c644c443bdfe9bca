"""docs/host-meta.md names the meta keys that ionetctl writes, with values as it writes them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from ionetctl.bundle import DIGEST_CHARACTERS, SUFFIX_CHARACTERS, meta_of
from ionetctl.equipment import NONCE_BYTES
from ionetctl.model import Location, Network
from tests.core.sample import BARE, HOST

PAGE: Final = (Path(__file__).parents[1] / "docs" / "host-meta.md").read_text()
ROWS: Final = dict(re.findall(r"^\| `(ionet_\w+)` \| (.*) \| .* \|$", PAGE, re.MULTILINE))
FULL: Final = replace(
    HOST, location=Location("IS", "Reykjavik"), network=Network(1000), tags=("hot", "nvlink")
)


def test_every_key_is_documented_and_no_other() -> None:
    """A host of which all is known has all the keys."""
    assert sorted(ROWS) == sorted(meta_of(FULL, BARE))


def test_values_look_as_documented() -> None:
    """The values of that host stand as examples in the table."""
    values = {key: value for key, value in meta_of(FULL, BARE).items() if key != "ionet_bundle"}
    assert {key: value for key, value in values.items() if f"`{value}`" not in ROWS[key]} == {}


def test_lengths_are_as_documented() -> None:
    """Digits of the stamp and of a unique name's suffix."""
    assert f"first {DIGEST_CHARACTERS} digits" in ROWS["ionet_bundle"]
    assert f"{2 * NONCE_BYTES} digits that are new" in ROWS["ionet_bundle"]
    assert {8: "eight"}[SUFFIX_CHARACTERS] + " digits made from the machine-id" in PAGE
