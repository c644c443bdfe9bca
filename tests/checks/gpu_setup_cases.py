"""Cases of the checks of how GPUs are set up."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ionetctl.core.observed import MigInstance
from tests.checks.host_case import CARD, Case

CASES: Final = (
    Case(
        ("mig_on info",),
        card={"is_mig_on": True, "mig": (MigInstance("MIG-1", "1g.5gb"), MigInstance("MIG-2", "1g.5gb"))},
        second={"is_mig_on": True, "mig": (MigInstance("MIG-3", "7g.40gb"),)},
        message="GPUs 0 and 1 split into 3 MIG instances",
    ),
    Case(
        ("mig_empty warn", "mig_on info"),
        card={"is_mig_on": True, "mig": (MigInstance("MIG-1", "1g.5gb"),)},
        second={"is_mig_on": True},
        message="GPU 1 in MIG mode without an instance: the region will not see it",
    ),
    Case(
        ("mig_on info", "mig_mixed warn"),
        card={"is_mig_on": True, "mig": (MigInstance("MIG-1", "1g.5gb"),)},
    ),
    Case(card={"is_mig_on": None}),
    Case(("display_in_use info",), card={"has_display": True}, message="a display is driven by GPU 0"),
    Case(card={"has_display": None}),
    Case(
        ("fabric_not_ready block",),
        card={"fabric_state": "in_progress"},
        second={"fabric_state": "completed"},
        message="the NVLink fabric of GPU 0 is not ready: in_progress",
    ),
    Case(
        ("fabric_not_ready warn",),
        facts={"gpus": (replace(CARD, fabric_state="not_started"),)},
        machine={"gpus_on_bus": 1},
    ),
    Case(card={"fabric_state": "not_supported"}, second={"fabric_state": "completed"}),
    Case(("nvlink_down warn",), card={"nvlinks": 11, "nvlinks_max": 12}),
    Case(
        ("nvlink_down warn",),
        card={"nvlinks": 0, "nvlinks_max": 4},
        second={"nvlinks": 4, "nvlinks_max": 4},
        message="NVLinks of GPU 0 are down",
    ),
    Case(card={"nvlinks": 0, "nvlinks_max": 4}, second={"nvlinks": 0, "nvlinks_max": 4}),
    Case(card={"nvlinks": 4, "nvlinks_max": 4}),
    Case(card={"nvlinks": None, "nvlinks_max": 4}, second={"nvlinks": 4, "nvlinks_max": 4}),
    Case(card={"nvlinks": 0, "nvlinks_max": 0}, second={"nvlinks": 4, "nvlinks_max": 4}),
)
