"""Matches the short forms of inventories (``rtx-4090``, ``h100-80gb``) with products. Pure."""

from __future__ import annotations

import difflib
from functools import cache, lru_cache
from typing import Final

from ionetctl.gpu.model_table import MODELS
from ionetctl.gpu.standard_names import CACHED, Product, model_words, product

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
"""Words that make a different model: a short form without them does not match a model with them."""
_SUGGESTIONS_CUTOFF: Final = 0.6


@lru_cache(maxsize=CACHED)
def is_meant_by(short_form: str, name: str, memory_mib: int | None = None) -> bool:
    """Whether a short form matches a product as NVML names it; for a MIG device, whether it matches its GPU.

    All words of the short form must be in the standard name, so ``h100-80gb`` fits SXM and PCIe; and the standard name
    has no variant word that the short form lacks, so ``rtx-4080`` does not fit an RTX 4080 SUPER.
    """
    return _fits(short_form, product(name, memory_mib))


def matches_any_known(short_form: str) -> bool:
    """Whether a short form matches a model of the table; it may also mean a model newer than the table."""
    return any(_fits(short_form, known) for known in known_products())


def meant_products(short_form: str) -> tuple[Product, ...]:
    """The products of the table that a short form matches."""
    return tuple(known for known in known_products() if _fits(short_form, known))


def standard_name_of(short_form: str) -> str:
    """The standard name of the only product that matches; else a name made from the words of the short form."""
    meant = meant_products(short_form)
    if len(meant) == 1:
        return meant[0].standard_name
    words, size_gb = model_words(short_form)
    return Product(".".join(words) or "unknown", size_gb, None, is_known=False).standard_name


def nearest_known(short_form: str) -> str | None:
    """The short form of the model of the table that is spelled most like this one, or ``None``."""
    written = "-".join(model_words(short_form)[0])
    known = [model.replace(".", "-") for model in MODELS]
    near = difflib.get_close_matches(written, known, n=1, cutoff=_SUGGESTIONS_CUTOFF)
    return near[0] if near else None


@cache
def known_products() -> tuple[Product, ...]:
    """Every product of the table: one for each model and size."""
    return tuple(
        Product(name, size, model.generation, is_known=True)
        for name, model in MODELS.items()
        for size in model.sizes_gb
    )


def _fits(short_form: str, candidate: Product) -> bool:
    words, size_gb = model_words(short_form)
    wanted, have = set(words), set(candidate.model.split("."))
    if not words and size_gb is None:
        return False
    is_size = size_gb is None or size_gb == candidate.memory_gb
    return is_size and wanted <= have and not (have & VARIANTS) - wanted
