"""What an inventory may not say beside ``licence: mpl-only``, and where it is told so."""

from __future__ import annotations

import pytest

from ionetctl.inventory.load import load_text
from ionetctl.inventory.yaml.problems import InventoryError

TEXT = """\
version: 1
datacenter: d
regions:
  r:
    api: ["https://n.example:4646"]
    servers: ["n.example:4647"]
    token: {env: T}
    tls: {ca: ca.pem, node: {cert: c.pem, key: {file: k.pem}}}
    introduction: INTRODUCTION
nomad:
  version: VERSION
  device_plugin_version: 1.1.0
  licence: mpl-only
hosts: [{name: h1, region: r}]
"""


def text_of(version: str, introduction: str) -> str:
    return TEXT.replace("VERSION", version).replace("INTRODUCTION", introduction)


def problems_of(text: str) -> list[tuple[str, int, str]]:
    with pytest.raises(InventoryError) as caught:
        load_text(text.encode(), "x.yaml", "/d")
    return [(each.field, each.place.line, f"{each.message} | {each.hint}") for each in caught.value.problems]


def test_release_under_another_licence() -> None:
    """It is refused where it stands, with the last releases that are not, and what these lack."""
    ((field, line, said),) = problems_of(text_of("2.0.5", "auto"))
    assert (field, line) == ("nomad.version", 11)
    assert all(words in said for words in ("2.0.5", "1.5.12 and 1.6.5", "introduction", "default_ineligible"))


def test_required_introductions() -> None:
    """They contradict it where they are required, and both problems are told at once."""
    told = [(field, line) for field, line, _ in problems_of(text_of("1.6.6", "required"))]
    assert told == [("regions.r.introduction", 9), ("nomad.version", 11)]


@pytest.mark.parametrize("introduction", ["auto", "off"])
def test_release_under_the_mpl(introduction: str) -> None:
    """It is taken, where nothing needs a later one."""
    assert load_text(text_of("1.6.5", introduction).encode(), "x.yaml", "/d").nomad.licence == "mpl-only"


@pytest.mark.parametrize("version", ["2.0.5", "2.0.5+ent", "1.6.5+a+b"])
def test_every_release_without_it(version: str) -> None:
    """Who does not ask for a licence may have any."""
    text = text_of(version, "required").replace("  licence: mpl-only\n", "")
    assert load_text(text.encode(), "x.yaml", "/d").nomad.licence is None
