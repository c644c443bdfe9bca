"""The contract's enroll document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from ionetctl.core.errors import ExitCode
from ionetctl.core.events import RolloutStopped
from ionetctl.core.model.names import HostName
from ionetctl.report.json import document, render
from ionetctl.report.preflight import preflight_document
from ionetctl.summary.rollout_summary import AcceptedKey, ClosedKey, Failure, Summary, Traffic
from ionetctl.summary.summary_fold import summarize
from tests.support.streams import GPU_MISSING, TIMEOUT, UNCONFIRMED, Rollout

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


OUTCOMES = ["enrolled", "unchanged", "failed", "unreachable", "unverified", "skipped"]
CONTRACT = closed(
    schema={"const": "ionetctl.enroll/1"},
    rollout=nullable(TEXT),
    exit_code=COUNT,
    summary=closed(**dict.fromkeys(["hosts", *OUTCOMES], COUNT)),
    hosts={
        "type": "array",
        "items": closed(
            name=TEXT,
            address=TEXT,
            region=TEXT,
            datacenter=TEXT,
            outcome={"enum": OUTCOMES},
            node_id=nullable(TEXT),
            gpus=closed(expected=nullable(COUNT), seen=nullable(COUNT)),
            duration_s={"type": "number"},
            attempts=COUNT,
            error=nullable(closed(code=TEXT, step=TEXT, message=TEXT, hint=TEXT)),
        ),
    },
    error=nullable(closed(code=TEXT, message=TEXT, hint=TEXT)),
)
SUMMARIES = {
    "mixed": summarize(
        Rollout(
            20, {1: GPU_MISSING, 2: TIMEOUT, 3: UNCONFIRMED}, unchanged=frozenset({4}), exit_code=5
        ).play()
    ),
    "stopped": summarize(
        Rollout(5, stop=RolloutStopped(code="too_many_failures", message="3 of 5"), exit_code=10).play()
    ),
    "unfinished": summarize(Rollout(5).play()[:4]),
    "early error": Summary(
        exit_code=ExitCode.CONFIGURATION, error=Failure("inventory_invalid", "x.yaml:1:1: no", "mend it")
    ),
}


@pytest.mark.parametrize("summary", SUMMARIES.values(), ids=SUMMARIES.keys())
def test_document_has_the_contracts_keys(summary: Summary) -> None:
    """Every document, early errors included, has exactly the contract's keys and types."""
    jsonschema.validate(json.loads(render(summary)), CONTRACT)


def test_document_counts_what_it_lists() -> None:
    """The counts are those of the list below them."""
    document = json.loads(render(SUMMARIES["mixed"]))
    listed = [host["outcome"] for host in document["hosts"]]
    expected = {"hosts": len(listed)} | {name: listed.count(name) for name in OUTCOMES}
    assert (document["summary"], document["exit_code"]) == (expected, 5)


def test_early_error_fills_error_and_no_host() -> None:
    """A command that failed before it knew a host says why, in the same document."""
    document = json.loads(render(SUMMARIES["early error"]))
    assert (document["hosts"], document["error"], document["exit_code"], document["rollout"]) == (
        [],
        {"code": "inventory_invalid", "message": "x.yaml:1:1: no", "hint": "mend it"},
        3,
        None,
    )


def test_stop_is_the_documents_error() -> None:
    """A rollout that was stopped says so where a script looks first."""
    document = json.loads(render(SUMMARIES["stopped"]))
    assert document["error"] == {"code": "too_many_failures", "message": "3 of 5", "hint": ""}


def test_failed_host_carries_its_error() -> None:
    """Code, step, message and hint stand with the host."""
    document = json.loads(render(SUMMARIES["mixed"]))
    assert document["hosts"][1]["error"] == {
        "code": GPU_MISSING.code,
        "step": GPU_MISSING.step,
        "message": GPU_MISSING.message,
        "hint": GPU_MISSING.hint,
    }


@pytest.mark.parametrize("made", [document, preflight_document])
def test_accepted_keys_stand_where_there_were_any(made: Callable[[Summary], dict[str, object]]) -> None:
    """Each with its host and the name in known_hosts, only where --accept-new took any."""
    key = AcceptedKey(HostName("g1"), "SHA256:k", "[10.0.0.1]:2222")
    found = made(Summary(exit_code=ExitCode.OK, accepted_keys=(key,)))
    assert found["accepted_keys"] == [
        {"host": "g1", "fingerprint": "SHA256:k", "known_as": "[10.0.0.1]:2222"}
    ]
    assert "accepted_keys" not in made(Summary(exit_code=ExitCode.OK))


def test_closed_keys_stand_where_there_were_any() -> None:
    """Each with its host and the account, only where hosts were closed."""
    key = ClosedKey(HostName("g1"), "miner", "SHA256:k")
    found = document(Summary(exit_code=ExitCode.OK, closed_keys=(key,)))
    assert found["closed_keys"] == [{"host": "g1", "account": "miner", "fingerprint": "SHA256:k"}]
    assert "closed_keys" not in document(Summary(exit_code=ExitCode.OK))


def test_traffic_stands_where_there_was_any() -> None:
    """Bytes pushed and fetched, only where not every host was pushed what it lacks."""
    documents = [
        json.loads(render(Summary(exit_code=ExitCode.OK, traffic=traffic)))
        for traffic in (None, Traffic(1, 2))
    ]
    assert [document.get("distribution") for document in documents] == [
        None,
        {"pushed_bytes": 1, "fetched_bytes": 2},
    ]
