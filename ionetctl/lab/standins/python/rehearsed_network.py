"""Stands for a rehearsal host's way to the network: its programs' connections go as ``run/lab/network.json`` lets them.

They come from the host's own address, after the delay that it has; or they fail as the host's network has it.
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
            self.bind((way["address"], 0))
            time.sleep(way["delay_ms"] / 1000)
            super().connect(address)

    def resolve_as_the_host(*arguments: Any, **options: Any) -> Any:
        if way["way_out"] == "unresolved":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(*arguments, **options)

    vars(socket).update(socket=HostSocket, getaddrinfo=resolve_as_the_host)
