"""The host's fence: whoever surveyed a host before somebody else was at work there changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.model.names import RolloutId
from ionetctl.facts.report_lines import Done, Failed
from tests.remote.rehearsal import FENCE, Dialogue, Host, first_payload

if TYPE_CHECKING:
    from pathlib import Path

RACES = 50
NOMAD_CONFIG = "/etc/nomad.d/nomad.hcl"


def test_every_lock_counts(host: Host, tmp_path: Path) -> None:
    """A survey finds how often the lock was taken, and the host keeps who took it last."""
    found = [host.survey().fence]
    for turn in ("one", "two"):
        assert host.apply(first_payload(tmp_path, turn), fence=found[-1]).reports[-1] == Done()
        found.append(host.survey().fence)
    assert found == [0, 1, 2]
    rollout = first_payload(tmp_path).rollout
    assert host.path(FENCE).read_text() == f"2\t{rollout}\tada@ops\t2026-03-01T12:00:00Z\n-\n"


def test_apply_by_an_old_survey_is_refused(host: Host, tmp_path: Path) -> None:
    """It slept while another was at work, or is of another state directory: it is told who, and nothing changes."""
    found = host.survey().fence
    first = replace(first_payload(tmp_path), rollout=RolloutId("r-other"))
    host.apply(first)
    before = host.path(NOMAD_CONFIG).read_bytes(), host.path(FENCE).read_bytes()
    late = host.apply(first_payload(tmp_path, "two"), fence=found)
    assert late == Dialogue((Failed("changed", "r-other ada@ops 2026-03-01T12:00:00Z"),), 1, "")
    assert (host.path(NOMAD_CONFIG).read_bytes(), host.path(FENCE).read_bytes()) == before
    assert not host.path("/var/lib/ionet/lock").is_symlink()
    again = host.apply(first_payload(tmp_path, "two"), fence=host.survey().fence)
    assert again.reports[-1] == Done()


def test_older_lease_of_the_same_catalog_is_refused(host: Host, tmp_path: Path) -> None:
    """It was taken over while its controller slept: that one's survey may be as fresh as it likes."""
    newer = replace(first_payload(tmp_path), rollout=RolloutId("r-newer"))
    assert host.apply(newer, lease="ab12.8").reports[-1] == Done()
    before = host.path(NOMAD_CONFIG).read_bytes(), host.path(FENCE).read_bytes()
    late = host.apply(first_payload(tmp_path, "two"), lease="ab12.7")
    assert late == Dialogue((Failed("changed", "r-newer ada@ops 2026-03-01T12:00:00Z"),), 1, "")
    assert (host.path(NOMAD_CONFIG).read_bytes(), host.path(FENCE).read_bytes()) == before
    assert not host.path("/var/lib/ionet/lock").is_symlink()


@pytest.mark.parametrize(
    ("kept", "lease"),
    [
        ("ab12.8", "ab12.8"),
        ("ab12.9", "ab12.10"),
        ("ab12.8", "ab1.7"),
        ("ab12.8", "-"),
        ("-", "ab12.7"),
        ("ab12.x", "ab12.7"),
        ("ab12." + "9" * 40 + "x", "ab12.7"),
    ],
)
def test_lease_that_is_not_older_may_apply(host: Host, tmp_path: Path, kept: str, lease: str) -> None:
    """The same one, a later one, one of another catalog, none; and a damaged number counts for nothing."""
    host.path(FENCE).parent.mkdir(parents=True)
    host.path(FENCE).write_text(f"4\tr-1\tada@ops\tnow\n{kept}\n")
    assert host.apply(first_payload(tmp_path), lease=lease).reports[-1] == Done()
    assert host.path(FENCE).read_text().splitlines()[1] == lease


@pytest.mark.parametrize("text", ["", "x", "-1", "08", "9" * 30, "1x"])
def test_damaged_fence_begins_anew(host: Host, tmp_path: Path, text: str) -> None:
    """Survey and lock read it alike."""
    host.path(FENCE).parent.mkdir(parents=True)
    host.path(FENCE).write_text(f"{text}\n")
    assert host.survey().fence == 0
    assert host.apply(first_payload(tmp_path), fence=0).reports[-1] == Done()
    assert host.survey().fence == 1


def test_two_controllers_race(one_host: Host, tmp_path: Path) -> None:
    """Both surveyed the same host: one enrols it wholly, the other is told so, fifty times."""
    host, names = one_host, ("a", "b")
    host.environ()  # makes what both use
    winners = []
    for turn in range(RACES):
        fence, start = host.fence(), Barrier(2)

        def contend(name: str, turn: int = turn, fence: int = fence, start: Barrier = start) -> Dialogue:
            payload = replace(
                first_payload(tmp_path, f"{name}-{turn}", "restart"), rollout=RolloutId(f"r-{name}")
            )
            start.wait()
            return host.apply(payload, fence=fence)

        with ThreadPoolExecutor(2) as controllers:
            ended = dict(zip(names, controllers.map(contend, names), strict=True))
        [winner] = [name for name, dialogue in ended.items() if dialogue.reports[-1] == Done()]
        [loser] = set(names) - {winner}
        refused = ended[loser].failure
        assert refused is not None
        assert (refused.code in {"locked", "changed"}, refused.message.split()[0]) == (True, f"r-{winner}")
        assert len(ended[loser].reports) == 1
        for path in (NOMAD_CONFIG, "/etc/nomad.d/tls/ca.pem", "/etc/systemd/system/nomad.service"):
            assert f"{winner}-{turn}" in host.path(path).read_text()
        assert (host.fence(), host.path("/var/lib/ionet/lock").is_symlink()) == (fence + 1, False)
        assert not host.path("/var/lib/ionet/staging").exists()
        winners.append(winner)
    assert len(winners) == RACES
