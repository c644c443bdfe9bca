"""What a host says of a key in its ``authorized_keys``."""

from __future__ import annotations

import pytest

from ionetctl.core.errors import HostError
from ionetctl.facts.close_output import CloseOutput, KeyFile, parse_close


def said(*records: str) -> bytes:
    """A whole output with these records."""
    return "\n".join(("ionet-close\t1\tN", *records, "ionet-close-end\tN", "bye")).encode()


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ((), CloseOutput()),
        (("addresses\t10.0.0.1 1 10.0.0.2 22",), CloseOutput(addresses="10.0.0.1 1 10.0.0.2 22")),
        (
            ("key\taccount\t1\t/h/a", "key\troot\t2\t/etc/k"),
            CloseOutput(
                files=(
                    KeyFile("/h/a", is_accounts=True, lines=1),
                    KeyFile("/etc/k", is_accounts=False, lines=2),
                )
            ),
        ),
        (
            tuple(f"key\troot\t1\t/{number}" + "\u00e4 '" * 170 for number in range(6)),
            CloseOutput(
                files=tuple(
                    KeyFile(f"/{number}" + "\u00e4 '" * 170, is_accounts=False, lines=1)
                    for number in range(6)
                )
            ),
        ),
        (
            ("key\troot\t1\t/etc/k",) * 9,
            CloseOutput(files=(KeyFile("/etc/k", is_accounts=False, lines=1),)),
        ),
        (("removed\t1\t/h/a", "removed\t2\t/etc/k"), CloseOutput(removed=3)),
        (
            ("refused\tbusy\t\x1b[31manother run",),
            CloseOutput(refused="busy", reason="another run"),
        ),
    ],
)
def test_records_are_read(records: tuple[str, ...], expected: CloseOutput) -> None:
    """Between the nonces; texts of the host are cleaned."""
    assert parse_close(said(*records), "N") == expected


@pytest.mark.parametrize(
    ("output", "code"),
    [
        (b"", "close_incomplete"),
        (b"ionet-close\t1\tN\nremoved\t1\t/a\n", "close_incomplete"),
        (said("key\tnobody\t1\t/a"), "close_malformed"),
        (said("key\troot\t-1\t/a"), "close_malformed"),
        (said("key\troot\t1\t-rf"), "close_malformed"),
        (said("key\troot\t1\t/a\0b"), "close_malformed"),
        (said("key\troot\t1\t/a\x7f"), "close_malformed"),
        (said("key\troot\t1\t/\ufffd"), "close_malformed"),
        (said("key\troot\t1\t/" + "a" * 513), "close_malformed"),
        (said(*(f"key\troot\t1\t/{number}" for number in range(7))), "close_malformed"),
        (said("removed\tmany\t/a"), "close_malformed"),
        (said("removed\t99999\t/a"), "close_malformed"),
        (said("closed"), "close_malformed"),
    ],
)
def test_answers_that_cannot_be_meant_are_refused(output: bytes, code: str) -> None:
    """A torn or foreign answer is the host's error."""
    with pytest.raises(HostError) as caught:
        parse_close(output, "N")
    assert caught.value.code == code
    assert caught.value.hint
