"""docs/reference/host-meta.md names the meta keys that ionetctl writes, with values as it writes them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from ionetctl.core.model.host import Location, Network, RigPromise
from ionetctl.core.observed import Driver, MachineFacts, Rig
from ionetctl.host.dependencies import NONCE_BYTES
from ionetctl.plan.bundle import DIGEST_CHARACTERS, SUFFIX_CHARACTERS, meta_of
from ionetctl.plan.node_meta import CPU_CLASS, MIXED_CLASS, node_class_of
from tests.support.sample import BARE, HOST

PAGE: Final = (Path(__file__).parents[1] / "docs" / "reference" / "host-meta.md").read_text()
ROWS: Final = dict(re.findall(r"^\| `((?:unique\.)?ionet_\w+)` \| (.*) \| .* \|$", PAGE, re.MULTILINE))
FULL: Final = replace(
    HOST,
    location=Location("IS", "Reykjavik"),
    network=Network(1000),
    tags=("hot", "nvlink"),
    rig=RigPromise(meta=True),
)
SEEN: Final = replace(
    BARE,
    gpus=tuple(replace(seen, power_default_w=450.0) for seen in BARE.gpus or ()),
    cuda_version="12.4",
    machine=MachineFacts(
        cpu_model="AMD EPYC 7402P 24-Core Processor",
        product="Supermicro AS-4124GS-TNR",
        virtualization="none",
        driver=Driver("550.54.15"),
        rig=Rig("HiveOS", "0.6-201", "123456", "rig07"),
    ),
)


def test_every_key_is_documented_and_no_other() -> None:
    """A host of which all is known has all the keys."""
    assert sorted(ROWS) == sorted(meta_of(FULL, SEEN))


def test_values_look_as_documented() -> None:
    """The values of that host stand as examples in the table."""
    values = {key: value for key, value in meta_of(FULL, SEEN).items() if key != "unique.ionet_bundle"}
    assert {key: value for key, value in values.items() if f"`{value}`" not in ROWS[key]} == {}


def test_lengths_are_as_documented() -> None:
    """Digits of the stamp and of a unique name's suffix."""
    assert f"first {DIGEST_CHARACTERS} digits" in ROWS["unique.ionet_bundle"]
    assert f"{2 * NONCE_BYTES} digits that are new" in ROWS["unique.ionet_bundle"]
    assert {8: "eight"}[SUFFIX_CHARACTERS] + " digits made from the machine-id" in PAGE


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ("all of one model", node_class_of(HOST, BARE, BARE.gpus or ())),
        ("of several models", MIXED_CLASS),
        ("none promised, or none seen and nothing promised", CPU_CLASS),
    ],
)
def test_classes_are_as_documented(gpus: str, expected: str) -> None:
    """Each row of the table of classes names the class that is given."""
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {gpus} |"))
    assert f"`{expected}`" in row
