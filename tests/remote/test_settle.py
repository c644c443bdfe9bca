"""What must be on disk: a sync that fails fails the step, one that cannot take files writes everything."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core import host_paths
from ionetctl.core.model.host import Prepare
from ionetctl.facts.report_lines import Done, Report, Step
from tests.remote.preparing import prepare
from tests.remote.rehearsal import Host, arrived, config, first_payload, shim

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

CALLS = "/standin/syncs"
EIO = "Input/output error"
MODULES = "/etc/modules-load.d/ionet.conf"
SYNCS = {"backup": 1, "marker": 2, "staged": 3, "places": 5}
"""The syncs of an apply; the fourth is the token's, of which a new file is made where it fails."""


def sync_says(host: Host, script: str) -> None:
    """Let sync do that, after its call was noted, with what the backup's index named then."""
    index = host.path("/var/lib/ionet/rollback/index")
    noted = f"""printf '%s | %s\\n' "$*" "$(tr '\\n' ' ' 2>/dev/null <"{index}")" >>"{host.path(CALLS)}" """
    shim(host, "sync", f'if [ "$*" = /dev ]; then exit; fi\n{noted}\n{script}')


def sync_fails(host: Host, number: int, why: str = EIO) -> None:
    """Let the sync of that number fail, and none after it: the kernel tells of a lost write once."""
    count = f'"$(wc -l <"{host.path(CALLS)}")"'
    sync_says(
        host, f"if [ {count} = {number} ]; then echo \"sync: error syncing '$1': {why}\" >&2; exit 1; fi"
    )


def syncs(host: Host) -> list[str]:
    return host.read(CALLS).splitlines()


@pytest.fixture
def enrolled(host: Host, tmp_path: Path) -> Host:
    assert host.apply(first_payload(tmp_path)).exit_status == 0
    return host


@pytest.mark.parametrize("which", SYNCS)
def test_a_failed_sync_fails_the_apply(enrolled: Host, tmp_path: Path, which: str) -> None:
    """What may not be on disk is not built upon: the host is as it was, and runs as it did."""
    payload = first_payload(tmp_path, "two", start="restart")
    before = enrolled.tree()
    sync_fails(enrolled, SYNCS[which])
    dialogue = enrolled.apply(payload)
    assert dialogue.failure is not None
    said = dialogue.failure.message
    assert (dialogue.failure.code, said.startswith("sync: "), said.endswith(EIO)) == (
        "apply_failed",
        True,
        True,
    )
    assert enrolled.tree(besides=arrived(payload)) == before
    assert enrolled.read("/standin/active") == "active\n"


def test_the_control_is_an_apply_whose_syncs_go_well(enrolled: Host, tmp_path: Path) -> None:
    """It asks as often as the test above takes for granted, and no more."""
    sync_fails(enrolled, 0)
    assert enrolled.apply(first_payload(tmp_path, "two", start="restart")).reports[-1] == Done()
    assert len(syncs(enrolled)) == 5
    assert "intro_token.jwt.ionet-new" in syncs(enrolled)[3]


def test_a_disk_that_is_full_only_when_it_is_synced_is_named(enrolled: Host, tmp_path: Path) -> None:
    """Where a file system finds out late that it has no room."""
    sync_fails(enrolled, SYNCS["staged"], "No space left on device")
    failure = enrolled.apply(first_payload(tmp_path, "two", start="restart")).failure
    assert failure is not None
    assert failure.code == "disk_full"


def test_a_sync_that_takes_no_files_writes_everything(host: Host, tmp_path: Path) -> None:
    """That is found out by what cannot fail for another reason."""
    shim(
        host,
        "sync",
        f'echo "$#" >>"{host.path(CALLS)}"; if [ $# = 0 ]; then exit; fi; echo "usage: sync" >&2; exit 1',
    )
    assert host.apply(first_payload(tmp_path)).reports[-1] == Done()
    asked = syncs(host)
    assert (asked.count("0"), len(asked)) == (5, 15)


def test_a_file_system_without_fsync_is_written_whole(host: Host, tmp_path: Path) -> None:
    """Some know none for directories: that is no write that was lost."""
    said = "echo \"sync: error syncing '$1': Invalid argument\" >&2"
    sync_says(host, f"if [ $# != 0 ]; then {said}; exit 1; fi")
    assert host.apply(first_payload(tmp_path)).reports[-1] == Done()
    assert sum(call.startswith(" |") for call in syncs(host)) == 5


def test_an_index_names_what_is_on_disk(enrolled: Host, tmp_path: Path) -> None:
    """An apply that adds to the backup of one that was cut off writes its copies before it names them."""

    def kill(report: Report, process: subprocess.Popen[bytes]) -> None:
        if report == Step("install"):
            process.kill()

    one = first_payload(tmp_path, "two")
    first = replace(one, files=(config("two"),), programs=(), links=(), validate_with=None)
    enrolled.apply(first, on_report=kill)
    sync_fails(enrolled, 0)
    assert enrolled.apply(first_payload(tmp_path, "three", start="restart")).reports[-1] == Done()
    copies, index, marker = (call.split(" | ") for call in syncs(enrolled)[:3])
    added = host_paths.NODE_CERT
    assert (f"rollback/tree{added} " in copies[0], added in copies[1]) == (True, False)
    assert ("rollback/index.ionet-new" in index[0], added in index[1]) == (True, False)
    assert added in marker[1]


@pytest.mark.parametrize("why", [EIO, "Invalid argument"])
def test_a_failed_sync_fails_the_preparation(debian: Host, why: str) -> None:
    """A file that may not be on disk does not take its place; the control is a file system that knows no fsync."""
    sync_fails(debian, 1, why)
    reported = prepare(debian, Prepare(modules=True))
    message = None if reported.error is None else reported.error[1]
    is_lost = why == EIO
    assert (message is not None and message.endswith(EIO)) is is_lost
    assert debian.path(MODULES).exists() is not is_lost
