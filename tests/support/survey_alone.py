"""The survey without the probe, which is how most tests of it run it."""

from __future__ import annotations

from functools import cache

from ionetctl.remote import READ_AT_ONCE, survey_source
from ionetctl.remote.packing import bare_shell


@cache
def survey_script() -> bytes:
    """The survey as it is sent, for the standard input of ``sh -s -- NONCE SERVERS PATH…``."""
    return READ_AT_ONCE + bare_shell(survey_source())
