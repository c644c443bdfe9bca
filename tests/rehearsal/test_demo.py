"""``ionetctl demo``: the whole product in one command, which says that it is a rehearsal and leaves nothing behind."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.rehearsal.conftest import NewAdmin


def bearing(mark: str) -> list[int]:
    """The ids of the processes with ``mark`` in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            content = environ.read_bytes()
        except OSError:
            continue  # it has ended, or belongs to another user
        if mark.encode() in content:
            found.append(int(environ.parent.name))
    return found


def test_demo_enrols_and_leaves_nothing(new_admin: NewAdmin, tmp_path: Path) -> None:
    """All hosts are enrolled and shown, the output says that it is a rehearsal, and no process, file or record is left."""
    mark = uuid.uuid4().hex
    admin = new_admin(REHEARSAL_MARK=mark, TMPDIR=str(tmp_path))
    demo = admin.run("demo", "--hosts=4")
    shown = demo.stdout + demo.stderr
    assert (demo.exit_code, bearing(mark), list(tmp_path.iterdir())) == (0, [], [])
    assert "This is a rehearsal" in shown
    assert "4 enrolled" in shown
    assert "no machine was enrolled anywhere" in shown
    assert not admin.state.exists()


def test_processes_of_a_fleet_have_the_mark(new_admin: NewAdmin, tmp_path: Path) -> None:
    """The control: a running fleet has such processes, and ``lab down`` ends them."""
    mark = uuid.uuid4().hex
    admin = new_admin(REHEARSAL_MARK=mark)
    up = admin.run("lab", "up", "--detach", "--hosts=1", f"--dir={tmp_path}/lab")
    running = len(bearing(mark))
    down = admin.run("lab", "down", f"--dir={tmp_path}/lab")
    assert (up.exit_code, running, down.exit_code, bearing(mark)) == (0, 2, 0, [])
