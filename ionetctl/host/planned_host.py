"""A host that is planned: what was found on it, what it should have, and what is to be done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ionetctl.core import host_paths
from ionetctl.core.model.plan import Action, Change

if TYPE_CHECKING:
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.plan import Bundle, Plan
    from ionetctl.host.survey import Surveyed


CLOSED_PATH: Final = "authorized_keys"
CLOSE_REASON: Final = "the key that logs in is taken out once the region has confirmed the node: then"
_WITHOUT_DOOR: Final = "the console is the only way back, as the host has no maintenance door"
_WITH_DOOR: Final = "its maintenance door and the console are the only ways back"


class Mark(StrEnum):
    """What the region's metadata records about who decides on a node's eligibility."""

    NEW = "new"
    """The region does not know the node."""
    HELD = "held"
    """ionetctl has not released it: its eligibility is ours to decide."""
    RELEASED = "released"
    """ionetctl let it have jobs once: what it is now, somebody else decided."""
    NONE = "none"
    """It was there before ionetctl enrolled it: it is eligible or not by somebody else's will."""

    @property
    def is_ours(self) -> bool:
        """Whether ionetctl may change the node's eligibility."""
        return self in (Mark.NEW, Mark.HELD)


@dataclass(frozen=True, slots=True)
class PlannedHost:
    """A host with its bundle and its plan; ``unconfirmed`` is why its region does not show it as it should be.

    ``drivers_lost`` are the task drivers that jobs may use there now and not afterwards.
    """

    surveyed: Surveyed
    bundle: Bundle
    plan: Plan
    mark: Mark
    unconfirmed: str | None = None
    drivers_lost: tuple[str, ...] = ()

    @property
    def host(self) -> Host:
        """The host, as the inventory describes it."""
        return self.surveyed.host

    @property
    def facts(self) -> Facts:
        """What the latest survey found on it."""
        return self.surveyed.facts

    @property
    def is_agent_left(self) -> bool:
        """Whether nothing is to be done for the agent: its node is confirmed, and released where it is held."""
        return {change.action for change in self.plan.changes} <= {Action.RELEASE, Action.CLOSE}

    @property
    def closes(self) -> bool:
        """Whether the host is to be closed to the key that logs in, once all else is done."""
        return self.host.ssh.close == "key"

    @property
    def restarts_under_jobs(self) -> bool:
        """Whether the agent of a node with allocations will be restarted."""
        nomad = self.facts.nomad
        has_jobs = nomad.node_id is not None and nomad.allocations > 0
        return has_jobs and any(change.action is Action.RESTART for change in self.plan.changes)

    @property
    def acts_under_jobs(self) -> bool:
        """Whether something is done to a host that has had allocations."""
        return self.facts.nomad.allocations > 0 and not self.is_agent_left

    def to_release(self) -> PlannedHost:
        """The same host with the release of its node as its only change."""
        reason = "the region sees all that was promised, and the node is held"
        change = Change(Action.RELEASE, host_paths.UNIT_NAME, reason)
        return replace(self, plan=replace(self.plan, changes=(change,)))

    def with_closing(self) -> PlannedHost:
        """The same host with its closing as the last change, where the inventory asks for it."""
        if not self.closes:
            return self
        has_door = any(file.path == host_paths.ALLOWED_SIGNERS for file in self.bundle.files)
        reason = f"{CLOSE_REASON} {_WITH_DOOR if has_door else _WITHOUT_DOOR}"
        change = Change(Action.CLOSE, CLOSED_PATH, reason)
        return replace(self, plan=replace(self.plan, changes=(*self.plan.changes, change)))
