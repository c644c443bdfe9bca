"""Modelled hosts: what is seen of them is what is seen of ordinary rehearsal hosts, and hundreds of them are enrolled.

The comparison is what keeps the model true: a change of a host's scripts that the model does not follow shows here.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncssh
import msgspec
import pytest

from ionetctl.core import host_paths
from ionetctl.facts.survey_output import parse_survey
from ionetctl.inventory.load import load_inventory
from ionetctl.lab.modelled.kinds import UNMODELLED
from tests.rehearsal.test_faults import ENDS
from tests.support.survey_alone import survey_script

if TYPE_CHECKING:
    from tests.rehearsal.conftest import NewAdmin, RaiseFleet, RaiseModelledFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal

SOUND: Final = 2
COMPARED: Final = (
    *("start-fails", "no-route", "gpu-missing", "noisy", "locked", "drop", "sudo", "auth"),
    *("gpu-hot", "gpu-xid", "mig", "docker-missing", "driver-missing", "swap", "miner"),
)
"""Faults and conditions of the hosts that are compared."""
AMONG_MANY: Final = tuple(
    name for name in ENDS if name not in UNMODELLED | {"silent", "timeout", "trickle", "start-hangs"}
)
"""Faults of hosts in a large fleet: those that take no minutes."""
OWN_KEYS: Final = frozenset(
    {
        *("seq", "time", "rollout", "chain", "duration_s", "delay_s", "expires_at"),
        *(
            "node_id",
            "stamp",
            "boot_id",
            "clock_offset_s",
            "node_certificate",
            "reaches",
            "place",
            "host_key",
        ),
    }
)
"""Fields that differ from one run to the next, or between two regions."""
OWN_FILES: Final = frozenset(
    {
        *(host_paths.CLIENT_CONFIG, host_paths.CA_CERT, host_paths.NODE_CERT, host_paths.NODE_KEY),
        host_paths.MANIFEST,
    }
)
"""Files whose content is a host's and its region's own."""
PATHS: Final = (
    *(host_paths.CLIENT_CONFIG, host_paths.DOCKER_CONFIG, host_paths.NVIDIA_CONFIG, host_paths.HOWTO),
    *(host_paths.CA_CERT, host_paths.NODE_CERT, host_paths.NODE_KEY, host_paths.NOMAD_LINK),
    *(host_paths.MANIFEST, host_paths.UNIT, f"{host_paths.RELEASES_DIR}/2.0.5/nomad"),
)


@dataclass(frozen=True)
class Side:
    """One of the two fleets, after it was checked, enrolled and enrolled again; ``facts`` are of before and after."""

    faults: dict[str, str]
    events: dict[str, list[Any]]
    documents: list[Any]
    facts: list[dict[str, Any]]


@pytest.fixture(scope="module")
def sides(
    raise_fleet: RaiseFleet, raise_modelled_fleet: RaiseModelledFleet, new_admin: NewAdmin
) -> tuple[Side, Side]:
    """The ordinary fleet and the modelled one: the same names, addresses, GPUs and faults."""
    return tuple(observed(raising, new_admin()) for raising in (raise_fleet, raise_modelled_fleet))  # type: ignore[return-value]


def observed(raising: RaiseFleet | RaiseModelledFleet, admin: Admin) -> Side:
    with raising(len(COMPARED) + SOUND, *(f"{fault}=1" for fault in COMPARED)) as fleet:
        before = surveyed(fleet)
        runs = [
            admin.enroll(fleet.inventory, "--max-failures=100%", *options)
            for options in (("--check",), (), ())
        ]
        after = surveyed(fleet)
    place = re.compile(
        rf"{re.escape(str(fleet.directory))}|(?<=127\.77\.\d\.\d):\d+|(?<=127\.77\.\d\.\d\d):\d+"
    )
    events: dict[str, list[Any]] = {}
    for journal in admin.journals():
        for line in journal.read_text().splitlines():
            event = json.loads(place.sub("…", line))
            if "host" in event:
                events.setdefault(event["host"], []).append(without_own(event))
    return Side(
        fleet.faults,
        events,
        [without_own(json.loads(place.sub("…", run.stdout))) for run in runs],
        [before, after],
    )


def without_own(value: Any) -> Any:
    """The value without ``OWN_KEYS``, at any depth, and without the digests of ``OWN_FILES``."""
    if isinstance(value, dict):
        return {
            key: "own" if key in OWN_FILES and isinstance(each, str) else without_own(each)
            for key, each in value.items()
            if key not in OWN_KEYS and not (key == "digest" and value.get("path") in OWN_FILES)
        }
    return [without_own(each) for each in value] if isinstance(value, list) else value


def surveyed(fleet: Rehearsal) -> dict[str, Any]:
    """What the survey finds on the hosts that let us in."""
    return asyncio.run(_surveyed(fleet))


async def _surveyed(fleet: Rehearsal) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for host in load_inventory(str(fleet.inventory)).hosts:
        if fleet.faults.get(host.name) in {"auth", "sudo"}:
            continue
        async with asyncssh.connect(
            host.address,
            host.ssh.port or 22,
            username="miner",
            client_keys=[str(fleet.directory / "id_ed25519")],
            known_hosts=None,
            config=None,
        ) as connection:
            command = shlex.join(("sudo", "-n", "--", "sh", "-s", "--", "a" * 32, "-", *PATHS))
            done = await connection.run(command, input=survey_script(), encoding=None)
            assert isinstance(done.stdout, bytes)
            found = done.stdout[done.stdout.index(b"ionet-survey\t") :]
            facts[host.name] = without_own(
                msgspec.to_builtins(parse_survey(found, "a" * 32, controller_time=0.0))
            )
    return facts


@pytest.mark.parametrize("fault", [*COMPARED, None])
def test_events_are_those_of_an_ordinary_host(sides: tuple[Side, Side], fault: str | None) -> None:
    """Steps, findings, the plan's changes, errors with their logs, attempts, outcome: of three runs."""
    ordinary, modelled = (compared(side, fault) for side in sides)
    assert modelled == ordinary


def compared(side: Side, fault: str | None) -> dict[str, list[Any]]:
    """The events of the hosts with a fault; how far a host came that was cut off in the middle is chance."""
    left_out = {"step_started", "step_finished", "step_retried"} if fault == "drop" else set()
    return {
        name: [event for event in events if event["type"] not in left_out]
        for name, events in side.events.items()
        if name and side.faults.get(name) == fault
    }


def test_documents_are_those_of_an_ordinary_fleet(sides: tuple[Side, Side]) -> None:
    """Of a check, a first enrolment, and a second that leaves sound hosts unchanged."""
    ordinary, modelled = sides
    assert modelled.documents == ordinary.documents


@pytest.mark.parametrize("when", [0, 1], ids=["before", "after"])
def test_facts_are_those_of_an_ordinary_host(sides: tuple[Side, Side], when: int) -> None:
    """Everything that the survey's parser makes of the output, but ``OWN_KEYS`` and the content of ``OWN_FILES``."""
    ordinary, modelled = sides
    assert modelled.facts[when] == ordinary.facts[when]


def test_hundreds_are_enrolled_beside_faults(
    raise_modelled_fleet: RaiseModelledFleet, new_admin: NewAdmin
) -> None:
    """With a canary and waves, several hosts of each fault among 200; again: what was enrolled is unchanged."""
    admin = new_admin()
    with raise_modelled_fleet(200, *(f"{fault}=2" for fault in AMONG_MANY)) as fleet:
        first, second = (
            admin.run(
                "enroll",
                str(fleet.inventory),
                "--yes",
                "--max-failures=100%",
                "--batch-size=50%",
                "-o",
                "json",
            )
            for _ in range(2)
        )
    expected = {name: ENDS[fault][:2] for name, fault in fleet.faults.items()}
    assert ends_of(first) == {name: expected.get(name, ("enrolled", None)) for name in first.outcomes()}
    unchanged = {name: result for name, result in second.outcomes().items() if result == "unchanged"}
    assert sorted(unchanged) == sorted(
        name for name, (result, _) in ends_of(first).items() if result == "enrolled"
    )


def ends_of(ended: CommandResult) -> dict[str, tuple[str, str | None]]:
    """Host → outcome and code of the error."""
    return {
        host["name"]: (host["outcome"], (host["error"] or {"code": None})["code"])
        for host in ended.document["hosts"]
    }
