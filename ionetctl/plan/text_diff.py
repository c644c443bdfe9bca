"""What ``--diff`` shows: the lines that a plan changes in text files. Pure.

Only text files whose content is in the bundle are compared; never secrets, certificates or keys.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

from ionetctl.core.model.plan import Action, Bundle, BundleFile, FileDiff, Kind, Plan
from ionetctl.core.sanitize import LIMIT_CHARS, break_ci_commands
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
    """A host's line with its indentation, cut; characters that a terminal could interpret become question marks."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in line[:LIMIT_CHARS].expandtabs(4))
    return break_ci_commands(shown)[:LIMIT_CHARS]
