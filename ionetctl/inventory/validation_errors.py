"""Pydantic's validation errors as problems for users: each with its place in the text, its field and a hint.

Uses only an error's type, its path and our own messages; never the input in it, which may be a secret.
"""

from __future__ import annotations

import difflib
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from ionetctl.inventory.schema.field_types import SECRET_SOURCES
from ionetctl.inventory.schema.structure import json_schema
from ionetctl.inventory.yaml.problems import Problem, quoted
from ionetctl.inventory.yaml.tree import PROBLEMS_MAX, MarkedList, MarkedMapping

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import ValidationError

    from ionetctl.inventory.yaml.tree import Document, Loc, Node

_SYNONYMS: Final = {
    "bastion": "jump",
    "class": "node_class",
    "cores": "cpu_cores",
    "cpus": "cpu_cores",
    "dc": "datacenter",
    "gpu": "gpus",
    "ip": "address",
    "hostname": "name",
    "identity_file": "identity",
    "key": "identity",
    "labels": "meta",
    "pool": "node_pool",
    "private_key": "identity",
    "proxy_jump": "jump",
    "username": "user",
    "ansible_host": "address",
    "ansible_port": "port",
    "ansible_user": "user",
}
"""Names that other tools use for fields of ours."""


def explain(error: ValidationError, document: Document, base: Loc = ()) -> list[Problem]:
    """The problems that make up ``error``; ``base`` is the path of the node that was validated."""
    return [
        _explain_one(found["type"], base + found["loc"], found, document)
        for found in error.errors(include_input=False, include_url=False)[:PROBLEMS_MAX]
    ]


def problem_at(document: Document, loc: Loc, message: str, hint: str = "") -> Problem:
    """A problem with the node at ``loc``, which may be missing."""
    place, _ = document.locate(loc)
    return Problem(place, field_name(loc), message, hint)


def field_name(loc: Iterable[str | int]) -> str:
    """The path of a field as text: ``groups.rack-a01.hosts[0].ssh.port``."""
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{_step(step)}" for step in loc)
    return name.removeprefix(".")


def _step(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key) else quoted(key)


def _explain_one(kind: str, loc: Loc, found: Any, document: Document) -> Problem:  # noqa: ANN401  (pydantic's dict)
    if kind == "extra_forbidden":
        place, _ = document.locate(loc, at_key=True)
        if _properties(loc[:-1]).keys() == SECRET_SOURCES:
            message = "has a key that is no source of a secret (not shown, as it may be the secret)"
            return Problem(place, field_name(loc[:-1]), message, _hint_for_key(loc))
        return Problem(place, field_name(loc), "is no field that is known here", _hint_for_key(loc))
    if loc[-1] == "[key]":
        place, _ = document.locate(loc[:-1], at_key=True)
        return Problem(place, field_name(loc[:-1]), found["ctx"]["error"].message, found["ctx"]["error"].hint)
    place, reached = document.locate(loc)
    if kind == "missing":
        return Problem(place, field_name(loc), "is missing")
    name = field_name(reached)
    if kind == "value_error":
        return Problem(place, name, found["ctx"]["error"].message, found["ctx"]["error"].hint)
    return _explain_shape(kind, Problem(place, name, ""), document.node(reached))


def _explain_shape(kind: str, problem: Problem, node: Node) -> Problem:
    """The problem of a mapping, list or text where another of them is required."""
    if node is None:
        return Problem(problem.place, problem.field, "has no value", "leave the key out, or give it a value")
    is_what = {MarkedMapping: "a mapping", MarkedList: "a list"}.get(type(node), "a text")
    wanted = {"tuple_type": "a list", "dict_type": "a mapping"}.get(kind)
    message = f"must be {wanted}, not {is_what}" if wanted else "must not be empty"
    return Problem(problem.place, problem.field, message)


# --- keys that are not known -----------------------------------------------------------------------------------------


@cache
def _schema() -> dict[str, Any]:
    return json_schema()


def _hint_for_key(loc: Loc) -> str:
    """A suggestion for the unknown key at the end of ``loc``, or the keys that are known there."""
    properties = _properties(loc[:-1])
    key = str(loc[-1]).lower().replace("-", "_")
    known = {
        below: f"{name}: {{{below}: …}}"
        for name, schema in properties.items()
        for below in _resolved(schema).get("properties", {})
    } | {name: name for name in properties}
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    meant = next((word for word in (key, _SYNONYMS.get(key), *near) if word in known), None)
    return f"did you mean {known[meant]}?" if meant else f"known here: {', '.join(properties)}"


def _properties(loc: Iterable[str | int]) -> dict[str, Any]:
    """The fields that a mapping at ``loc`` may have, by the JSON Schema."""
    schema = _schema()
    for step in loc:
        schema = _resolved(schema)
        if isinstance(step, int):
            schema = schema["items"]
        else:
            schema = (
                schema["properties"].get(step) if "properties" in schema else schema["additionalProperties"]
            )
    properties: dict[str, Any] = _resolved(schema)["properties"]
    return properties


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference points to; of several alternatives the mapping's."""
    for form in schema.get("anyOf", ()):
        if "$ref" in form:
            schema = form
    if "$ref" in schema:
        schema = _schema()["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema
