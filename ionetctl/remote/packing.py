"""Makes a program for a host's python3 out of sources: only what is used, without comments, compressed; and one for its shell.

Knows Python's grammar and nothing of what the sources do. A module's top-level statements are kept where a kept name leads
to them; names are found by spelling, so that what is looked up by a text (``getattr``) is found too.
"""

from __future__ import annotations

import ast
import binascii
import re
import zlib
from importlib.abc import InspectLoader
from importlib.util import find_spec
from itertools import takewhile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

SEPARATOR: Final = "\0"
_WORD: Final = re.compile(r"\w+")
_INDENTATION: Final = re.compile(rb"^(?: {4})+")


def pack(library: str, program: str, always: str) -> bytes:
    """Library and program, as ``probe.sh`` unpacks them: compressed, in base64, so that a shell can hold it.

    ``always`` begins the names of the library that are kept although nobody spells them out. The library's opening
    comment, its licence, stays with it.
    """
    bare = stripped(program)
    packed = zlib.compress(SEPARATOR.join((used_part(library, bare, always), bare)).encode(), 9)
    return binascii.b2a_base64(packed, newline=False)


def stripped(program: str) -> str:
    """A program without comments, docstrings and other texts that nobody reads."""
    return _unparsed(ast.parse(program))


def bare_shell(script: bytes) -> bytes:
    """A script without lines of comments, and with one tab for four spaces of indentation, in programs that it quotes too."""
    lines = (line for line in script.splitlines() if line.strip() and not line.lstrip().startswith(b"#"))
    return b"".join(
        _INDENTATION.sub(lambda found: b"\t" * (len(found[0]) // 4), line) + b"\n" for line in lines
    )


def source_of(module: str) -> str:
    """The source of an installed module, which is not imported for that; raises ``ImportError`` where there is none."""
    spec = find_spec(module)
    loader = spec.loader if spec else None
    source = loader.get_source(module) if isinstance(loader, InspectLoader) else None
    if source is None:
        raise ImportError(f"{module} has no source", name=module)
    return source


def used_part(library: str, program: str, always: str) -> str:
    """What of a library a program needs."""
    statements = [(statement, _bound(statement)) for statement in ast.parse(library).body]
    used: set[str] = set()
    wanted = set(_WORD.findall(program))
    while wanted:
        used |= wanted
        kept = [each for each, names in statements if _is_kept(names, used, always)]
        wanted = set(_WORD.findall("\n".join(map(ast.unparse, kept)))) - used
    licence = takewhile(lambda line: line.startswith("#"), library.splitlines())
    return "\n".join([*licence, _unparsed(ast.Module(kept, []))])


def _is_kept(names: frozenset[str] | None, used: set[str], always: str) -> bool:
    return names is None or not names.isdisjoint(used) or any(name.startswith(always) for name in names)


def _bound(statement: ast.stmt) -> frozenset[str] | None:
    """The names that a statement defines; ``None`` where it does something else, so that it must stay."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return frozenset({statement.name})
    if isinstance(statement, ast.Assign):
        return _names(statement.targets)
    if isinstance(statement, ast.Import | ast.ImportFrom):
        names = {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
        return None if "*" in names else frozenset(names)
    return None


def _names(targets: Iterable[ast.expr]) -> frozenset[str]:
    return frozenset(node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))


def _unparsed(tree: ast.Module) -> str:
    """The source of a tree, which loses comments, docstrings and other texts that nobody reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            body = [each for each in node.body if not _is_text(each)]
            node.body = body or ([] if isinstance(node, ast.Module) else [ast.Pass()])
    return ast.unparse(ast.fix_missing_locations(tree))


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
