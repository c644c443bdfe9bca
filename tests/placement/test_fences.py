"""Where a maintenance door may open: namespaces that keep their jobs to docker, all of them seen."""

from __future__ import annotations

import pytest

from ionetctl.core.errors import ExitCode, RegionError
from ionetctl.core.model.node import Namespace, SeenNamespaces
from ionetctl.placement.fences import check_fences, fence_findings
from tests.support.sample import EU_NORTH

FENCED = Namespace("default", frozenset({"docker"}))
DOOR = Namespace("ionet-maintenance", frozenset({"exec"}))
LISTED = Namespace("team", None, frozenset({"exec", "java", "qemu", "raw_exec"}))
"""Refuses what is known today: whatever comes with another plugin or release may run."""


def seen(*namespaces: Namespace, are_all: bool = True) -> SeenNamespaces:
    return SeenNamespaces(namespaces, are_all)


def reported(*namespaces: Namespace, are_all: bool = True) -> list[str]:
    found = fence_findings(EU_NORTH, seen(*namespaces, are_all=are_all))
    return [f"{one.code} {one.severity.value}" for one in found]


@pytest.mark.parametrize(
    "namespaces",
    [
        (FENCED, DOOR),
        (FENCED, Namespace("ionet-maintenance")),
        (FENCED, DOOR, Namespace("team", frozenset({"docker", "exec"}), frozenset({"exec"}))),
    ],
    ids=["as-asked", "door-without-limit", "exec-given-and-refused"],
)
def test_a_door_opens_where_others_have_docker_alone(namespaces: tuple[Namespace, ...]) -> None:
    """By the list of what is allowed, less what is refused; the door's own namespace is for the door."""
    assert reported(*namespaces) == []
    check_fences(EU_NORTH, seen(*namespaces))


@pytest.mark.parametrize(
    ("namespace", "may"),
    [
        (Namespace("team"), "any task driver, not docker alone"),
        (LISTED, "any task driver but exec, java, qemu, raw_exec, not docker alone"),
        (Namespace("team", frozenset({"docker", "podman"})), "docker, podman, not docker alone"),
        (Namespace("team", frozenset({"docker", "java", "exec"}), frozenset({"java"})), "docker, exec, not docker alone"),
    ],
    ids=["no-limit", "only-refusals", "another-driver", "partly-refused"],
)  # fmt: skip
def test_a_namespace_that_allows_more_keeps_doors_closed(namespace: Namespace, may: str) -> None:
    """It is named with what its jobs may use, and with the command that fences it."""
    [found] = fence_findings(EU_NORTH, seen(FENCED, DOOR, namespace))
    assert found.code == "namespace_unfenced"
    assert found.message.startswith(f"jobs in the namespace team of eu-north may use {may}: ")
    assert found.hint == (
        """nomad namespace inspect team | jq '.Capabilities.EnabledTaskDrivers = ["docker"]' | """
        "nomad operator api -X PUT /v1/namespace/team"
    )
    with pytest.raises(RegionError) as caught:
        check_fences(EU_NORTH, seen(FENCED, DOOR, namespace))
    assert (caught.value.code, caught.value.exit_code) == ("namespace_unfenced", ExitCode.UNVERIFIED)
    assert caught.value.message == f"no maintenance door: {found.message}"


def test_what_is_not_seen_counts_as_open() -> None:
    """However well fenced those are that the token sees."""
    assert reported(FENCED, DOOR, are_all=False) == ["namespaces_hidden block"]
    with pytest.raises(RegionError) as caught:
        check_fences(EU_NORTH, seen(FENCED, DOOR, are_all=False))
    assert caught.value.code == "namespaces_hidden"


def test_all_that_is_open_is_counted() -> None:
    """One is told whole, the others by their number; a check of the region has them all, by their names."""
    namespaces = (Namespace("web"), FENCED, DOOR, Namespace("batch"))
    assert reported(*namespaces) == ["namespace_unfenced block"] * 2
    with pytest.raises(RegionError, match=r"namespace batch of .*\(and 1 more of its namespaces: ionetctl region check\)$"):  # fmt: skip
        check_fences(EU_NORTH, seen(*namespaces))


@pytest.mark.parametrize(
    ("namespaces", "begins"),
    [
        ((FENCED,), "nomad namespace apply ionet-maintenance && nomad namespace inspect ionet-maintenance | "),
        ((FENCED, Namespace("ionet-maintenance", frozenset({"docker"}))), "nomad namespace inspect ionet-maintenance | "),
    ],
    ids=["absent", "without-exec"],
)  # fmt: skip
def test_a_region_without_the_doors_namespace_is_fenced_all_the_same(
    namespaces: tuple[Namespace, ...], begins: str
) -> None:
    """Words do not reach its hosts yet; that is said, with what makes it, and keeps nobody from enrolling."""
    [found] = fence_findings(EU_NORTH, seen(*namespaces))
    assert (found.code, found.severity.value, found.hint.startswith(begins)) == (
        "door_namespace_missing",
        "warn",
        True,
    )
    check_fences(EU_NORTH, seen(*namespaces))
