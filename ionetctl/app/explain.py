"""What a code means, for whoever meets one: those of checks, and other errors by docs/reference/errors.md.

The wheel carries that page; nothing else is read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ionetctl.checks import CODES
from ionetctl.core.errors import UsageError
from ionetctl.inventory.yaml.problems import did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ionetctl.checks import Code

SCHEMA: Final = "ionetctl.explanation/1"
LIST_SCHEMA: Final = "ionetctl.codes/1"
_ROW: Final = re.compile(
    r"^\| (?P<codes>`[a-z_`, ]+`) \| (?P<exits>[-0-9, ]+) \| (?P<means>.+) \| (?P<remedy>.+) \|$"
)
_LINK: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """A row of docs/reference/errors.md: ``exit_codes`` are empty for what ends nothing, ``chapter`` is the heading above it."""

    chapter: str
    exit_codes: tuple[int, ...]
    means: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is to be said of a code: as a check's, as an error's, or as both."""

    code: str
    check: Code | None
    errors: tuple[ErrorRow, ...]

    @property
    def title(self) -> str:
        """One line."""
        return self.check.title if self.check else self.errors[0].means

    @property
    def exit_codes(self) -> tuple[int, ...]:
        """Every exit code that it may earn, in ascending order."""
        of_check = (int(self.check.exit_code),) if self.check else ()
        return tuple(sorted({*of_check, *(each for row in self.errors for each in row.exit_codes)}))


def explain(code: str) -> Explanation:
    """What a code means; raises ``UsageError`` (``code_unknown``) with the nearest code for one that nobody gives."""
    errors = error_rows()
    if code not in CODES and code not in errors:
        hint = did_you_mean(code, {**CODES, **errors}) or "ionetctl explain lists all of them"
        raise UsageError("code_unknown", f"{quoted(code)} is no code of ionetctl", hint)
    return Explanation(code, CODES.get(code), errors.get(code, ()))


def explain_all() -> tuple[Explanation, ...]:
    """Every code: those of checks in the order of their subjects, then those of other errors in the page's."""
    return tuple(map(explain, dict.fromkeys((*CODES, *error_rows()))))


def waiver(check: Code) -> str:
    """How an inventory waives a check, in YAML; to be put into ``defaults``, a group or a host."""
    return f"checks:\n  {check.name}: {{severity: waived, reason: why it does no harm here}}\n"


def document(explanation: Explanation) -> dict[str, Any]:
    """The explanation as ``-o json`` has it."""
    errors = [
        {"chapter": row.chapter, "exit_codes": row.exit_codes, "means": row.means, "remedy": row.remedy}
        for row in explanation.errors
    ]
    check = None if explanation.check is None else _check_document(explanation.check)
    return {"schema": SCHEMA, "code": explanation.code, "check": check, "errors": errors}


def _check_document(check: Code) -> dict[str, Any]:
    return {
        "severity": check.severity.value,
        "exit_code": int(check.exit_code),
        "title": check.title,
        "looks_at": check.looks_at,
        "matters": check.matters,
        "remedy": check.remedy,
        "prepare": check.mended_by,
        "waiver": waiver(check) if check.may_be_waived else None,
    }


def list_document(explanations: tuple[Explanation, ...]) -> dict[str, Any]:
    """Every code in a line, as ``-o json`` has them."""
    codes = [
        {
            "code": each.code,
            "severity": each.check.severity.value if each.check else None,
            "exit_codes": each.exit_codes,
            "title": each.title,
        }
        for each in explanations
    ]
    return {"schema": LIST_SCHEMA, "codes": codes}


@cache
def error_rows() -> Mapping[str, tuple[ErrorRow, ...]]:
    """The rows of docs/reference/errors.md by code; beside the package in a checkout, within it in a wheel."""
    package = Path(__file__).resolve().parents[1]
    page = next(
        path
        for place in (package, package.parent)
        if (path := place / "docs" / "reference" / "errors.md").exists()
    )
    return parse_errors(page.read_text(encoding="utf-8"))


def parse_errors(page: str) -> dict[str, tuple[ErrorRow, ...]]:
    """The rows of the page's tables by code, as plain text: links are reduced to their words."""
    found: defaultdict[str, tuple[ErrorRow, ...]] = defaultdict(tuple)
    chapter = ""
    for line in page.splitlines():
        if line.startswith("## "):
            chapter = line.removeprefix("## ")
        if match := _ROW.match(line):
            exits = tuple(int(number) for number in re.findall(r"\d+", match["exits"]))
            row = ErrorRow(chapter, exits, _plain(match["means"]), _plain(match["remedy"]))
            for code in re.findall(r"[a-z_]+", match["codes"]):
                found[code] += (row,)
    return dict(found)


def _plain(markdown: str) -> str:
    return _LINK.sub(r"\1", markdown)
