"""Cases of the checks of what tenants could do to the host."""

from __future__ import annotations

from typing import Final

from tests.checks.host_case import Case

CASES: Final = (
    Case(
        ("docker_not_remapped warn",),
        machine={"is_docker_remapped": False},
        message="Docker's containers have no users of their own: their root is the host's",
    ),
    Case(machine={"is_docker_remapped": None}),
    Case(("landlock_off warn",), machine={"has_landlock": False}),
    Case(machine={"has_landlock": None}),
)
