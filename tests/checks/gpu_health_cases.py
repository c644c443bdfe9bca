"""Cases of the checks of the health of GPUs."""

from __future__ import annotations

from typing import Final

from ionetctl.core.observed import PcieLink, Xid
from tests.checks.host_case import Case, health, promised

CASES: Final = (
    Case(
        ("gpu_fell_off_bus block",),
        machine={"xids": (Xid(79, "0000:01:00", 1), Xid(79, "0000:01:00", 3))},
        message="fell off the bus since the last boot (Xid 79): 0000:01:00",
    ),
    Case(
        ("gpu_count_mismatch block", "gpu_fell_off_bus warn"),
        host=promised(count=0),
        machine={"xids": (Xid(79, "0000:01:00", 1),)},
    ),
    Case(
        ("gpu_xid warn", "gpu_xid info"),
        machine={"xids": (Xid(48, "0000:02:00", 2), Xid(31, "0000:01:00", 5))},
        message="the driver reported Xid 48 at 0000:02:00 (2x)",
    ),
    Case(
        ("gpu_xid info",),
        machine={"xids": (Xid(31, "0000:01:00", 1), Xid(13, "0000:02:00", 5))},
        message="the driver reported Xid 13 at 0000:02:00 (5x), Xid 31 at 0000:01:00 (1x)",
    ),
    *(
        Case(("gpu_xid warn",), machine={"xids": (Xid(code, "0000:51:00", 1),)})
        for code in (62, 95, 143, *range(145, 151), 154, 9999)
    ),
    *(Case(("gpu_xid info",), machine={"xids": (Xid(code, "0000:51:00", 1),)}) for code in (43, 45, 68, 109)),
    Case(
        ("gpu_xid warn",),
        machine={"xids": (Xid(95, "", 1),)},
        message="the driver reported Xid 95 at a card that is not named (1x)",
    ),
    Case(machine={"xids": None}),
    Case(("gpu_remap_failed block",), card=health(has_remap_failed=True)),
    Case(("gpu_remap_pending warn",), card=health(pending_repair=True)),
    Case(("gpu_ecc_errors warn",), card=health(ecc_uncorrected=1)),
    Case(("gpu_memory_retired warn",), card=health(retired_pages=2)),
    Case(("gpu_memory_retired warn",), card=health(remapped_uncorrected=1)),
    Case(card=health(ecc_uncorrected=0, retired_pages=0, remapped_uncorrected=0, ecc_corrected=9)),
    Case(
        ("pcie_width_low warn",),
        card={"link": PcieLink(1, 4, 1, 16)},
        second={"link": PcieLink(1, 4, 1, 16)},
        message="GPUs 0 and 1 on 1 of 16 PCIe lanes",
    ),
    Case(
        ("pcie_width_low warn", "pcie_width_low warn"),
        card={"link": PcieLink(1, 4, 8, 16)},
        second={"link": PcieLink(1, 4, 1, 16)},
        message="GPU 1 on 1 of 16 PCIe lanes",
    ),
    Case(card={"link": PcieLink(width=None, width_max=16)}, second={"link": PcieLink(width=16)}),
    Case(("gpu_hot warn",), card={"temperature_c": 95}, message="GPU 0 as hot as where cards slow down"),
    Case(card={"temperature_c": 94}),
    Case(card={"temperature_c": None}),
    Case(("gpu_hot warn",), card={"temperature_c": 90, "slowdown_c": None}),
    Case(card={"temperature_c": 89, "slowdown_c": None}),
    Case(("gpu_power_limited warn",), card={"power_limit_w": 404.9}),
    Case(card={"power_limit_w": 405.0}),
    Case(card={"power_limit_w": None}),
    Case(card={"power_limit_w": 1.0, "power_default_w": None}),
)
