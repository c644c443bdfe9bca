"""Hints about an inventory that is valid and probably not as intended. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ionetctl import gpu
from ionetctl.core.plural import counted
from ionetctl.inventory.yaml.problems import quoted

if TYPE_CHECKING:
    from ionetctl.core.model.inventory import Inventory


def hints_for(inventory: Inventory) -> tuple[str, ...]:
    """A line for each GPU model that matches no known one, sorted; it may be a model newer than the table."""
    models = Counter(host.gpus.model for host in inventory.hosts if host.gpus.model)
    return tuple(_hint(model, models[model]) for model in sorted(models) if not gpu.matches_any_known(model))


def _hint(model: str, hosts: int) -> str:
    nearest = gpu.nearest_known(model)
    question = f": did you mean {nearest}?" if nearest else ""
    return f"gpus.model {quoted(model)} ({counted(hosts, 'host')}) fits no GPU that ionetctl knows{question}"
