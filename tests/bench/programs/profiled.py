"""Runs ionetctl under the profiler of the standard library, by CPU time: ``profiled.py FILE ARGUMENT…``."""

from __future__ import annotations

import cProfile
import sys
import time

from ionetctl.cli.app import main

if __name__ == "__main__":
    output, *sys.argv[1:] = sys.argv[1:]
    profile = cProfile.Profile(time.process_time)
    try:
        profile.runcall(main)
    finally:
        profile.dump_stats(output)
