"""What ``--diff`` shows: the lines that a plan changes in text files. Pure.

Only text files whose content is in the bundle are compared; never secrets, certificates or keys.
"""

from __future__ import annotations

import base64
import binascii
import difflib
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import HostFailedError, HostUnreachableError
from ionetctl.core.model.plan import Action, Bundle, BundleFile, FileDiff, Kind, Plan
from ionetctl.plan.bundle import with_stamp

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LINES: Final = 200
"""The most lines that a diff shows; a file that is not ours can have any length."""
_CONTENT: Final = frozenset({Action.CREATE, Action.UPDATE})


def compared_paths(bundle: Bundle, plan: Plan) -> tuple[str, ...]:
    """The paths whose content on the host is needed to show what ``plan`` changes."""
    updated = {change.path for change in plan.changes if change.action is Action.UPDATE}
    return tuple(file.path for file in bundle.files if file.path in updated and _is_text(file))


def file_diffs(bundle: Bundle, plan: Plan, present: Mapping[str, str]) -> tuple[FileDiff, ...]:
    """A unified diff for each text file that ``plan`` creates or updates; ``present`` is path → content on the host."""
    changed = {change.path for change in plan.changes if change.action in _CONTENT}
    files = [file for file in bundle.files if file.path in changed and _is_text(file)]
    return tuple(_diff(file, plan.stamp, present.get(file.path)) for file in files)


def parse_texts(output: bytes, nonce: str) -> dict[str, str]:
    """Path → content, as ``remote/read.sh`` prints them; characters that are not text are replaced.

    Raises ``HostUnreachableError`` (``survey_incomplete``, transient) where the output is not whole,
    ``HostFailedError`` (``survey_malformed``) where a record is malformed.
    """
    lines = output.decode(errors="replace").split("\n")
    try:
        first = lines.index(f"ionet-read\t1\t{nonce}") + 1
        records = lines[first : lines.index(f"ionet-read-end\t{nonce}", first)]
    except ValueError:
        message = "the files to compare did not arrive whole"
        raise HostUnreachableError("survey_incomplete", message, transient=True) from None
    return dict(_parse(record) for record in records)


def _parse(record: str) -> tuple[str, str]:
    match record.split("\t"):
        case ["text", path, content]:
            try:
                return path, base64.b64decode(content, validate=True).decode(errors="replace")
            except binascii.Error:
                pass
    raise HostFailedError(
        "survey_malformed", "the files to compare are malformed", "run again without --diff"
    )


def _is_text(file: BundleFile) -> bool:
    return file.kind is Kind.FILE and not file.is_secret


def _diff(file: BundleFile, stamp: str, present: str | None) -> FileDiff:
    wanted = with_stamp(file.content, stamp).decode(errors="replace").splitlines()
    lines = difflib.unified_diff(
        [_visible(line) for line in (present or "").splitlines()],
        wanted,
        f"{file.path} (on the host)" if present is not None else "/dev/null",
        file.path,
        lineterm="",
    )
    return FileDiff(file.path, tuple(lines)[:MAX_LINES])


def _visible(line: str) -> str:
    """A host's line with its indentation; characters that a terminal could interpret become question marks."""
    return "".join(letter if letter.isprintable() else "?" for letter in line.expandtabs(4))
