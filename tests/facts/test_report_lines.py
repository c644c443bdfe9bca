"""Lines that a host reports: each has its meaning, in an apply or in a preparation, or is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionetctl.core.errors import HostFailedError
from ionetctl.core.model.names import Digest, NodeId
from ionetctl.facts.report_lines import (
    APPLY_REPORTS,
    PREPARE_REPORTS,
    STEPS,
    AwaitCertificate,
    AwaitToken,
    AwaitVerdict,
    Changed,
    Done,
    Failed,
    Have,
    LogLine,
    NodeReported,
    Noise,
    Ready,
    RebootNeeded,
    Report,
    ReportTable,
    Step,
    parse_report_line,
)

NODE_ID = NodeId("7b0dcd2c-6b2f-4c3c-9f0a-3d1c7f1f2a11")
COMMON: list[tuple[bytes, Report]] = [
    (b"ready\tn0nce", Ready("n0nce")),
    (b"have\t" + b"d" * 64 + b"\t7", Have(Digest("d" * 64), 7)),
    (b"error\tdisk_full\tNo space\tleft", Failed("disk_full", "No space left")),
    (b"error\tdisk_full", Failed("disk_full", "")),
    (b"done", Done()),
    (b"Welcome to \x1b[1mHiveOS", Noise("Welcome to HiveOS")),
    (b"", Noise("")),
]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        *COMMON,
        *((f"step\t{name}".encode(), Step(name)) for name in STEPS),
        (b"await\ttoken", AwaitToken()),
        (b"await\tcertificate\tMAo=", AwaitCertificate(b"0\n")),
        (b"await\tcertificate\t" + b"A" * 2000, AwaitCertificate(bytes(1500))),
        (b"await\tverdict", AwaitVerdict()),
        (f"node\t{NODE_ID}".encode(), NodeReported(NODE_ID)),
        (b"log\t\x1b[31mPermission\tdenied", LogLine("Permission denied")),
        (b"log\t", LogLine("")),
        (b"reboot\tnow", Noise("reboot now")),
    ],
)
def test_a_report_of_an_apply_is_read(line: bytes, expected: Report) -> None:
    """Every line of the protocol has its meaning, and any other is noise."""
    assert parse_report_line(line, APPLY_REPORTS) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        *COMMON,
        (b"step\treceive", Step("receive")),
        (b"step\tcontainer_toolkit", Step("container_toolkit")),
        (b"changed\tdocker\tinstalled\t\x1b[31mdocker.io", Changed("docker", "installed docker.io")),
        (b"reboot\tthe driver\ttakes over", RebootNeeded("the driver takes over")),
        (b"error\t../odd\tx", Failed("prepare_failed", "x")),
        (b"error", Failed("prepare_failed", "")),
        (b"await\ttoken", Noise("await token")),
    ],
)
def test_a_report_of_a_preparation_is_read(line: bytes, expected: Report) -> None:
    """Every line of the protocol has its meaning, and any other is noise."""
    assert parse_report_line(line, PREPARE_REPORTS) == expected


@pytest.mark.parametrize(
    ("line", "table"),
    [
        (b"step\twait", APPLY_REPORTS),
        (b"await\tmoney", APPLY_REPORTS),
        (b"await\tcertificate", APPLY_REPORTS),
        (b"await\tcertificate\t", APPLY_REPORTS),
        (b"await\tcertificate\tA", APPLY_REPORTS),
        (b"await\tcertificate\tM\xc3\xa4o=", APPLY_REPORTS),
        (b"await\tcertificate\t" + b"A" * 2004, APPLY_REPORTS),
        (b"await\tcertificate\t" + b"A" * (1 << 20), APPLY_REPORTS),
        (b"node\t../../etc/passwd", APPLY_REPORTS),
        (b"node\t7B0DCD2C-6B2F-4C3C-9F0A-3D1C7F1F2A11", APPLY_REPORTS),
        (b"error\tDisk Full\tx", APPLY_REPORTS),
        (b"error", APPLY_REPORTS),
        (b"done\tnow", APPLY_REPORTS),
        (b"have\t" + b"D" * 64 + b"\t7", APPLY_REPORTS),
        (b"have\t" + b"d" * 64 + b"\t-7", APPLY_REPORTS),
        (b"have\t" + b"d" * 64, PREPARE_REPORTS),
        (b"step\tStop the miner", PREPARE_REPORTS),
        (b"changed\t../docker\tx", PREPARE_REPORTS),
        (b"done\tnow", PREPARE_REPORTS),
    ],
)
def test_a_malformed_report_is_refused(line: bytes, table: ReportTable) -> None:
    """A keyword of the protocol followed by what may not follow is an error of its own."""
    with pytest.raises(HostFailedError) as caught:
        parse_report_line(line, table)
    assert (caught.value.code, table.dialogue in caught.value.hint) == ("report_malformed", True)


@given(st.binary(max_size=100), st.sampled_from([APPLY_REPORTS, PREPARE_REPORTS]))
def test_any_line_is_a_report_or_refused(line: bytes, table: ReportTable) -> None:
    """No line raises anything but a named error."""
    with contextlib.suppress(HostFailedError):
        assert isinstance(parse_report_line(line, table), Report)
