"""Documents and events of one small fleet, held against goldens: what users' scripts read must not change unseen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.goldens.golden import compare, normalized, remove_others

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal

LAST: Final = "lab1-r001-g07"
"""The host that the first rollout leaves out, so that the streamed one has something to do."""
FAULTS: Final = ("unreachable=1", "gpu-missing=1", "same-hostname=2")
ROLLOUT: Final = ("--yes", "--canary=1", "--batch-size=100%", "--max-failures=100%")
STEPS: Final = {
    # golden → arguments; INVENTORY stands for the path
    "preflight": ("preflight", "INVENTORY", "-o", "json"),
    "enroll-check": ("enroll", "INVENTORY", "--check", "-o", "json"),
    "enroll": ("enroll", "INVENTORY", *ROLLOUT, f"--limit=!{LAST}", "-o", "json"),
    "events": ("enroll", "INVENTORY", *ROLLOUT, "-o", "ndjson"),
    "enroll-again": ("enroll", "INVENTORY", *ROLLOUT, "-o", "json"),
    "status": ("status", "-o", "json"),
    "status-offline": ("status", "--offline", "-o", "json"),
    "verify": ("verify", "INVENTORY", "-o", "json"),
    "nodes-list": ("nodes", "list", "--inventory=INVENTORY", "-o", "json"),
    "node": ("nodes", "show", "--inventory=INVENTORY", LAST, "-o", "json"),
    "capacity": ("capacity", "-o", "json"),
    "capacity-offline": ("capacity", "--offline", "-o", "json"),
    "capacity-k8s": ("capacity", "--format", "k8s", "-o", "json"),
}


@pytest.fixture(scope="module")
def ended(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> dict[str, CommandResult]:
    """How each step ended, one after the other on the same fleet."""
    admin = new_admin()
    with raise_fleet(7, *FAULTS) as rehearsal:
        return {name: run(admin, rehearsal, arguments) for name, arguments in STEPS.items()}


def run(admin: Admin, rehearsal: Rehearsal, arguments: tuple[str, ...]) -> CommandResult:
    inventory = str(rehearsal.inventory)
    return admin.run(*(word.replace("INVENTORY", inventory) for word in arguments))


@pytest.mark.parametrize("name", [name for name in STEPS if name != "events"])
def test_document(ended: dict[str, CommandResult], name: str) -> None:
    """Keys, their order, types and every value that two runs share are those of the golden."""
    compare(f"documents/{name}.json", normalized(ended[name].stdout))


def test_event_types(ended: dict[str, CommandResult]) -> None:
    """Each type of event that a rollout streams has the keys, in the order, with the types of values that it had."""
    *events, document = ended["events"].lines
    types = sorted({event["type"] for event in events})
    shapes = {name: distinct([event for event in events if event["type"] == name]) for name in types}
    compare("documents/events.json", json.dumps(shapes, indent=2) + "\n")
    assert document["schema"] == "ionetctl.enroll/1"


def test_exit_codes(ended: dict[str, CommandResult]) -> None:
    """Every step ends as it did."""
    codes = {name: step.exit_code for name, step in ended.items()}
    compare("documents/exit-codes.json", json.dumps(codes, indent=2) + "\n")


def test_no_golden_is_left_of_a_step_that_is_gone() -> None:
    """Each golden belongs to a step."""
    remove_others("documents", {f"{name}.json" for name in (*STEPS, "exit-codes")})


def shape(value: Any) -> Any:
    """The keys of a mapping, what a list is made of, the type of anything else."""
    if isinstance(value, dict):
        return {key: shape(below) for key, below in value.items()}
    return distinct(value) if isinstance(value, list) else type(value).__name__


def distinct(values: Sequence[Any]) -> list[Any]:
    """The shapes that values have, each once."""
    return [json.loads(text) for text in sorted({json.dumps(shape(value)) for value in values})]
