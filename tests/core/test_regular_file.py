"""Opening regular files: what else may have the name neither blocks nor is read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ionetctl.core.regular_file import NotRegularError, open_regular


def test_regular_file_is_opened(tmp_path: Path) -> None:
    """By its own name and through a link."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "file") as file, open_regular(str(tmp_path / "link")) as linked:
        assert (file.read(), linked.read()) == (b"content", b"content")


def test_link_is_not_followed_on_request(tmp_path: Path) -> None:
    """For a directory in which others might put one."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        open_regular(tmp_path / "link", follows_links=False)
    open_regular(tmp_path / "file", follows_links=False).close()


def test_anything_else_is_refused(tmp_path: Path) -> None:
    """A FIFO that nobody writes to does not block, and no descriptor is left open."""
    os.mkfifo(tmp_path / "fifo")
    before = sorted(Path("/dev/fd").iterdir())
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero"):
        with pytest.raises(NotRegularError, match="not a regular file"):
            open_regular(path)
    assert sorted(Path("/dev/fd").iterdir()) == before
