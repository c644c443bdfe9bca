"""docs/reference/gpu-names.md has the table of models as it is, and examples that hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ionetctl.gpu import standard_name
from ionetctl.gpu.model_table import MODELS
from ionetctl.gpu.short_forms import VARIANTS

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = (ROOT / "docs" / "reference" / "gpu-names.md").read_text()
SECTIONS: Final = re.findall(r"^### (\w+)\n(.*?)(?=\n###|\Z)", PAGE, re.MULTILINE | re.DOTALL)


def test_table_is_the_products() -> None:
    """Every model with its generation and sizes, in the table's order, and no other."""
    told = [
        (model, generation.lower(), sizes)
        for generation, rows in SECTIONS
        for model, sizes in re.findall(r"^\| `([\w.]+)` \| (.*) \|$", rows, re.MULTILINE)
    ]
    known = [(name, one.generation, ", ".join(map(str, one.sizes_gb))) for name, one in MODELS.items()]
    assert told == known


def test_examples_hold() -> None:
    """Each product name of the rule has the standard name beside it."""
    examples = re.findall(r"^\| `([^`]+)` \| `(nvidia\.[\w.]+)` \|$", PAGE, re.MULTILINE)
    assert {name: standard_name(name) for name, _ in examples} == dict(examples)
    assert len(examples) >= 10


def test_variants_are_named() -> None:
    """The words that a short form must not leave out."""
    sentence = re.search(r"These words are: (.*?)\.\n", PAGE, re.DOTALL)
    assert sentence is not None
    assert re.findall(r"`(\w+)`", sentence[1]) == sorted(VARIANTS)


def test_number_of_names_is_right() -> None:
    """As many as the file of real names has."""
    rows = (ROOT / "tests" / "data" / "gpu_names.csv").read_text().splitlines()[1:]
    assert f"{len(rows)} product names" in PAGE
