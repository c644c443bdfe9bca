"""Tools of the base system, and network namespaces: commands and connections inside one, without leaving this process."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEW_NETWORK: Final = 0x40000000  # CLONE_NEWNET, linux/sched.h


def output_of(argv: Sequence[str], timeout_s: float = 30.0) -> str:
    """The standard output of a command; raises ``RuntimeError`` with its last words when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip())[-400:]
        raise RuntimeError(f"{shlex.join(argv)[:160]} ended with {done.returncode}: {words}")
    return done.stdout


def attempt(argv: Sequence[str]) -> None:
    """Run a command that may fail: of what is taken down, some may be gone already."""
    subprocess.run(argv, capture_output=True, timeout=30, check=False)


def inside(namespace: str | None) -> list[str]:
    """What to put before a command that is to run in ``namespace``; ``None`` is the machine's own."""
    return [] if namespace is None else ["ip", "netns", "exec", namespace]


def ending_with_us() -> list[str]:
    """What to put before a long-running command that must not outlive the tests, even when they are killed.

    The kernel ends it with the *thread* that started it: start such commands from the main thread.
    """
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def connect(namespace: str | None, host: str, port: int, timeout_s: float = 10.0) -> socket.socket:
    """A TCP connection made inside ``namespace``; it stays there wherever it is used."""
    if namespace is None:
        return socket.create_connection((host, port), timeout_s)
    # A thread may change its network namespace, and this one ends before it could be used for anything else.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(_enter_and_connect, namespace, (host, port), timeout_s).result()


def _enter_and_connect(namespace: str, address: tuple[str, int], timeout_s: float) -> socket.socket:
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _NEW_NETWORK) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {namespace}")
    finally:
        os.close(descriptor)
    return socket.create_connection(address, timeout_s)
