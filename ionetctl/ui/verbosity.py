"""How much output a user asks for."""

from __future__ import annotations

from enum import IntEnum


class Verbosity(IntEnum):
    """``-q``, nothing, ``-v``, ``-vv``."""

    QUIET = 0
    """Only problems."""
    NORMAL = 1
    VERBOSE = 2
    """Every host's outcome and every retry."""
    DEBUG = 3
    """Every step of every host, and tracebacks of bugs."""
