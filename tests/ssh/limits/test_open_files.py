"""How many files and hosts this process may have open."""

from __future__ import annotations

import resource

import pytest

from ionetctl.ssh.limits.open_files import PER_HOST, RESERVED, most_hosts, raise_limit


def test_limit_is_raised_as_far_as_it_may_be() -> None:
    """The soft limit becomes the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard))
    try:
        assert (raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)) == (hard, (hard, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("files", "hosts"),
    [(1024, (1024 - RESERVED) // PER_HOST), (RESERVED + 2 * PER_HOST, 2), (64, 1)],
)
def test_hosts_that_files_allow(files: int, hosts: int) -> None:
    """What everything else needs is kept back; one host is always possible."""
    assert most_hosts(files) == hosts


def test_no_limit() -> None:
    """Where files are not limited, neither are hosts, for all that matters."""
    assert most_hosts(resource.RLIM_INFINITY) > 1_000_000
