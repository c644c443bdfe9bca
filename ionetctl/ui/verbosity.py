"""How much a user wants to hear."""

from __future__ import annotations

from enum import IntEnum


class Verbosity(IntEnum):
    """``-q``, nothing, ``-v``, ``-vv``."""

    QUIET = 0
    """Only what went wrong."""
    NORMAL = 1
    VERBOSE = 2
    """Every host's end and every retry."""
    DEBUG = 3
    """Every step of every host, and tracebacks of bugs."""
