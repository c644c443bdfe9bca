"""A rehearsal fleet whose hosts get programs from each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.rehearsal.conftest import NewAdmin, RaiseFleet


def serving(directory: Path) -> list[str]:
    """The command lines of processes that serve from below a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(directory) in str((process / "cwd").readlink()):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return [words for words in found if "server.py" in words]


def test_rack_gets_its_programs_from_one_host(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """One host is pushed, the others fetch from it; nothing is served when the rollout has ended."""
    admin = new_admin()
    with raise_fleet(5) as rehearsal:
        run = admin.start_enroll(rehearsal.inventory, "--distribution", "fanout")
        run.until(type="files_obtained")
        while_it_ran = serving(rehearsal.directory)
        done = run.end()
        obtained = [line for line in done.lines if line.get("type") == "files_obtained"]
        assert done.exit_code == 0, done.stderr
        assert sorted(line["origin"] for line in obtained) == ["peer"] * 4 + ["push"]
        assert {line["peer"] for line in obtained} == {None, obtained[0]["host"]}
        assert len(while_it_ran) == 1
        assert serving(rehearsal.directory) == []
        assert not list(rehearsal.directory.glob("hosts/*/var/lib/ionet/serve"))
        assert "inside the site" in admin.run("rollouts", "show").stdout
