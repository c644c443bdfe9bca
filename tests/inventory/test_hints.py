"""What is allowed in an inventory and probably not meant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ionetctl.core.model.host import GpuPromise
from ionetctl.core.model.inventory import Inventory, NomadSettings
from ionetctl.core.model.names import Digest
from ionetctl.inventory.hints import hints_for
from tests.support.sample import HOST


def inventory(*models: str | None) -> Inventory:
    """An inventory with a host of each model."""
    hosts = tuple(replace(HOST, gpus=GpuPromise(model, 8)) for model in models)
    return Inventory("site.yaml", "/", Digest(""), "as-written", {}, NomadSettings("2.0.5", "1.1.0"), hosts)


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (("rtx-4090", "h100-80gb", None), ()),
        (
            ("rxt-4090", "rtx-4090", "rxt-4090"),
            ("gpus.model 'rxt-4090' (2 hosts) fits no GPU that ionetctl knows: did you mean rtx-4090?",),
        ),
        (("zzzz",), ("gpus.model 'zzzz' (1 host) fits no GPU that ionetctl knows",)),
    ],
)
def test_models_that_nobody_knows_are_reported(
    models: tuple[str | None, ...], expected: tuple[str, ...]
) -> None:
    """A model that no known one fits is reported once with its hosts and its nearest; known ones are not."""
    assert hints_for(inventory(*models)) == expected
