"""Opens a file for reading that a person, or another program, names: a regular file, and nothing that blocks or never ends."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path


class NotRegularError(OSError):
    """There is something else of that name: a directory, a FIFO, a device."""

    def __init__(self) -> None:
        super().__init__(errno.EINVAL, "not a regular file")


def open_regular(path: str | Path, *, follows_links: bool = True) -> BinaryIO:
    """The regular file of that name, opened once: what is found out about it holds for what is read.

    Raises ``OSError``, ``NotRegularError`` among them.
    """
    # Not blocking: a FIFO of that name would block for ever.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follows_links else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularError
    return os.fdopen(descriptor, "rb")
