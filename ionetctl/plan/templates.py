"""Rendering of templates: one Jinja environment for HCL, one for other text.

In HCL templates every ``{{ value }}`` is rendered as a complete HCL 1 literal, so that no value can become syntax. A
name that the context lacks is an error, never an empty text. Values of the inventory are never rendered as templates.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
    TemplateError,
    Undefined,
)
from jinja2.meta import find_undeclared_variables

from ionetctl.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2 import BaseLoader

_JSON: Final = json.JSONEncoder(ensure_ascii=False)
RENDERED: Final = 256
"""How many renderings are kept: some templates say the same on every host."""
_TYPE_ERROR: Final = "a template may print text, numbers, booleans, lists and mappings, not {}"


def hcl_literal(value: object) -> str:
    r"""The HCL 1 literal of a value.

    Strings are JSON strings in UTF-8 with ``${`` written ``\u0024{``: HCL 1 parses those correctly for every character
    (but not escaped surrogate pairs), and an unbalanced ``${`` would be a syntax error. Mappings become blocks
    with a key a line. Raises ``ConfigurationError`` for anything that HCL 1 has no literal for, null included.
    """
    match value:
        case Undefined():
            return str(value)
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _JSON.encode(value).replace("${", "\\u0024{")
        case list() | tuple():
            return "[" + ", ".join(hcl_literal(item) for item in value) + "]"
        case dict():
            lines = (f"    {hcl_literal(str(key))} = {hcl_literal(item)}\n" for key, item in value.items())
            return "{\n" + "".join(lines) + "  }"
        case _:
            raise ConfigurationError("template_invalid", _TYPE_ERROR.format(type(value).__name__))


def _plain(value: object) -> object:
    """The value, as text templates print it; raises for null, which would be printed as ``None``."""
    if value is None:
        raise ConfigurationError("template_invalid", _TYPE_ERROR.format("null"))
    return value


def _environment(finalize: Callable[[object], object]) -> Environment:
    package = Path(__file__).resolve().parents[1]
    beside_package = package.parent / "templates"
    in_wheel = PackageLoader("ionetctl") if (package / "templates").is_dir() else None
    loaders = [in_wheel] if in_wheel is not None else [FileSystemLoader(beside_package)]
    return Environment(  # noqa: S701  (nothing here is HTML; HCL is made safe by literals)
        loader=ChoiceLoader(loaders),
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )


@cache
def hcl_environment() -> Environment:
    """The environment of HCL templates; made once."""
    return _environment(hcl_literal)


@cache
def text_environment() -> Environment:
    """The environment of all other templates; made once."""
    return _environment(_plain)


@cache
def _variables(environment: Environment, name: str) -> tuple[str, ...]:
    """The names that a template takes from its context."""
    source = cast("BaseLoader", environment.loader).get_source(environment, name)[0]
    return tuple(sorted(find_undeclared_variables(environment.parse(source))))


def static(name: str) -> str:
    """The text of a file beside the templates that has nothing to be filled in."""
    environment = text_environment()
    return cast("BaseLoader", environment.loader).get_source(environment, name)[0]


_rendered: Final[dict[str, bytes]] = {}


def render(name: str, context: Mapping[str, object]) -> bytes:
    """The rendered template ``name`` in UTF-8; the ending before ``.j2`` selects the environment.

    Raises ``ConfigurationError`` with code ``template_invalid``, naming template and line where there is one.
    """
    environment = hcl_environment() if name.endswith(".hcl.j2") else text_environment()
    try:
        given = [(each, context[each]) for each in _variables(environment, name) if each in context]
        key = f"{name} {given!r}"
        if key not in _rendered:
            content = environment.get_template(name).render(context).encode()
            if len(_rendered) >= RENDERED:
                _rendered.clear()
            _rendered[key] = content
        return _rendered[key]
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f"{name}:{line}" if line else name
        raise ConfigurationError(
            "template_invalid", f"{where}: {error.message or type(error).__name__}"
        ) from error
