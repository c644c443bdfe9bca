"""Waiting for a condition, with a deadline: the only place of the end-to-end tests that sleeps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(
    is_so: Callable[[], bool], what: str, *, timeout_s: float = 60.0, every_s: float = 0.1
) -> None:
    """Return once ``is_so()`` holds; raises ``TimeoutError``, saying ``what`` did not happen."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(every_s)
