"""What codes are said to mean, and how that is shown."""

from __future__ import annotations

import pytest
import yaml

from ionetctl.app.explain import (
    ErrorRow,
    document,
    error_rows,
    explain,
    explain_all,
    list_document,
    parse_errors,
    waiver,
)
from ionetctl.checks import CODES
from ionetctl.core.errors import UsageError
from ionetctl.core.model.names import HostName
from ionetctl.core.model.outcome import Severity
from ionetctl.inventory.load import load_text
from ionetctl.ui.explanation import WIDTH, check_view, codes_view, error_view
from tests.inventory.test_documents import BASE

PAGE = """
# Error codes
| code | exit | means | do |
| --- | --- | --- | --- |

## The one
| `one`, `two` | 3, 5 | see [inventory](inventory.md#x) | `a` \\| b |
| `three` | - | ends nothing | wait |

## The other
| `one` | 8 | again | look |
"""


def test_page_is_read_row_by_row() -> None:
    """Codes that share a row, codes that have two, no exit code, links."""
    first = ErrorRow("The one", (3, 5), "see inventory", "`a` \\| b")
    assert parse_errors(PAGE) == {
        "one": (first, ErrorRow("The other", (8,), "again", "look")),
        "two": (first,),
        "three": (ErrorRow("The one", (), "ends nothing", "wait"),),
    }


def test_page_of_the_repository_is_understood() -> None:
    """No row of the real page is passed over: it has codes of every chapter."""
    chapters = {row.chapter for rows in error_rows().values() for row in rows}
    assert {"The command line", "Reaching a host", "On the host", "The rehearsal"} <= chapters


@pytest.mark.parametrize("code", CODES)
def test_every_check_is_explained(code: str) -> None:
    """With its check."""
    assert explain(code).check == CODES[code]


def test_code_of_both_kinds_is_explained_as_both() -> None:
    """What the survey and the region tell by one name."""
    found = explain("gpu_count_mismatch")
    assert (found.check is not None, [row.exit_codes for row in found.errors], found.exit_codes) == (
        True,
        [(8,)],
        (5, 8),
    )


def test_code_of_an_error_is_explained_by_the_page() -> None:
    """Its title is what it means."""
    found = explain("dns_failure")
    assert (found.check, found.title, found.exit_codes) == (None, "the name does not resolve", (4,))


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("miner_runing", "did you mean miner_running?"),
        ("dns_failur", "did you mean dns_failure?"),
        ("", "ionetctl explain lists all of them"),
    ],
)
def test_unknown_code_gets_the_nearest(code: str, hint: str) -> None:
    """Checks and errors alike are proposed."""
    with pytest.raises(UsageError) as caught:
        explain(code)
    assert (caught.value.code, caught.value.hint) == ("code_unknown", hint)


@pytest.mark.parametrize(
    "check", [check for check in CODES.values() if check.may_be_waived], ids=lambda check: check.name
)
def test_waiver_is_an_inventorys_yaml(check: object) -> None:
    """What is shown can be pasted into an inventory, and does what it says."""
    shown = yaml.safe_load(waiver(check))  # type: ignore[arg-type]
    text = f"{BASE}defaults: {{region: eu, checks: {shown['checks']}}}\nhosts: [a1]\n"
    (host,) = load_text(text.encode(), "x", "/d").hosts
    assert (host.name, [rule.severity for rule in host.checks.values()]) == (
        HostName("a1"),
        [Severity.WAIVED],
    )


def test_document_of_a_check_has_all_its_parts() -> None:
    """For scripts, what people see."""
    check = CODES["miner_running"]
    assert document(explain("miner_running")) == {
        "schema": "ionetctl.explanation/1",
        "code": "miner_running",
        "check": {
            "severity": "block",
            "exit_code": 5,
            "title": check.title,
            "looks_at": check.looks_at,
            "matters": check.matters,
            "remedy": check.remedy,
            "prepare": "stop_miner",
            "waiver": waiver(check),
        },
        "errors": [],
    }


def test_document_of_an_error_has_its_rows() -> None:
    """A check it is not."""
    found = document(explain("dns_failure"))
    assert (found["check"], found["errors"][0]["chapter"]) == (None, "Reaching a host")


def test_what_cannot_be_waived_has_no_waiver() -> None:
    """Nobody is shown a snippet that an inventory refuses."""
    assert document(explain("not_root"))["check"]["waiver"] is None


def test_list_has_every_code_once() -> None:
    """Checks first, and each error's code after them."""
    codes = [each["code"] for each in list_document(explain_all())["codes"]]
    assert (codes[: len(CODES)], len(codes)) == (list(CODES), len({*CODES, *error_rows()}))


def test_view_of_a_check_ends_with_its_waiver() -> None:
    """People see what to paste, and where."""
    check = CODES["swap_on"]
    lines = "\n".join(text.plain for text in check_view(check, waiver(check))).splitlines()
    assert (lines[0], lines[-2:]) == (
        "swap_on  info  swap space is switched on",
        ["    checks:", "      swap_on: {severity: waived, reason: why it does no harm here}"],
    )


def test_view_of_what_is_fixed_says_so() -> None:
    """With the exit code that it earns."""
    check = CODES["host_locked"]
    lines = [text.plain for text in check_view(check, "")]
    assert lines[-2:] == ["It cannot be waived", "  An enrolment cannot do without it. Exit 7."]


@pytest.mark.parametrize("check", CODES.values(), ids=lambda check: check.name)
def test_views_keep_their_width(check: object) -> None:
    """But for the snippet and the head, which are not to be broken."""
    lines = [line for text in check_view(check, "") for line in text.plain.splitlines()]  # type: ignore[arg-type]
    assert max(map(len, lines[1:])) <= WIDTH


@pytest.mark.parametrize(("exits", "head"), [((4, 5), "x  exit 4, 5  Reaching"), ((), "x  Reaching")])
def test_view_of_an_error_names_its_exits(exits: tuple[int, ...], head: str) -> None:
    """None for what ends nothing."""
    lines = [text.plain for text in error_view("x", "Reaching", exits, "it means", "do that")]
    assert (lines[0], lines[3], lines[-1]) == (head, "  it means", "  do that")


def test_view_of_all_codes_is_a_table() -> None:
    """Severities stand where there is a check."""
    rows = [("not_root", Severity.BLOCK, (5,), "no root"), ("dns_failure", None, (4, 5), "no name")]
    assert [text.plain for text in codes_view(rows)] == [
        "CODE         SEVERITY  EXIT  MEANS",
        "not_root     block     5     no root",
        "dns_failure            4, 5  no name",
    ]
