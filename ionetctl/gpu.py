"""GPU names: from NVML's product names to standard names (``nvidia.rtx.4090.24gb``), and what short forms mean.

Pure text. The memory part of a standard name comes from the table where the model is known, since ECC and firmware
lower what the driver reads; an unknown model keeps a readable name of its own, with the driver's figure rounded.
"""

from __future__ import annotations

import re
from typing import Final

_MIB_PER_GB: Final = 1024
_NOISE: Final = frozenset({"nvidia", "geforce", "tesla", "quadro", "graphics", "device", "gpu"})

MEMORY_GB: Final[dict[str, int]] = {
    "gtx.1060": 6,
    "gtx.1070": 8,
    "gtx.1070.ti": 8,
    "gtx.1080": 8,
    "gtx.1080.ti": 11,
    "gtx.1660": 6,
    "gtx.1660.super": 6,
    "gtx.1660.ti": 6,
    "rtx.2060": 6,
    "rtx.2060.super": 8,
    "rtx.2070": 8,
    "rtx.2070.super": 8,
    "rtx.2080": 8,
    "rtx.2080.super": 8,
    "rtx.2080.ti": 11,
    "rtx.3060": 12,
    "rtx.3060.ti": 8,
    "rtx.3070": 8,
    "rtx.3070.ti": 8,
    "rtx.3080": 10,
    "rtx.3080.ti": 12,
    "rtx.3090": 24,
    "rtx.3090.ti": 24,
    "rtx.4070": 12,
    "rtx.4070.ti": 12,
    "rtx.4080": 16,
    "rtx.4080.super": 16,
    "rtx.4090": 24,
    "rtx.5080": 16,
    "rtx.5090": 32,
    "rtx.a4000": 16,
    "rtx.a5000": 24,
    "rtx.a6000": 48,
    "a10": 24,
    "a30": 24,
    "a40": 48,
    "l4": 24,
    "l40": 48,
    "l40s": 48,
    "t4": 16,
}
"""Memory of models that were sold with one size only, in GB as sold (the vendor's product pages)."""


def _words(name: str) -> list[str]:
    """The telling words of a name, in lower case, sizes (``80gb``) kept as words of their own."""
    text = re.sub(r"(\d)\s*(ti|super)\b", r"\1 \2", name.lower())
    words = re.split(r"[\s_.\-/]+", re.sub(r"\b(\d+)\s?gb\b", r"\1gb", text))
    return [word for word in words if word and word not in _NOISE]


def standard_name(name: str, memory_mib: int | None = None) -> str:
    """The standard name of a product, for example ``nvidia.rtx.4090.24gb`` for ``NVIDIA GeForce RTX 4090``.

    ``memory_mib`` is the driver's figure, used only where neither name nor table say the size.
    """
    words = _words(name)
    sizes = [word for word in words if re.fullmatch(r"\d+gb", word)]
    shape = [
        {"sxm2": "sxm", "sxm3": "sxm", "sxm4": "sxm", "sxm5": "sxm", "pcie": "pcie"}.get(word, word)
        for word in words
    ]
    model = ".".join(word for word in shape if word not in sizes and word != "hbm3") or "unknown"
    if sizes:
        return f"nvidia.{model}.{sizes[0]}"
    memory_gb = MEMORY_GB.get(model) or (round(memory_mib / _MIB_PER_GB) if memory_mib else None)
    return f"nvidia.{model}.{memory_gb}gb" if memory_gb else f"nvidia.{model}"


def is_meant_by(short_form: str, name: str, memory_mib: int | None = None) -> bool:
    """Whether a product is one that an inventory's short form means.

    A short form is a predicate: all its words must be in the standard name, so ``h100-80gb`` fits SXM and PCIe, while
    ``rtx-4080`` does not fit an RTX 4080 SUPER: suffixes that make another model are part of the model.
    """
    wanted = set(_words(short_form))
    have = set(standard_name(name, memory_mib).split("."))
    return wanted <= have and not (have & {"ti", "super"}) - wanted
