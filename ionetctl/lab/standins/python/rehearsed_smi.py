"""Stands for nvidia-smi on a rehearsal host: lists the GPUs of ``gpus.json`` (``-L``) or prints ``--query-gpu`` as CSV."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

JsonObject = dict[str, Any]

NOT_COMMUNICATING: Final = 9
MISMATCH: Final = 18
HANG_S: Final = 60.0
FIELDS: Final = {
    "display_active": "has_display",
    "ecc.errors.corrected.aggregate.total": "memory_health.ecc_corrected",
    "ecc.errors.uncorrected.aggregate.total": "memory_health.ecc_uncorrected",
    "ecc.mode.current": "memory_health.is_ecc_on",
    "gpu_bus_id": "pci_bus_id",
    "gpu_name": "name",
    "gpu_uuid": "uuid",
    "index": "index",
    "memory.total": "memory_mib",
    "mig.mode.current": "is_mig_on",
    "name": "name",
    "pci.bus_id": "pci_bus_id",
    "pcie.link.gen.current": "link.generation",
    "pcie.link.gen.max": "link.generation_max",
    "pcie.link.width.current": "link.width",
    "pcie.link.width.max": "link.width_max",
    "persistence_mode": "is_persistent",
    "power.default_limit": "power_default_w",
    "power.limit": "power_limit_w",
    "power.max_limit": "power_max_w",
    "retired_pages.pending": "memory_health.pending_repair",
    "temperature.gpu": "temperature_c",
    "utilization.gpu": "utilization_percent",
    "uuid": "uuid",
}
"""Field of ``--query-gpu`` → the path of its value in a GPU's JSON object."""


def main(arguments: list[str]) -> int:
    """Print the list or the fields; returns the exit status."""
    driver = _driver()
    if driver is None:
        return NOT_COMMUNICATING
    queries = [each for each in arguments if each.startswith("--query-gpu=")]
    fields = queries[-1].partition("=")[2].split(",") if queries else []
    lost = [card for card in driver["gpus"] if card["is_lost"]]
    for card in (card for card in driver["gpus"] if not card["is_lost"]):
        if fields:
            print(", ".join(_value(driver, card, field.strip()) for field in fields))
        else:
            print(f"GPU {card['index']}: {card['name']} (UUID: {card['uuid']})")
    for card in lost:
        address = card["pci_bus_id"]
        print(f"Unable to determine the device handle for GPU{address}: GPU is lost")
    return 15 if lost else 0


def _driver() -> JsonObject | None:
    """The driver; prints the reason and returns ``None`` when it does not answer."""
    path = Path(os.environ["IONET_ROOT"], "run/lab/gpus.json")
    driver: JsonObject = json.loads(path.read_text()) if path.is_file() else {"status": NOT_COMMUNICATING}
    if driver["status"] == 0:
        return driver
    if driver["status"] < 0:
        time.sleep(HANG_S)
    if driver["status"] == MISMATCH:
        print("Failed to initialize NVML: Driver/library version mismatch")
    else:
        message = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
        print(message, file=sys.stderr)
    return None


def _value(driver: JsonObject, card: JsonObject, field: str) -> str:
    if field == "driver_version":
        return str(driver["version"])
    value: Any = card if field in FIELDS else None
    for key in FIELDS.get(field, "").split("."):
        value = value and value[key]
    if value is None:
        return "[N/A]"
    if isinstance(value, bool):
        return "Enabled" if value else "Disabled"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
