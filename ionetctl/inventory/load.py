"""From a file or standard input to an ``Inventory``, or to one error that names everything that is wrong with it.

The only part of the inventory that reads a file; what a device, a pipe or a very large file would do is bounded here.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from typing import TYPE_CHECKING, BinaryIO

from pydantic import ValidationError

from ionetctl.core.model.inventory import Inventory
from ionetctl.core.model.names import Digest
from ionetctl.inventory.expand import Expansion, Statement
from ionetctl.inventory.resolve import (
    entries,
    overfull_regions,
    repeated_names,
    resolve_hosts,
    unknown_regions,
)
from ionetctl.inventory.schema import models
from ionetctl.inventory.schema.regions import resolve_nomad, resolve_regions
from ionetctl.inventory.validation_errors import explain, problem_at
from ionetctl.inventory.yaml.problems import InventoryError, Place, Problem
from ionetctl.inventory.yaml.tree import SIZE_MAX, parse

if TYPE_CHECKING:
    from ionetctl.inventory.yaml.tree import Document, Loc


def load_inventory(source: str, *, stdin: BinaryIO | None = None) -> Inventory:
    """The inventory in the file ``source``, or on ``stdin`` (standard input by default) where that is ``-``.

    Paths in it are relative to the file's directory, or to the working directory.
    Raises ``InventoryError`` with all problems at once; a file that cannot be read is one too.
    """
    if source == "-":
        return load_text((stdin or sys.stdin.buffer).read(SIZE_MAX + 1), source, os.getcwd())  # noqa: PTH109
    try:
        text = _read(source)
    except OSError as error:
        raise _unreadable(source, f"cannot be read: {error.strerror}") from None
    return load_text(text, source, os.path.dirname(os.path.abspath(source)))  # noqa: PTH100, PTH120


def _read(path: str) -> bytes:
    """The content of a regular file, at most one byte more than is allowed."""
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise _unreadable(path, "is not a regular file", "to read from a pipe, give - as the inventory")
        return file.read(SIZE_MAX + 1)


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting: a FIFO would, for somebody to write to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _unreadable(source: str, message: str, hint: str = "") -> InventoryError:
    return InventoryError([Problem(Place(source, 1, 1), "", message, hint)])


def load_text(text: bytes, source: str, directory: str) -> Inventory:
    """The inventory that ``text`` describes; ``source`` names it in errors, ``directory`` is what paths start from.

    Raises ``InventoryError`` with all problems at once.
    """
    document = parse(text, source)
    problems = [*document.problems, *unknown_regions(document)]
    try:
        given = models.WHOLE.validate_python(document.root, context=directory)
    except ValidationError as error:
        problems += [*explain(error, document), *_names_alone(document, directory)]
        raise InventoryError(problems) from None
    regions = resolve_regions(given["regions"])
    hosts, found = resolve_hosts(given, document)
    problems += [*found, *overfull_regions(hosts, regions, document)]
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
        nomad=resolve_nomad(given["nomad"]),
        hosts=hosts,
    )


def _names_alone(document: Document, directory: str) -> list[Problem]:
    """What is wrong with names and ranges where the inventory as a whole does not hold, so that it is said at once."""
    expansion = Expansion(document)
    named: list[tuple[str, Loc]] = []
    for loc, node in entries(document.root):
        try:
            fields = models.entry().validate_python(node, context=directory)
        except ValidationError:
            continue
        named += [(host["name"], loc) for host in expansion.hosts(Statement(loc, fields))]
    return [*expansion.problems, *repeated_names(named, document)]
