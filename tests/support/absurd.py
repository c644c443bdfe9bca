"""Documents in which one value is absurd: what users, hosts, regions and files may say by mistake or on purpose."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEP: Final = "\ue000deep"
VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    -1,
    1 << 62,
    10**30,
    10**400,
    -(10**30),
    0.5,
    -1e308,
    1e308,
    "",
    "x" * 5000,
    "9999-12-31T23:59:59+14:00",
    "NaN",
    "\x00\x1b[2J\u202e::error::##vso[x]",
    "ssh-ed25519 AAAA…",
    "0x7f.1",
    "²",
    "[1-2]",
    [],
    [[]],
    {},
    {"": None},
    _DEEP,
)


def absurd_documents(document: Any) -> Iterator[tuple[str, bytes]]:
    """The JSON of ``document`` with each value in turn replaced by each of ``VALUES``; with the path of that value.

    Of lists only the first three items are replaced, as the others have the same form.
    """
    for path, holder, key in list(_places(document, "")):
        kept = holder[key]
        for value in VALUES:
            holder[key] = value
            text = json.dumps(document, ensure_ascii=False).replace(f'"{_DEEP}"', "[" * 5000 + "]" * 5000)
            yield f"{path} = {str(value)[:20]!r}", text.encode()
        holder[key] = kept


def _places(node: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    keys = node if isinstance(node, dict) else range(min(3, len(node))) if isinstance(node, list) else ()
    for key in keys:
        yield f"{path}/{key}", node, key
        yield from _places(node[key], f"{path}/{key}")
