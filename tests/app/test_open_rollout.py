"""The record of a rollout: what is kept of it at its end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from ionetctl.app.open_rollout import Records
from ionetctl.core.events import RolloutFinished, RolloutStarted
from ionetctl.core.settings import Settings
from ionetctl.history.catalog import Catalog
from ionetctl.history.journal import check_journal, find_journal
from ionetctl.rollout.options import RolloutOptions
from ionetctl.rollout.signals import StoppingSignals
from ionetctl.rollout.stop import Stop
from tests.support.clock import ManualClock

if TYPE_CHECKING:
    from pathlib import Path

    from ionetctl.app.open_rollout import Record


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A state directory of the test's own."""
    made = Settings.load({"HOME": str(tmp_path), "IONETCTL_STATE_DIR": str(tmp_path / "state")})
    made.prepare_state()
    return made


async def begin(record: Record) -> None:
    event = RolloutStarted(
        rollout=record.rollout,
        inventory="site.yaml",
        inventory_digest="d",
        owner="a@b",
        version="1",
        hosts=(),
    )
    await record.emit(event)


async def test_end_of_the_journal_is_kept(settings: Settings) -> None:
    """The catalog has the journal's last digest, also of a rollout that ended by an error."""
    clock = ManualClock()
    records = Records(settings, clock, StoppingSignals(Stop()))
    for is_failing in (False, True):
        with pytest.raises(KeyError) if is_failing else contextlib.nullcontext():
            async with records.open(RolloutOptions("site.yaml"), (), ()) as record:
                await begin(record)
                await record.emit(RolloutFinished(exit_code=0))
                if is_failing:
                    raise KeyError
        journal = find_journal(settings.rollouts_dir, record.rollout)
        with Catalog.open(settings.catalog_path, clock) as catalog:
            kept = catalog.rollout(record.rollout).journal_digest
        assert kept is not None
        assert check_journal(journal.path).digest == kept
