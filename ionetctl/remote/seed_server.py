"""Serves packed programs to the hosts beside this one for a while: ``/TOKEN/DIGEST`` and nothing else.

    python3 -I server.py PORT_FILE LIMIT_S IDLE_S SLOTS ADDRESS...

Serves the folder that it is started in, which has a file ``token``, on a port of the first address that is the host's own. Once it has
written address and port to ``PORT_FILE`` it needs the folder no more. It ends after ``LIMIT_S``, and when nobody asked
for ``IDLE_S``. Written for Python 3.6 and its standard library.
"""

import os
import re
import shutil
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn

DIGEST = re.compile("[0-9a-f]{64}")
STALL_S = 30
"""A peer that takes nothing for so long is given up."""
BLOCK_BYTES = 1 << 18


class SeedServer(ThreadingMixIn, HTTPServer):
    """Listens on one address; answers as many peers at a time as it has slots."""

    daemon_threads = True
    timeout = 1

    def __init__(self, address: str, paths: "dict[str, str]", slots: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.paths = paths
        self.slots = threading.BoundedSemaphore(slots)
        self.used_at = time.monotonic()
        super().__init__((address, 0), Handler)

    def server_bind(self) -> None:
        """Bind without looking up the address's name, as ``HTTPServer`` would."""
        self.socket.bind(self.server_address)
        self.server_address = (self.server_address[0], self.socket.getsockname()[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Peers come and go: nothing is logged."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: SeedServer
    timeout = STALL_S
    server_version = "ionetctl"
    sys_version = ""

    def do_GET(self) -> None:
        """The file that the path names; 404 for all else, 503 where all slots are taken."""
        path = self.server.paths.get(self.path)
        if path is None:
            self.refuse(404)
        elif not self.server.slots.acquire(blocking=False):
            self.refuse(503)
        else:
            try:
                self.send(Path(path))
            finally:
                self.server.used_at = time.monotonic()
                self.server.slots.release()

    def send(self, path: Path) -> None:
        """A file."""
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        with path.open("rb") as file:
            shutil.copyfileobj(file, self.wfile, BLOCK_BYTES)

    def refuse(self, status: int) -> None:
        """An answer without content."""
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


def open_files() -> "dict[str, str]":
    """The files of the folder, by the path of their URLs: each stays open, and has a name that outlives its own."""
    token = Path("token").read_text().strip()
    found = [path.name for path in Path().iterdir() if DIGEST.fullmatch(path.name)]
    return {f"/{token}/{name}": f"/proc/self/fd/{os.open(name, os.O_RDONLY)}" for name in found}


def open_server(addresses: "tuple[str, ...]", paths: "dict[str, str]", slots: int) -> SeedServer:
    """The server on the first address that is the host's own."""
    for address in addresses:
        try:
            return SeedServer(address, paths, slots)
        except OSError as error:
            sys.stderr.write(f"{address}: {error}\n")
    sys.exit("none of these addresses is this host's")


def main(port_file: str, limit_s: str, idle_s: str, slots: str, *addresses: str) -> None:
    """Serve until the time is over."""
    ends_at = time.monotonic() + float(limit_s)
    server = open_server(addresses, open_files(), int(slots))
    written = Path(port_file + ".new")
    written.write_text("{} {}\n".format(*server.server_address))
    written.rename(port_file)
    while time.monotonic() < min(ends_at, server.used_at + float(idle_s)):
        server.handle_request()


if __name__ == "__main__":
    main(*sys.argv[1:])
