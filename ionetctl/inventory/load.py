"""Loads an inventory from a file or standard input, or raises one error with everything that is wrong with it.

The only module of the inventory that reads files; it refuses devices and pipes and bounds the size.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

from pydantic import ValidationError

from ionetctl.core.model.inventory import Inventory
from ionetctl.core.model.names import Digest
from ionetctl.core.regular_file import NotRegularError, open_regular
from ionetctl.inventory.consistency import (
    door_problems,
    entries,
    licence_problems,
    overfull_regions,
    repeated_endpoints,
    repeated_names,
    stdin_taken,
    unknown_regions,
    written_endpoint,
)
from ionetctl.inventory.expand import Expansion, Statement, refuse_ranges
from ionetctl.inventory.merge import merge_hosts
from ionetctl.inventory.schema import structure
from ionetctl.inventory.schema.regions import nomad_settings, region_settings
from ionetctl.inventory.validation_errors import explain, problem_at
from ionetctl.inventory.yaml.problems import InventoryError, Place, Problem
from ionetctl.inventory.yaml.tree import SIZE_MAX, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ionetctl.inventory.yaml.tree import Document, Loc


def load_inventory(source: str, *, stdin: BinaryIO | None = None) -> Inventory:
    """The inventory in the file ``source``, or on ``stdin`` (standard input by default) where that is ``-``.

    Paths in it are relative to the file's directory, or to the working directory.
    Raises ``InventoryError`` with all problems at once; also for a file that cannot be read.
    """
    if source == "-":
        return load_text((stdin or sys.stdin.buffer).read(SIZE_MAX + 1), source, os.getcwd())  # noqa: PTH109
    try:
        with open_regular(source) as file:
            text = file.read(SIZE_MAX + 1)
    except NotRegularError:
        hint = "to read from a pipe, give - as the inventory"
        raise _unreadable(source, "is not a regular file", hint) from None
    except OSError as error:
        raise _unreadable(source, f"cannot be read: {error.strerror}") from None
    return load_text(text, source, os.path.dirname(os.path.abspath(source)))  # noqa: PTH100, PTH120


def _unreadable(source: str, message: str, hint: str = "") -> InventoryError:
    return InventoryError([Problem(Place(source, 1, 1), "", message, hint)])


def load_text(text: bytes, source: str, directory: str) -> Inventory:
    """The inventory that ``text`` describes; ``source`` names it in errors, relative paths start from ``directory``.

    Raises ``InventoryError`` with all problems at once.
    """
    document = parse(text, source)
    problems = [*document.problems, *unknown_regions(document)]
    try:
        given = structure.WHOLE.validate_python(document.root, context=directory)
    except ValidationError as error:
        problems += [*explain(error, document), *_name_problems(document, directory)]
        raise InventoryError(problems) from None
    if ranges := refuse_ranges(Statement(("regions",), given["regions"]), document):
        raise InventoryError([*problems, *ranges])
    problems += stdin_taken(document) if source == "-" else ()
    regions, nomad = (
        region_settings(given["regions"]),
        nomad_settings(given["nomad"], given.get("maintenance")),
    )
    hosts, found = merge_hosts(given, document)
    problems += [
        *found,
        *overfull_regions(hosts, regions, document),
        *licence_problems(nomad, regions, document),
        *door_problems(nomad, document),
    ]
    if not hosts and not problems:
        problems = [problem_at(document, ("hosts",), "there is no host", "list hosts here or in groups")]
    if problems:
        raise InventoryError(problems)
    return Inventory(
        source=source,
        directory=directory,
        digest=Digest(hashlib.sha256(text).hexdigest()),
        naming=given.get("naming", "as-written"),
        regions=regions,
        nomad=nomad,
        hosts=hosts,
        distribution=given.get("distribution", "push"),
        mirror=given.get("mirror"),
    )


def _name_problems(document: Document, directory: str) -> list[Problem]:
    """Problems of names, addresses and ranges in an inventory that is invalid otherwise, so that all are reported at once."""
    expansion = Expansion(document)
    hosts: list[tuple[Mapping[str, Any], Loc]] = []
    for loc, node in entries(document.root):
        try:
            fields = structure.entry().validate_python(node, context=directory)
        except ValidationError:
            continue
        hosts += [(host, loc) for host in expansion.hosts(Statement(loc, fields))]
    named = [(host["name"], loc) for host, loc in hosts]
    written = [written_endpoint(host, loc, document) for host, loc in hosts]
    return [
        *expansion.problems,
        *repeated_names(named, document),
        *repeated_endpoints(zip(named, written, strict=True), document),
    ]
