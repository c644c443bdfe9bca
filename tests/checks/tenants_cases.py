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
    Case(("links_followed warn",), machine={"can_refuse_links": False}),
    Case(machine={"can_refuse_links": None}),
    Case(
        ("loopback_services info",),
        machine={"loopback_ports": (631,)},
        message="on loopback alone something listens: TCP 631",
    ),
    Case(
        ("loopback_services info",),
        machine={"loopback_ports": (1, 2, 3, 4, 5, 6)},
        message="on loopback alone something listens: TCP 1, 2, 3, 4, 5 and 6",
    ),
    Case(
        ("loopback_services info",),
        machine={"loopback_ports": (1, 2, 3, 4, 5, 6, 7)},
        message="on loopback alone something listens: TCP 1, 2, 3, 4, 5, 6 and 1 more",
    ),
    Case(machine={"loopback_ports": None}),
)
