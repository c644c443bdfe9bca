"""The inventory's reference says what the format has."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from ionetctl.inventory.describe import json_schema
from ionetctl.inventory.load import load_text

DOCS: Final = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference" / "inventory.md").read_text()
SCHEMA = json_schema()


def _fields(definition: str, prefix: str = "") -> list[str]:
    properties: dict[str, Any] = SCHEMA["$defs"][definition]["properties"]
    found = []
    for key, schema in properties.items():
        name = schema.get("$ref", "").rpartition("/")[2]
        is_section = name and name not in ("SecretFields", "PairFields", "IssuerFields")
        found += _fields(name, f"{prefix}{key}.") if is_section else [f"{prefix}{key}"]
    return found


@pytest.mark.parametrize("definition", ["HostEntry", "RegionFields", "NomadFields"])
def test_every_field_is_documented(definition: str) -> None:
    """Each field has its line in a table."""
    assert [field for field in _fields(definition) if f"`{field}`" not in REFERENCE] == []


def test_every_key_at_the_top_is_documented() -> None:
    """So has each key of the whole."""
    assert [key for key in SCHEMA["properties"] if f"| `{key}` |" not in REFERENCE] == []


def test_the_example_loads() -> None:
    """The inventory with which the reference opens is one."""
    (example,) = re.findall(r"```yaml\n(version: 1\n.*?)```", REFERENCE, re.DOTALL)
    assert len(load_text(example.encode(), "docs", "/d").hosts) == 24


def test_fragments_load_with_the_rest_of_the_example() -> None:
    """What the reference shows of precedence and ranges can be put into the example."""
    blocks = re.findall(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL)
    head = blocks[0].split("groups:")[0]
    loaded = [
        load_text((head + block + "\nhosts: [x1]\n" * ("hosts:" not in block)).encode(), "docs", "/d")
        for block in blocks[1:]
    ]
    assert [len(inventory.hosts) for inventory in loaded] == [1, 8]


HOST_KEY: Final = "AAAAC3NzaC1lZDI1NTE5AAAAIExEZ40vuZG76pOqOa/vJkzbEjRJ2Rvph9kSy8m/BpGf"
"""Of type ssh-ed25519; pages leave out the rest of theirs."""
FRAGMENTS: Final[list[Any]] = [
    pytest.param(textwrap.dedent(block), id=f"{page.relative_to(DOCS)}-{number}")
    for page in sorted(DOCS.rglob("*.md"))
    for number, block in enumerate(
        re.findall(r"^ *```yaml\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL), 1
    )
]


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_every_fragment_is_of_an_inventory(fragment: str) -> None:
    """Whatever YAML a page shows loads, with what it leaves out taken from the reference's example."""
    example = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL)[0])
    shown = yaml.safe_load(fragment.replace("AAAA…", HOST_KEY))
    if "hosts" in shown:
        del example["groups"]
    whole = {**example, **shown}
    whole["regions"] = {**example["regions"], "eu-west": example["regions"]["eu-north"]} | shown.get(
        "regions", {}
    )
    whole["defaults"] = {**example["defaults"], **shown.get("defaults", {})}
    for name, group in whole.get("groups", {}).items():
        group.setdefault("hosts", [f"{name}-1"])
    assert load_text(yaml.safe_dump(whole).encode(), "docs", "/d").hosts
