"""A cache as a mirror: its packed files by digest, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest

from ionetctl.artifacts.mirror_server import serve_mirror
from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.names import Digest

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = bytes(range(256)) * 64
DIGEST = Digest(hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def files(tmp_path: Path) -> dict[Digest, Path]:
    (tmp_path / "program.gz").write_bytes(CONTENT)
    (tmp_path / "secret").write_text("nobody's business")
    return {DIGEST: tmp_path / "program.gz"}


async def asked(port: int, path: str, *headers: str, method: str = "GET") -> tuple[int, bytes]:
    """Status and body, by a client that changes nothing of the path."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = (f"{method} {path} HTTP/1.1", "Host: mirror", "Connection: close", *headers, "", "")
    writer.write("\r\n".join(lines).encode())
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_files_are_served_by_digest(files: dict[Digest, Path]) -> None:
    """Whole, in part, and by their head alone; a file that is new to the cache is served at once."""
    async with serve_mirror(lambda: files, "127.0.0.1", 0) as (address, port):
        assert address == "127.0.0.1"
        assert await asked(port, f"/{DIGEST}") == (200, CONTENT)
        assert await asked(port, f"/{DIGEST}", "Range: bytes=100-199") == (206, CONTENT[100:200])
        assert await asked(port, f"/{DIGEST}", method="HEAD") == (200, b"")
        other = Digest("0" * 64)
        assert (await asked(port, f"/{other}"))[0] == 404
        files[other] = files[DIGEST]
        assert (await asked(port, f"/{other}"))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        f"/{DIGEST}/",
        f"/x/../{DIGEST}",
        "/../secret",
        "/secret",
        f"/{DIGEST}?a",
        "*",
        "/%2e%2e/secret",
    ],
)
async def test_nothing_else_is_served(files: dict[Digest, Path], path: str) -> None:
    """No list, no other file, no other spelling."""
    async with serve_mirror(lambda: files, "127.0.0.1", 0) as (_, port):
        status, body = await asked(port, path)
    assert (status in {400, 404}, b"business" in body, CONTENT in body) == (True, False, False)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_nothing_can_be_changed(files: dict[Digest, Path], method: str) -> None:
    """A file is asked for, nothing more."""
    async with serve_mirror(lambda: files, "127.0.0.1", 0) as (_, port):
        assert (await asked(port, f"/{DIGEST}", method=method))[0] == 405


async def test_nothing_listens_afterwards(files: dict[Digest, Path]) -> None:
    """Its end is the end; a port that is taken is an error before."""
    async with serve_mirror(lambda: files, "127.0.0.1", 0) as (_, port):
        with pytest.raises(ConfigurationError) as caught:
            async with serve_mirror(lambda: files, "127.0.0.1", port):
                pass
        assert caught.value.code == "mirror_not_bound"
    with pytest.raises(ConnectionRefusedError):
        await asked(port, f"/{DIGEST}")
