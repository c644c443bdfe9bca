"""What changes of nodes share with enrolments: which failed hosts are tried again, outcomes, work that begins again."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from ionetctl.core.errors import UsageError
from ionetctl.core.model.outcome import Result
from ionetctl.host import outcomes
from ionetctl.rollout.engines.jobs import EnrollJob
from ionetctl.rollout.options import RetryFailed, RolloutOptions
from tests.support.sample import HOST, view

if TYPE_CHECKING:
    from ionetctl.host.planned_host import PlannedHost


@pytest.mark.parametrize(
    ("only", "never", "expected"),
    [
        (True, False, RetryFailed.ONLY),
        (False, True, RetryFailed.NEVER),
        (False, False, RetryFailed.LAST),
    ],
    ids=["only", "never", "last"],
)
def test_failed_hosts_of_a_resumed_rollout(only: bool, never: bool, expected: RetryFailed) -> None:  # noqa: FBT001
    """By what the command line asks for."""
    assert RetryFailed.parse(resume=True, only=only, never=never) is expected


@pytest.mark.parametrize(
    ("resume", "never", "code"),
    [(True, True, "options_exclusive"), (False, False, "failed_without_resume")],
    ids=["both", "nothing is resumed"],
)
def test_what_cannot_be_asked_for(resume: bool, never: bool, code: str) -> None:  # noqa: FBT001
    """Both at once, and either of a rollout that is new."""
    with pytest.raises(UsageError) as caught:
        RetryFailed.parse(resume=resume, only=True, never=never)
    assert caught.value.code == code


def test_outcome_of_a_node() -> None:
    """It has the node's id, and what the region shows of its GPUs."""
    found = outcomes.of_node(HOST, Result.DONE, view())
    assert (found.host, found.result, found.node_id) == (HOST.name, Result.DONE, view().id)


def test_work_that_told_nothing_begins_whole() -> None:
    """A worker that died before the host was confirmed leaves nothing to be concluded."""
    job = EnrollJob(cast("PlannedHost", None), "nonce")
    assert job.again([]) is job


def test_rollout_is_named_to_be_resumed() -> None:
    """Whichever command it is."""
    with pytest.raises(UsageError) as caught:
        RolloutOptions("site.yaml", rollout="20261123T011226-k3f9qa")
    assert caught.value.code == "rollout_without_resume"
