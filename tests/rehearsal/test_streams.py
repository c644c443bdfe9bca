"""Output for CI systems: the stream of events, and the reports."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal

HOSTS = 6
FAULTS = ("gpu-missing=1", "noisy=1", "unreachable=1", "no-route=1")


@dataclass(frozen=True, slots=True)
class Streamed:
    """One rollout that was streamed and reported."""

    admin: Admin
    rehearsal: Rehearsal
    ended: CommandResult
    reports: Path

    @property
    def events(self) -> list[Any]:
        return self.ended.lines[:-1]

    @property
    def document(self) -> Any:
        return self.ended.lines[-1]


@pytest.fixture(scope="module")
def streamed(
    raise_fleet: RaiseFleet, new_admin: NewAdmin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Streamed]:
    admin, reports = new_admin(), tmp_path_factory.mktemp("reports")
    asked = (f"--report=junit={reports}/junit.xml", f"--report=csv={reports}/hosts.csv")
    with raise_fleet(HOSTS, *FAULTS) as rehearsal:
        options = ("--max-failures=100%", "--timeout=12", *asked)
        ended = admin.start_enroll(rehearsal.inventory, *options).end()
        yield Streamed(admin, rehearsal, ended, reports)


def test_every_line_is_an_event(streamed: Streamed) -> None:
    """Of the schema, numbered from 1 without gaps, with time, type and host; the enroll document is last."""
    events = streamed.events
    assert {event["schema"] for event in events} == {"ionetctl.event/1"}
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert all({"time", "type", "host"} <= event.keys() for event in events)
    assert (streamed.document["schema"], streamed.ended.exit_code) == ("ionetctl.enroll/1", 5)


def test_stream_is_the_journal(streamed: Streamed) -> None:
    """The streamed events are those of the journal, from first to last, between its header and its digests."""
    header, *journal = map(json.loads, streamed.admin.journals()[0].read_text().splitlines())
    assert header["schema"] == "ionetctl.journal/1"
    assert [line for line in journal if line["type"] != "digest"] == streamed.events
    assert [streamed.events[0]["type"], streamed.events[-1]["type"]] == [
        "rollout_started",
        "rollout_finished",
    ]


def test_past_rollouts_are_shown_from_the_journal(streamed: Streamed) -> None:
    """``rollouts show`` prints the document that ended the stream."""
    assert streamed.admin.run("rollouts", "show", "-o", "json").document == streamed.document


def test_junit_has_a_case_a_host(streamed: Streamed) -> None:
    """Failed hosts are failures, unreachable and unverified ones errors."""
    root = ET.parse(streamed.reports / "junit.xml").getroot()  # noqa: S314  (our own report)
    cases = {case.get("name"): [child.tag for child in case] for case in root.iter("testcase")}
    tags = {"failed": ["failure"], "unreachable": ["error"], "unverified": ["error"], "enrolled": []}
    expected = {host["name"]: tags[host["outcome"]] for host in streamed.document["hosts"]}
    assert {
        name: [tag for tag in tags if tag in {"failure", "error"}] for name, tags in cases.items()
    } == expected


def test_csv_has_a_row_a_host(streamed: Streamed) -> None:
    """With the outcomes of the document, and no cell that a spreadsheet would calculate."""
    with (streamed.reports / "hosts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    hosts = streamed.document["hosts"]
    assert {row["name"]: row["outcome"] for row in rows} == {host["name"]: host["outcome"] for host in hosts}
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
