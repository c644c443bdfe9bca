"""The filter language: which documents match, and go-bexpr's errors."""

from __future__ import annotations

import pytest

from ionetctl.lab.region.api.filter_language import FilterError, compile_filter

NODE = {
    "Name": "gpu3",
    "Status": "ready",
    "Drain": False,
    "CreateIndex": 44,
    "Meta": {"rack": "a01", "empty": ""},
    "Attributes": {"cpu.numcores": "64"},
    "Events": None,
    "Tags": ["a", "b"],
    "Drivers": {"docker": {"Healthy": True}, "exec": {"Healthy": False}},
    "NodeResources": {"Devices": [{"Name": "4090", "Ids": ["x"]}, {"Name": "3080", "Ids": []}]},
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('Name == "gpu3"', True),
        ('Name != "gpu3"', False),
        ("Name == `gpu3`", True),
        ("Name == gpu3", True),
        ('Meta.rack == "a01" and Status == "ready"', True),
        ('Meta.rack == "a02" or Status == "ready"', True),
        ('Meta.rack == "a02" or Status == "down"', False),
        ('not Status == "down"', True),
        ('not (Status == "ready" and Drain == true)', True),
        ('Meta.missing == "x"', False),
        ('Meta.missing != "x"', True),
        ('Meta.rack.deeper == "x"', False),
        ('Attributes["cpu.numcores"] == "64"', True),
        ("Drain == false", True),
        ("Drain == true", False),
        ("CreateIndex == 44", True),
        ("CreateIndex == x", False),
        ('Name matches "^gpu[0-9]$"', True),
        ('Name not matches "^cpu"', True),
        ('Name contains "pu"', True),
        ('Name not contains "pu"', False),
        ('Tags contains "a"', True),
        ('Meta contains "rack"', True),
        ('"a" in Tags', True),
        ('"c" not in Tags', True),
        ('"rack" in Meta', True),
        ("Meta.empty is empty", True),
        ("Meta.missing is empty", True),
        ("Events is empty", True),
        ('Events == ""', True),
        ('Meta.missing matches "^$"', True),
        ("Tags is not empty", True),
        ("Drivers.docker.Healthy == true", True),
        ('any NodeResources.Devices as d { d.Name == "4090" }', True),
        ('all NodeResources.Devices as d { d.Name == "4090" }', False),
        ('any NodeResources.Devices as d { any d.Ids as i { i == "x" } }', True),
        ('any Drivers as name { name == "exec" }', True),
        ("any Drivers as name, driver { driver.Healthy == true }", True),
        ('any NodeResources.Devices as i, d { i == 1 and d.Name == "3080" }', True),
        ('any Events as e { e == "x" }', False),
        ('NodeResources.Devices.1.Name == "3080"', True),
        ('NodeResources.Devices.7.Name == "3080"', False),
        (r'Name == "gpu\"3"', False),
    ],
)
def test_matches(expression: str, *, expected: bool) -> None:
    """Comparison, membership, quantifiers; a missing key of a map is no error."""
    assert compile_filter(expression)(NODE) is expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("bogus ==", r'1:9 \(8\): no match found, expected: "-", "0", "\\""'),
        ("", "no match found"),
        ('Name = "x"', "no match found"),
        ('Name == "x" Status', "expected: EOF"),
        ('Name is "x"', 'expected: "empty"'),
        ('Name == "x" and', "no match found"),
        ("Name", "unexpected end"),
        ("Name 5", 'expected: "!="'),
        ('"x" Tags', 'expected: "in"'),
        ('Name matches "["', "failed to compile regular expression"),
        ('any Tags as { d == "x" }', "no match found"),
        ('any Tags as d d == "x" }', 'expected: "{"'),
        ("not " * 40 + "Drain == true", "too deeply nested"),
        ('(Name == "x"', r'expected: "\)"'),
    ],
)
def test_invalid_expressions(expression: str, message: str) -> None:
    """Every error has line and column."""
    with pytest.raises(FilterError, match=message):
        compile_filter(expression)


def test_a_field_that_nodes_do_not_have_is_an_error() -> None:
    """Unlike a missing key of a map, an unknown field of the node itself is refused."""
    with pytest.raises(FilterError, match='struct field with name "Bogus"'):
        compile_filter('Bogus.x == "y"')(NODE)
