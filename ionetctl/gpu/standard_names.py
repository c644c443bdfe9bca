"""Converts NVML's product names to standard names (``nvidia.rtx.4090.24gb``). Pure.

The memory size comes from the table of models, since ECC and firmware reduce what the driver reports. Products that are
not in the table get a name made from their own, and are marked as unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ionetctl.gpu.model_table import ALIASES, FOREIGN_SIZES, MODELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.gpu.model_table import Generation

CACHED: Final = 1024
"""How many answers are kept: a fleet has 80,000 cards of a few names."""
_MIB_PER_GB: Final = 1024
_LEAST_SHARE: Final = 0.85
"""Of the size as sold: ECC takes 1/16, firmware and rounding to GiB or 10⁹ bytes some more (B300: 0.93)."""
_MOST_SHARE: Final = 1.05
_WORDS_MAX: Final = 8
_WORD_LENGTH_MAX: Final = 16

_NOISE: Final = frozenset(
    [
        "nvidia",
        "corporation",
        "geforce",
        "tesla",
        "gpu",
        "with",
        "design",
        "generation",
        "edition",
        "hbm2",
        "hbm2e",
        "hbm3",
        "hbm3e",
    ]
)
"""Words of product names that do not distinguish models."""
_SAME: Final = {"sxm2": "sxm", "sxm3": "sxm", "sxm4": "sxm", "sxm5": "sxm", "sxm6": "sxm"}
_MIG: Final = re.compile(r"\bmig[\s.]+(?P<profile>\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Product:
    """A GPU model with its memory size, or a MIG device of one.

    ``is_known``: the model is in the table, with this size where the size is known. ``generation`` is set for every
    model of the table, whatever its size; ``mig_profile`` is NVML's name of a MIG profile (``1g.5gb``).
    """

    model: str
    memory_gb: int | None
    generation: Generation | None
    is_known: bool
    mig_profile: str | None = None

    @property
    def standard_name(self) -> str:
        """The standard name: ``nvidia.<model>[.<n>gb][.mig.<profile>]``."""
        whole = f"nvidia.{self.model}" + (f".{self.memory_gb}gb" if self.memory_gb else "")
        return with_mig(whole, self.mig_profile) if self.mig_profile else whole


@lru_cache(maxsize=CACHED)
def product(name: str, memory_mib: int | None = None) -> Product:
    """The product of an NVML name; never raises, whatever the name.

    ``memory_mib`` is the size that the driver reports: it selects one of the sizes that the model was sold with, and is
    used itself where the model is unknown or the card has a size that was never sold.
    """
    mig = _MIG.search(name)
    words, named_gb = model_words(name[: mig.start()] if mig else name)
    model = model_of(words)
    named_gb = FOREIGN_SIZES.get(model, {}).get(named_gb or 0, named_gb)
    known = MODELS.get(model)
    sizes = known.sizes_gb if known else ()
    size = named_gb or _size(sizes, memory_mib)
    return Product(
        model=model,
        memory_gb=size,
        generation=known.generation if known else None,
        is_known=known is not None and (size is None or size in sizes),
        mig_profile=mig["profile"].lower() if mig else None,
    )


def standard_name(name: str, memory_mib: int | None = None) -> str:
    """The standard name of a product, for example ``nvidia.rtx.4090.24gb`` for ``NVIDIA GeForce RTX 4090``."""
    return product(name, memory_mib).standard_name


def is_known(name: str, memory_mib: int | None = None) -> bool:
    """Whether a product is in the table, with this size."""
    return product(name, memory_mib).is_known


def with_mig(standard: str, profile: str) -> str:
    """The standard name of a MIG device: ``nvidia.a100.pcie.40gb`` and ``1g.5gb`` to ``….mig.1g.5gb``, ``+me`` to ``.me``."""
    parts = re.findall(r"[a-z0-9]+", profile.lower())
    return ".".join([standard, "mig", *(part[:_WORD_LENGTH_MAX] for part in parts[:_WORDS_MAX])])


def model_words(text: str) -> tuple[list[str], int | None]:
    """The words of a name that distinguish models, in lower case, and the memory size in GB in the name, if any."""
    spaced = re.sub(r"\bmax-?q\b", " maxq ", text.lower())
    spaced = re.sub(r"\b(rtx|gtx|gt)(\d)", r"\1 \2", spaced)
    spaced = re.sub(r"(\d)(ti|super)\b", r"\1 \2", spaced)
    spaced = re.sub(r"\b(\d090)d\b", r"\1 d", spaced)
    spaced = re.sub(r"\b(\d{1,3})\s?gb?\b", r"\1gb", spaced)
    words = [_SAME.get(word, word) for word in re.findall(r"[a-z0-9]+", spaced)]
    sizes = [word for word in words if re.fullmatch(r"\d{1,3}gb", word)]
    rest = [word[:_WORD_LENGTH_MAX] for word in words if word not in _NOISE and word not in sizes]
    return rest[:_WORDS_MAX], int(sizes[0].removesuffix("gb")) or None if sizes else None


def model_of(words: Sequence[str]) -> str:
    """The model for the words of ``model_words``, as in standard names."""
    model = ".".join(words) or "unknown"
    return ALIASES.get(model, model)


def _size(sold_gb: Sequence[int], memory_mib: int | None) -> int | None:
    """The size as sold that is nearest to what the driver reports, else the reported size, in GB."""
    if not memory_mib or memory_mib < 0:
        return sold_gb[0] if len(sold_gb) == 1 else None
    read_gb = memory_mib / _MIB_PER_GB
    near = [size for size in sold_gb if _LEAST_SHARE * size <= read_gb <= _MOST_SHARE * size]
    return min(near, key=lambda size: abs(size - read_gb)) if near else max(1, round(read_gb))
