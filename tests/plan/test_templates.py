"""Values come out of templates as literals, and what cannot be one is refused."""

from __future__ import annotations

import pytest

from ionetctl.core.errors import ConfigurationError
from ionetctl.plan.templates import RENDERED, hcl_environment, hcl_literal, render, static, text_environment


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("plain", '"plain"'),
        ("${x}", '"\\u0024{x}"'),
        ("$${x}", '"$\\u0024{x}"'),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (1.5, "1.5"),
        (["a", 1], '["a", 1]'),
        ((), "[]"),
        ({"k": "v"}, '{\n    "k" = "v"\n  }'),
        ("😀", '"😀"'),
    ],
)
def test_literals(value: object, literal: str) -> None:
    """Each kind of value has one literal."""
    assert hcl_literal(value) == literal


def test_null_has_no_literal() -> None:
    """HCL 1 has no null, and a template must not print one."""
    with pytest.raises(ConfigurationError, match="NoneType"):
        hcl_environment().from_string("{{ x }}").render(x=None)


def test_text_refuses_null() -> None:
    """A unit file that says None is a mistake that nobody would see."""
    with pytest.raises(ConfigurationError, match="null"):
        text_environment().from_string("{{ x }}").render(x=None)


@pytest.mark.parametrize("name", ["client.hcl.j2", "nomad.service.j2"])
def test_missing_name_is_an_error(name: str) -> None:
    """What the context lacks is named, with the template."""
    with pytest.raises(ConfigurationError) as caught:
        render(name, {})
    assert (caught.value.code, caught.value.message.split(":")[0]) == ("template_invalid", name)


def test_unknown_template_is_an_error() -> None:
    """A template that is not there is named."""
    with pytest.raises(ConfigurationError) as caught:
        render("nosuch.hcl.j2", {})
    assert caught.value.code == "template_invalid"


def test_template_is_rendered_once_for_what_it_says() -> None:
    """What a template does not name makes no difference to it; each value that it names does, by type too."""
    given = {"plugin": "nomad-device-nvidia", "ignored_gpus": ["GPU-1"]}
    assert render("nvidia.hcl.j2", given) is render("nvidia.hcl.j2", {**given, "node_name": "g2"})
    others: tuple[list[object], ...] = ([], ["GPU-2"], [1], [True])
    found = {render("nvidia.hcl.j2", {**given, "ignored_gpus": other}) for other in others}
    assert len(found) == len(others)


def test_no_more_renderings_are_kept_than_that() -> None:
    """Those of thousands of hosts are not; what was dropped is rendered again."""
    given = {"plugin": "nomad-device-nvidia", "ignored_gpus": []}
    before = render("nvidia.hcl.j2", given)
    for number in range(RENDERED):
        render("nvidia.hcl.j2", {**given, "ignored_gpus": [f"GPU-{number}"]})
    after = render("nvidia.hcl.j2", given)
    assert (after == before, after is before) == (True, False)


def test_what_has_nothing_to_fill_in_stays_as_it_is() -> None:
    """The braces of the door's job are for Nomad to read."""
    assert "{{ .word }}" in static("door.nomad.hcl")
