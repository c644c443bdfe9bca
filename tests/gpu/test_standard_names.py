"""Product names become standard names, held against names that NVIDIA's drivers really tell."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionetctl.gpu import is_known, product, standard_name, with_mig
from ionetctl.gpu.model_table import ALIASES, FOREIGN_SIZES, MODELS
from ionetctl.gpu.short_forms import known_products

TABLE: Final = Path(__file__).parents[1] / "data" / "gpu_names.csv"
LEGAL: Final = re.compile(r"nvidia(\.[a-z0-9]+)+")
LABEL_MAX: Final = 63
"""As long as the name part of a Kubernetes resource may be."""


class Row(NamedTuple):
    """A product name as a driver tells it, and where that can be read."""

    name: str
    memory_mib: str
    expected: str
    source: str

    @property
    def reading(self) -> int | None:
        return int(self.memory_mib) if self.memory_mib else None


with TABLE.open(newline="") as file:
    ROWS: Final = [Row(**row) for row in csv.DictReader(file)]

STRANGE: Final = {
    "NVIDIA A10M": "sold to one cloud; its size is published nowhere",
    "NVIDIA CMP 170HX": "unlocked",
    "NVIDIA CMP 50HX": "fitted with twice its memory",
    "NVIDIA GeForce RTX 2080 Ti": "fitted with twice its memory",
    "NVIDIA GeForce RTX 4090": "fitted with twice its memory",
}
"""Names of the table with which some row is not known, and why."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name} {row.memory_mib}".strip())
def test_real_names(row: Row) -> None:
    """Every name of the table has the standard name that stands beside it, which is its own standard name."""
    assert (standard_name(row.name, row.reading), standard_name(row.expected)) == (row.expected, row.expected)


def test_table_is_long_and_sourced() -> None:
    """The table holds at least 150 different names, each row with its source and none twice."""
    assert len({row.name for row in ROWS}) >= 150
    assert [row for row in ROWS if not row.source] == []
    assert len({row[:3] for row in ROWS}) == len(ROWS)


def test_real_names_are_known() -> None:
    """All real names are known, but for those that no table can know."""
    assert {row.name for row in ROWS if not is_known(row.name, row.reading)} == set(STRANGE)


def test_table_covers_the_models() -> None:
    """Only models of which no driver's name was found are in the product table without a row."""
    seen = {product(row.name, row.reading).model for row in ROWS}
    assert set(MODELS) - seen == {"a100x", "a30x", "l40g", "t40", "t4g", "titan.v.ceo"}


@pytest.mark.parametrize(
    ("name", "memory_mib", "expected"),
    [
        ("NVIDIA Future X1", 65_000, "nvidia.future.x1.63gb"),
        ("NVIDIA Future X1", None, "nvidia.future.x1"),
        ("NVIDIA Future X1", 100, "nvidia.future.x1.1gb"),
        ("NVIDIA Future X1", 0, "nvidia.future.x1"),
        ("NVIDIA Future X1", -1, "nvidia.future.x1"),
        ("NVIDIA Graphics Device", 24_576, "nvidia.graphics.device.24gb"),
        ("GRID A100-7-40C MIG 7g.40gb", None, "nvidia.grid.a100.7.40c.mig.7g.40gb"),
        ("NVIDIA", None, "nvidia.unknown"),
        ("", None, "nvidia.unknown"),
        ("Äµ ⅷ", None, "nvidia.unknown"),
        ("NVIDIA 0GB", None, "nvidia.unknown"),
        ("a" * 100, 8192, "nvidia." + "a" * 16 + ".8gb"),
        ("NVIDIA GeForce RTX 3080", 20_480, "nvidia.rtx.3080.20gb"),
        ("NVIDIA GeForce RTX 4090", None, "nvidia.rtx.4090.24gb"),
    ],
)
def test_unknown_names_stay_readable(name: str, memory_mib: int | None, expected: str) -> None:
    """What is in no table keeps its words, with the size as the driver reads it."""
    assert standard_name(name, memory_mib) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Tesla P4", "pascal"),
        ("NVIDIA TITAN V", "volta"),
        ("NVIDIA CMP 40HX", "turing"),
        ("NVIDIA CMP 170HX", "ampere"),
        ("NVIDIA L40S", "ada"),
        ("NVIDIA H20", "hopper"),
        ("NVIDIA GB200", "blackwell"),
        ("NVIDIA Future X1", None),
    ],
)
def test_generations(name: str, expected: str | None) -> None:
    """A known model says which architecture it has."""
    assert product(name).generation == expected


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("1g.5gb", "nvidia.a100.pcie.40gb.mig.1g.5gb"),
        ("1g.10gb+me", "nvidia.a100.pcie.40gb.mig.1g.10gb.me"),
        ("1c.3g.20gb", "nvidia.a100.pcie.40gb.mig.1c.3g.20gb"),
    ],
)
def test_slices(profile: str, expected: str) -> None:
    """A slice's name is its GPU's and its profile."""
    assert with_mig("nvidia.a100.pcie.40gb", profile) == expected


@given(st.text(), st.none() | st.integers())
def test_any_text_gives_a_legal_name(name: str, memory_mib: int | None) -> None:
    """Whatever a driver says, the name has the shape that Nomad and Kubernetes take, and nothing is raised."""
    assert LEGAL.fullmatch(standard_name(name, memory_mib))


@pytest.mark.parametrize("known", known_products(), ids=lambda known: known.standard_name)
def test_known_names_are_labels(known: object) -> None:
    """With the longest profile of a slice, a known name still fits where Kubernetes takes names."""
    name = with_mig(known.standard_name, "4g.141gb+gfx")  # type: ignore[attr-defined]
    assert len(name) <= LABEL_MAX


def test_aliases_lead_to_models() -> None:
    """No alias leads nowhere or hides a model."""
    assert {alias for alias, model in ALIASES.items() if model not in MODELS or alias in MODELS} == set()
    assert set(FOREIGN_SIZES) - set(MODELS) == set()
