"""Stands for the network of a rehearsal host: connections behave as ``run/lab/network.json`` says.

A connection is delayed or fails, and its socket reports the host's own address as its source.
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

UNUSED_ADDRESS = "127.255.255.254"
FAILURES = {
    "refused": ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    "timeout": TimeoutError("timed out"),
    "unreachable": OSError(errno.EHOSTUNREACH, "No route to host"),
}


def patch(socket: ModuleType) -> None:
    """Replace the class ``socket`` and ``getaddrinfo`` of the module by the host's."""
    with open(f"{os.environ['IONET_ROOT']}/run/lab/network.json", encoding="utf-8") as file:
        network = json.load(file)
    resolve, plain_socket = socket.getaddrinfo, socket.socket

    class HostSocket(plain_socket):  # type: ignore[misc, valid-type]
        def connect(self, address: Any) -> None:
            if network["way_out"] in FAILURES:
                raise FAILURES[network["way_out"]]
            time.sleep(network["delay_ms"] / 1000)
            super().connect(address)

        def getsockname(self) -> tuple[str, int]:
            return (network["address"], super().getsockname()[1])

    def resolve_as_host(host: str, *arguments: Any, **options: Any) -> Any:
        is_name = host.strip("0123456789.") != "" and ":" not in host
        if is_name and network["names"] == "unresolved":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(
            UNUSED_ADDRESS if is_name and network["names"] == "astray" else host, *arguments, **options
        )

    vars(socket).update(socket=HostSocket, getaddrinfo=resolve_as_host)
