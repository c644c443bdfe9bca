"""What an enrolment says of itself: the command that goes on with it."""

from __future__ import annotations

import pytest

from ionetctl.app.resume import resume_command
from ionetctl.core.model.names import RolloutId
from ionetctl.rollout.options import RolloutOptions

ROLLOUT = RolloutId("20261123T024834-zqgaau")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param((), "enroll site.yaml --resume --rollout ID", id="no command line"),
        pytest.param(
            ("enroll", "site.yaml", "--yes", "--limit", "rack:a 01"),
            "enroll site.yaml --yes --limit 'rack:a 01' --resume --rollout ID",
            id="consent and limits stay",
        ),
        pytest.param(
            ("enroll", "site.yaml", "--resume", "--yes", "--rollout", str(ROLLOUT)),
            "enroll site.yaml --yes --resume --rollout ID",
            id="resumed before",
        ),
        pytest.param(
            ("enroll", "site.yaml", f"--rollout={ROLLOUT}", "--resume"),
            "enroll site.yaml --resume --rollout ID",
            id="in one word",
        ),
    ],
)
def test_resume_command(command: tuple[str, ...], expected: str) -> None:
    """The command that began the rollout, and once what names it."""
    named = str(ROLLOUT) if any(str(ROLLOUT) in word for word in command) else None
    options = RolloutOptions("site.yaml", rollout=named, command=command)
    assert resume_command(options, ROLLOUT) == f"ionetctl {expected.replace('ID', ROLLOUT)}"
