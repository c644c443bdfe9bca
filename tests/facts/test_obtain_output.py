"""What a host says of files that it was to get: taken only as far as it was asked."""

from __future__ import annotations

import pytest

from ionetctl.core.model.names import Digest
from ionetctl.facts.obtain_output import CUT_OFF, ObtainOutput, parse_obtained

NOMAD, PLUGIN = Digest("a" * 64), Digest("b" * 64)


def parsed(*lines: str) -> ObtainOutput:
    text = "\n".join(["ionet-obtain\t1\tn0nce", *lines, "ionet-obtain-end\tn0nce", ""])
    return parse_obtained(text.encode(), "n0nce", {NOMAD, PLUGIN}, {"10.0.0.5"})


def test_whole_output() -> None:
    """Files with their bytes, why one is missing, and where the host serves them."""
    assert parsed(
        f"got\t{NOMAD}\t123", f"missed\t{PLUGIN}\tfetch_failed\tcurl: (7) refused", "serving\t10.0.0.5\t40000"
    ) == ObtainOutput({NOMAD: 123}, "fetch_failed", "curl: (7) refused", ("10.0.0.5", 40000))


def test_reason_for_not_serving() -> None:
    """A host that cannot serve says why, and its text is harmless."""
    assert parsed("not-serving\tthere is no \x1b[31mpython3").not_serving == "there is no python3"


@pytest.mark.parametrize(
    "line",
    [
        f"got\t{'c' * 64}\t1",
        f"got\t{NOMAD}\t-1",
        f"got\t{NOMAD}",
        "missed\tx\tfetch_failed\ttext",
        "serving\t169.254.169.254\t40000",
        "serving\t10.0.0.5\t80",
        "serving\t10.0.0.5\t70000",
        "serving\t10.0.0.5\t100000000",
        "serving\t10.0.0.5\t\u0664\u0660\u0660\u0660\u0660",
        "noise",
    ],
)
def test_what_was_not_asked_for_does_not_count(line: str) -> None:
    """No file, address or port that the host was not given."""
    assert parsed(line) == ObtainOutput({})


@pytest.mark.parametrize("output", [b"", b"ionet-obtain\t1\tn0nce\n", b"ionet-obtain\t1\tother\n"])
def test_output_that_is_cut_off(output: bytes) -> None:
    """It says nothing, which is no fault of the source."""
    found = parse_obtained(output, "n0nce", {NOMAD}, ())
    assert (found.got, found.kind, found.is_hosts_own_fault) == ({}, CUT_OFF, True)


def test_whose_fault_it_is() -> None:
    """A host without tools or room is to blame itself; for a failed fetch the source is."""
    own = [parsed(f"missed\t{NOMAD}\t{kind}\ttext").is_hosts_own_fault for kind in ("no_tool", "no_room")]
    assert (own, parsed(f"missed\t{NOMAD}\tfetch_failed\ttext").is_hosts_own_fault) == ([True, True], False)
