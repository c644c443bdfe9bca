"""Whatever stands in an inventory, it is read or refused: nothing else is raised."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ionetctl.inventory.describe import describe_inventory, json_schema
from ionetctl.inventory.load import load_inventory, load_text
from ionetctl.inventory.yaml.problems import InventoryError
from tests.support.absurd import absurd_documents

ROOT = Path(__file__).parents[2]
BASE = yaml.load((ROOT / "inventories" / "datacenter.yaml").read_text(), Loader=yaml.BaseLoader)  # noqa: S506  (texts only)
KEYS = sorted({key for found in json_schema()["$defs"].values() for key in found.get("properties", {})})

_texts = st.sampled_from(
    ["", "a", "1", "eu-north", "a[1-3]", "[1-2]", "[", "none", "ops@a:1", "auto"]
) | st.text(max_size=8)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | _texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def _is_read_or_refused(text: bytes) -> bool:
    try:
        inventory = load_text(text, "x", "/d")
    except InventoryError as error:
        return bool(error.problems)
    return bool(json.dumps(describe_inventory(inventory)))


@pytest.mark.parametrize("key", [*BASE, "unknown"])
@given(value=_values)
@settings(max_examples=40)
def test_any_section_is_read_or_refused(key: str, value: Any) -> None:
    """A section may hold anything at all."""
    assert _is_read_or_refused(json.dumps({**BASE, key: value}).encode())


@given(value=st.dictionaries(st.sampled_from(KEYS), _values, max_size=4))
def test_any_host_is_read_or_refused(value: dict[str, Any]) -> None:
    """So may a host."""
    assert _is_read_or_refused(json.dumps({**BASE, "hosts": [value]}).encode())


@given(
    text=st.binary(max_size=60) | st.text(alphabet="ab:-[]{},&*!|>'\"%@#? \n\t", max_size=60).map(str.encode)
)
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    """And so may the file."""
    assert _is_read_or_refused(text)


@pytest.mark.parametrize("section", BASE)
def test_any_value_of_the_sample_is_read_or_refused(section: str) -> None:
    """Each field of the sample inventory in turn, with numbers, texts, lists and mappings of every kind."""
    for where, text in absurd_documents({section: BASE[section]}):
        rest = json.dumps({key: value for key, value in BASE.items() if key != section})
        try:
            assert _is_read_or_refused(text[:-1] + b", " + rest[1:].encode())
        except Exception as error:
            raise AssertionError(where) from error


def test_host_key_with_an_ellipsis_is_refused_with_its_place() -> None:
    """The example of a host key as documentation writes it, copied as it stands."""
    case = ROOT / "tests" / "inventory" / "cases" / "hostkey-ellipsis.yaml"
    with pytest.raises(
        InventoryError, match="is neither a whole public key nor a SHA256: fingerprint"
    ) as caught:
        load_inventory(str(case))
    assert [(each.place.line, each.field) for each in caught.value.problems] == [
        (11, "hosts[0].ssh.host_key")
    ]


SECRET_FIELDS = ("token", "password", "passphrase", "become_password", "key")


@pytest.mark.parametrize(
    "written", ["{hunter2}", "{hunter2: x, hunter2: y}", "{? hunter2}", "*hunter2", "[hunter2]"]
)
@pytest.mark.parametrize("field", SECRET_FIELDS)
def test_secret_is_not_echoed(field: str, written: str) -> None:
    """A secret that was written where its source is to be named, as a mapping's key or otherwise, is in no message."""
    where = {
        "token": f"regions: {{eu: {{api: [https://a:1], servers: [a], token: {written}, tls: {{ca: a}}}}}}",
        "key": f"regions: {{eu: {{tls: {{ca: a, client: {{cert: a, key: {written}}}}}}}}}",
    }.get(field, f"hosts: [{{name: a, ssh: {{{field}: {written}}}}}]")
    with pytest.raises(InventoryError) as caught:
        load_text(f"version: 1\n{where}\n".encode(), "x", "/d")
    shown = f"{caught.value.message} {caught.value.hint}"
    assert ("hunter2" in shown, field in shown or "alias" in shown) == (False, True)


def test_an_inventory_travels_between_processes() -> None:
    """An inventory is the same after pickling."""
    inventory = load_inventory(str(ROOT / "inventories" / "datacenter.yaml"))
    assert pickle.loads(pickle.dumps(inventory)) == inventory  # noqa: S301  (our own bytes)
