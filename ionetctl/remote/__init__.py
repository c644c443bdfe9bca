"""The scripts that run on hosts: POSIX sh, static, parameters are arguments.

What they say and hear stands in ``docs/host-protocol.md``. This module hands out their text and knows nothing else.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def survey_script() -> bytes:
    """The survey, for the standard input of ``sh -s -- NONCE PATH…``."""
    return _text("survey.sh")


@cache
def receive_script() -> str:
    """What takes the lock and the payload: the third argument of ``sh -c … sh NONCE ROLLOUT OWNER STARTED SIZE``."""
    return _text("receive.sh").decode()


@cache
def read_script() -> bytes:
    """What prints text files for ``--diff``, for the standard input of ``sh -s -- NONCE PATH…``."""
    return _text("read.sh")


@cache
def apply_script() -> bytes:
    """What carries out a payload; it travels as the payload's first member."""
    return _text("apply.sh")


def _text(name: str) -> bytes:
    return files(__name__).joinpath(name).read_bytes()
