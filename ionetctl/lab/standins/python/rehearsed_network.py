"""Stands for a rehearsal host's way to the network: its programs' connections go as ``run/lab/network.json`` lets them.

They take as long as the host is away, or fail as its network has it, and say that they come from its own address.
"""

from __future__ import annotations

import errno
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

NOBODY = "127.255.255.254"
FAILURES = {
    "refused": ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    "timeout": TimeoutError("timed out"),
    "unreachable": OSError(errno.EHOSTUNREACH, "No route to host"),
}


def change(socket: ModuleType) -> None:
    """Let the module ``socket`` make connections as the host can."""
    with open(f"{os.environ['IONET_ROOT']}/run/lab/network.json", encoding="utf-8") as file:
        way = json.load(file)
    resolve, plain_socket = socket.getaddrinfo, socket.socket

    class HostSocket(plain_socket):  # type: ignore[misc, valid-type]
        def connect(self, address: Any) -> None:
            if way["way_out"] in FAILURES:
                raise FAILURES[way["way_out"]]
            time.sleep(way["delay_ms"] / 1000)
            super().connect(address)

        def getsockname(self) -> tuple[str, int]:
            return (way["address"], super().getsockname()[1])

    def resolve_as_the_host(host: str, *arguments: Any, **options: Any) -> Any:
        is_name = host.strip("0123456789.") != "" and ":" not in host
        if is_name and way["names"] == "unresolved":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(NOBODY if is_name and way["names"] == "astray" else host, *arguments, **options)

    vars(socket).update(socket=HostSocket, getaddrinfo=resolve_as_the_host)
