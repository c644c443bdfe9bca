"""Equal values are held once, and stay what they are."""

from __future__ import annotations

import gc
import math
import pickle
import tracemalloc
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.model.facts import Disk
from ionetctl.core.model.host import Host
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.outcome import Finding, Severity
from ionetctl.core.model.shared_values import MOST, SharedValues
from ionetctl.core.observed import GpuMemoryHealth, PcieLink, SeenGpu

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class _Derived:
    """A record that its constructor alone does not make."""

    name: str
    length: int = field(init=False, default=0)


def _gpu(uuid: str) -> SeenGpu:
    """A GPU as it comes from another process: nothing of it is anybody else's."""
    seen = SeenGpu(
        1000,
        "NVIDIA GeForce RTX 4090",
        uuid,
        24564,
        "00000000:01:00.0",
        link=PcieLink(4, 4, 16, 16),
        memory_health=GpuMemoryHealth(is_ecc_on=False, ecc_corrected=4096),
        power_limit_w=450.5,
        unreadable=("nvlink: not in this state",),
    )
    made: SeenGpu = pickle.loads(pickle.dumps(seen))  # noqa: S301  (made in the line before)
    return made


def test_equal_records_are_one() -> None:
    """The second one is the first."""
    shared = SharedValues()
    assert shared.of(_gpu("GPU-1")) is shared.of(_gpu("GPU-1"))


def test_records_that_differ_have_their_equal_parts_in_common() -> None:
    """All but what differs is held once."""
    shared = SharedValues()
    first, second = shared.of(_gpu("GPU-1")), shared.of(_gpu("GPU-2"))
    assert (first, second) == (_gpu("GPU-1"), _gpu("GPU-2"))
    names = ("name", "memory_mib", "pci_bus_id", "link", "memory_health", "power_limit_w", "unreadable")
    assert [name for name in names if getattr(first, name) is not getattr(second, name)] == []


def test_records_with_dictionaries_share_what_is_in_them() -> None:
    """Who changes the dictionary of one record changes no other's."""
    shared = SharedValues()
    host = Host(HostName("a"), "10.0.0.1", RegionName("eu"), "dc1", meta={"ionet.site": "north-1"})
    first, second = (shared.of(pickle.loads(pickle.dumps(host))) for _ in range(2))  # noqa: S301  (likewise)
    assert first == second == host
    assert first.meta is not second.meta
    assert first.meta["ionet.site"] is second.meta["ionet.site"]


@pytest.mark.parametrize(
    ("one", "other"),
    [(1000, 1000.0), (True, 1), (0.0, -0.0), ((1,), (True,)), ((1,), (1.0,))],
    ids=["int-float", "bool-int", "zeros", "tuple-of-bool", "tuple-of-float"],
)
def test_equal_values_that_are_written_differently_stay_themselves(one: object, other: object) -> None:
    """Whatever order they come in."""
    for values in ((one, other), (other, one)):
        shared = SharedValues()
        assert [repr(shared.of(value)) for value in values] == [repr(value) for value in values]


def test_minus_zero_stays_negative() -> None:
    """In a record too, after one with 0.0."""
    shared = SharedValues()
    shared.of(replace(_gpu("GPU-1"), power_limit_w=0.0))
    found = shared.of(replace(_gpu("GPU-1"), power_limit_w=-0.0)).power_limit_w
    assert found is not None
    assert math.copysign(1, found) == -1


def test_members_of_enumerations_stay_members() -> None:
    """In a record too."""
    shared = SharedValues()
    finding = shared.of(Finding("a", Severity.WARN, "b", "c"))
    assert finding.severity is Severity.WARN
    assert shared.of(Severity.WARN) is Severity.WARN


def test_what_a_constructor_does_not_make_is_left_alone() -> None:
    """Such a record, and what is no record."""
    shared = SharedValues()
    derived, names = _Derived("a"), frozenset({"a"})
    assert shared.of(derived) is derived
    assert shared.of(names) is names


def test_many_values_are_forgotten_again() -> None:
    """The memory has an end, and nothing becomes another value by it."""
    shared = SharedValues()
    first = shared.of(_gpu("GPU-first"))
    disks = [Disk("/", number, "ext4", is_read_only=False, is_noexec=False) for number in range(3 * MOST)]
    assert [shared.of(disk) for disk in disks] == disks
    assert [shared.of(_gpu(f"GPU-{number}")).uuid for number in range(MOST)][-1] == f"GPU-{MOST - 1}"
    again = shared.of(_gpu("GPU-first"))
    assert again == first
    assert again is not first


def test_hosts_take_less_than_half_the_memory() -> None:
    """Eight GPUs a host, which differ in their UUIDs alone."""

    def taken(*, is_shared: bool) -> int:
        tracemalloc.start()
        try:
            keep: Callable[[tuple[SeenGpu, ...]], tuple[SeenGpu, ...]]
            keep = SharedValues().of if is_shared else lambda each: each
            kept = [keep(tuple(_gpu(f"GPU-{host}-{gpu}") for gpu in range(8))) for host in range(20)]
            del keep
            gc.collect()
            assert len(kept) == 20
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    assert taken(is_shared=True) < taken(is_shared=False) / 2
