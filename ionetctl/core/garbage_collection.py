"""How often Python's garbage collector looks for objects that only refer to each other."""

from __future__ import annotations

import gc
from typing import Final

THRESHOLD: Final = 25_000
"""How many objects are made, less those that are gone, before it looks."""


def collect_rarely() -> None:
    """Have it look that rarely, from a process's start on.

    What is imported, or an inventory or a catalog of 10,000 hosts, is some 100,000 objects of which none is garbage: with
    Python's threshold of 700 a fifth of the time would go into looking for some.
    """
    gc.set_threshold(THRESHOLD)
