"""What the short forms of inventories mean (``rtx-4090``, ``h100-80gb``): predicates over products. Pure text."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Final

from ionetctl.gpu.models import MODELS
from ionetctl.gpu.names import Product, product, told_apart

VARIANTS: Final = frozenset(
    [
        "ti",
        "super",
        "d",
        "v2",
        "laptop",
        "maxq",
        "embedded",
        "oem",
        "sff",
        "ada",
        "pro",
        "active",
        "ls",
        "h",
        "3e",
        "nvl16",
        "max",
        "a",
        "ceo",
        "jhh",
    ]
)
"""Words that make another model of what stands before them: who does not write them does not mean them."""
_SUGGESTIONS_CUTOFF: Final = 0.6


def is_meant_by(short_form: str, name: str, memory_mib: int | None = None) -> bool:
    """Whether a product, as NVML names it, is one that a short form means; of a slice, whether its GPU is.

    All words of the short form must be in the standard name, so ``h100-80gb`` fits SXM and PCIe; and the standard name
    has no variant that the short form leaves out, so ``rtx-4080`` does not fit an RTX 4080 SUPER.
    """
    return _fits(short_form, product(name, memory_mib))


def matches_any_known(short_form: str) -> bool:
    """Whether some model of the table is meant; one that came out after the table may be meant all the same."""
    return any(_fits(short_form, known) for known in known_products())


def meant_products(short_form: str) -> tuple[Product, ...]:
    """The products of the table that a short form means."""
    return tuple(known for known in known_products() if _fits(short_form, known))


def standard_name_of(short_form: str) -> str:
    """The standard name of the one product of the table that is meant; else one that says no more than was written."""
    meant = meant_products(short_form)
    if len(meant) == 1:
        return meant[0].standard_name
    words, size_gb = told_apart(short_form)
    return Product(".".join(words) or "unknown", size_gb, None, is_known=False).standard_name


def nearest_known(short_form: str) -> str | None:
    """The short form of a model of the table that is written most like this one."""
    written = "-".join(told_apart(short_form)[0])
    known = [model.replace(".", "-") for model in MODELS]
    near = difflib.get_close_matches(written, known, n=1, cutoff=_SUGGESTIONS_CUTOFF)
    return near[0] if near else None


@cache
def known_products() -> tuple[Product, ...]:
    """Every product of the table, by model and size."""
    return tuple(
        Product(name, size, model.generation, is_known=True)
        for name, model in MODELS.items()
        for size in model.sizes_gb
    )


def _fits(short_form: str, it: Product) -> bool:
    words, size_gb = told_apart(short_form)
    wanted, have = set(words), set(it.model.split("."))
    if not words and size_gb is None:
        return False
    is_size = size_gb is None or size_gb == it.memory_gb
    return is_size and wanted <= have and not (have & VARIANTS) - wanted
