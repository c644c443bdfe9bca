"""GPU names: NVML's product names to standard names (``nvidia.rtx.4090.24gb``), matching of short forms. Pure."""

from ionetctl.gpu.short_forms import (
    is_meant_by,
    matches_any_known,
    meant_products,
    nearest_known,
    standard_name_of,
)
from ionetctl.gpu.standard_names import Product, is_known, product, standard_name, with_mig

__all__ = [
    "Product",
    "is_known",
    "is_meant_by",
    "matches_any_known",
    "meant_products",
    "nearest_known",
    "product",
    "standard_name",
    "standard_name_of",
    "with_mig",
]
