"""Which distribution a rollout has."""

from __future__ import annotations

from pathlib import Path

import pytest

from ionetctl.app.open_distributor import open_distributor
from ionetctl.core.errors import ConfigurationError
from ionetctl.distribution.distributor import EVERYTHING_PUSHED, Fanout
from ionetctl.distribution.exchange import Origin, Request
from ionetctl.inventory.describe import describe_inventory
from ionetctl.inventory.load import load_text
from ionetctl.inventory.yaml.problems import InventoryError
from tests.support.clock import ManualClock
from tests.support.fakes import Emitted

BASE = (Path(__file__).parents[1] / "inventory/cases/base.yaml").read_text()
REQUEST = Request("a", None, frozenset(), can_serve=False)  # type: ignore[arg-type]


def with_lines(*lines: str, nomad_mirror: str = ""):  # type: ignore[no-untyped-def]  # noqa: ANN201
    text = "\n".join([*lines, BASE, "hosts: [{name: a, region: eu}]\n"])
    if nomad_mirror:
        text = text.replace(
            "device_plugin_version: 1.1.0", f"device_plugin_version: 1.1.0, mirror: {nomad_mirror}"
        )
        assert nomad_mirror in text
    return load_text(text.encode(), "site.yaml", "/site")


def test_all_is_pushed_unless_asked_otherwise() -> None:
    """Neither inventory nor command line says anything; nor does the inventory that is shown."""
    inventory = with_lines()
    assert open_distributor(inventory, None, ManualClock(), Emitted()) is EVERYTHING_PUSHED
    assert describe_inventory(inventory).keys() & {"distribution", "mirror"} == set()


def test_command_line_wins() -> None:
    """It is asked before the inventory."""
    inventory = with_lines("distribution: fanout")
    assert isinstance(open_distributor(inventory, None, ManualClock(), Emitted()), Fanout)
    assert open_distributor(inventory, "push", ManualClock(), Emitted()) is EVERYTHING_PUSHED


@pytest.mark.parametrize(
    ("lines", "nomad_mirror", "expected"),
    [
        (("mirror: http://10.20.0.5:8480/",), "", "http://10.20.0.5:8480"),
        (("mirror: https://m.example/packed",), "https://other.example", "https://m.example/packed"),
        ((), "https://other.example", "https://other.example"),
    ],
)
async def test_mirror_of_the_hosts(lines: tuple[str, ...], nomad_mirror: str, expected: str) -> None:
    """Their own where there is one, else the controller's."""
    inventory = with_lines("distribution: mirror", *lines, nomad_mirror=nomad_mirror)
    source = await open_distributor(inventory, None, ManualClock(), Emitted()).acquire(REQUEST)
    assert (source.origin, source.url) == (Origin.MIRROR, expected)
    assert describe_inventory(inventory)["distribution"] == "mirror"


@pytest.mark.parametrize("nomad_mirror", ["", "releases"])
def test_mirror_that_is_missing(nomad_mirror: str) -> None:
    """Hosts cannot fetch from a directory of the controller's."""
    inventory = with_lines("distribution: mirror", nomad_mirror=nomad_mirror)
    with pytest.raises(ConfigurationError) as caught:
        open_distributor(inventory, None, ManualClock(), Emitted())
    assert caught.value.code == "mirror_missing"


@pytest.mark.parametrize(
    "written",
    ["ftp://m.example", "http://user:pw@m.example", "http://m.example/?a=1", "http://m.example/a%20b", "dir"],
)
def test_mirror_that_is_refused(written: str) -> None:
    """No other scheme, no password, nothing that a shell or a server could read otherwise; never quoted."""
    with pytest.raises(InventoryError) as caught:
        with_lines(f"mirror: {written}")
    assert "pw" not in str(caught.value)


def test_distribution_that_is_refused() -> None:
    """Another word is an error."""
    with pytest.raises(InventoryError, match="push"):
        with_lines("distribution: torrent")
