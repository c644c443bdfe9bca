"""GPU names: NVML's product names to standard names (``nvidia.rtx.4090.24gb``), and what short forms mean.

Pure text and a table; knows nothing of hosts, regions or inventories.
"""

from ionetctl.gpu.names import Product, is_known, product, standard_name, with_mig
from ionetctl.gpu.short_forms import (
    is_meant_by,
    matches_any_known,
    meant_products,
    nearest_known,
    standard_name_of,
)

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
