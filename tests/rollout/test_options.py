"""What a command line asks of a rollout."""

from __future__ import annotations

import pytest

from ionetctl.core.errors import UsageError
from ionetctl.rollout.options import Goal, RolloutOptions, Size, Strategy, parse_rate


def test_defaults_are_the_contracts() -> None:
    """A canary of one, batches of 10 %, 5 % may fail."""
    expected = Strategy(1, Size(10, is_percentage=True), Size(5, is_percentage=True))
    assert RolloutOptions("site.yaml").strategy == Strategy.parse(1, "10%", "5%") == expected


@pytest.mark.parametrize(
    ("batch_size", "max_failures", "option"), [("x", "5%", "--batch-size"), ("1", "101%", "--max-failures")]
)
def test_size_that_is_none_names_its_option(batch_size: str, max_failures: str, option: str) -> None:
    """Which option was meant is told."""
    with pytest.raises(UsageError, match=option):
        Strategy.parse(1, batch_size, max_failures)


@pytest.mark.parametrize("goal", list(Goal))
def test_only_an_enrolment_changes_hosts(goal: Goal) -> None:
    """A check and a preflight do not."""
    assert RolloutOptions("site.yaml", goal=goal).changes_hosts is (goal is Goal.ENROLL)


@pytest.mark.parametrize(
    ("text", "of", "size"), [("5%", 200, 10), ("5%", 6, 1), ("0", 200, 0), ("7", 3, 7), ("0%", 9, 0)]
)
def test_sizes(text: str, of: int, size: int) -> None:
    """A percentage is rounded up, a number is itself."""
    assert Size.parse(text, "--batch-size").of(of) == size


@pytest.mark.parametrize("text", ["", "-1", "10 %x", "101%", "ten", "1.5"])
def test_nonsense_sizes_name_their_option(text: str) -> None:
    """A size that cannot be meant is a usage error."""
    with pytest.raises(UsageError, match="--max-failures"):
        Size.parse(text, "--max-failures")


@pytest.mark.parametrize("text", ["5%", "12"])
def test_sizes_print_as_written(text: str) -> None:
    """What is recorded is what was asked for."""
    assert str(Size.parse(text, "--batch-size")) == text


@pytest.mark.parametrize(
    ("text", "bytes_per_s"),
    [("1000", 1000), ("500K", 512_000), ("50M", 52_428_800), ("1G", 1 << 30), ("1.5m", 1_572_864)],
)
def test_rates(text: str, bytes_per_s: int) -> None:
    """Bytes a second, with units of 1024."""
    assert parse_rate(text) == bytes_per_s


@pytest.mark.parametrize("text", ["", "0", "0.0001K", "-1", "5T", "50 Mbit", "50MB", "M"])
def test_nonsense_rates(text: str) -> None:
    """A rate that cannot be meant, or with which nothing would be sent, is a usage error."""
    with pytest.raises(UsageError, match="--bwlimit"):
        parse_rate(text)
