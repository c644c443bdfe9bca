"""Sources of releases: the vendor's site, a mirror of it, or a directory with the same layout.

It knows HTTP and files, retries transient failures, and limits sizes; it must not know how an archive is verified. The
only import of httpx for artifacts.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from ionetctl.artifacts.release import VENDOR_SITE, missing
from ionetctl.core.errors import ConfigurationError, TrustError
from ionetctl.core.model.names import Digest
from ionetctl.core.regular_file import open_regular
from ionetctl.core.sanitize import harmless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ATTEMPTS: Final = 5
REDIRECTIONS: Final = 10
DEADLINE_S: Final = 1800.0
BLOCK_BYTES: Final = 1 << 18
_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)


class Mirror(Protocol):
    """A source with the layout of the vendor's release site. Paths are relative, with ``/``."""

    @property
    def is_authentic(self) -> bool:
        """Whether a digest from it may be pinned."""
        ...

    def locate(self, path: str) -> str:
        """The file's full address, for messages."""
        ...

    async def copy(
        self, path: str, target: IO[bytes], limit_bytes: int, on_bytes: Callable[[int, int | None], None]
    ) -> Digest:
        """Write a file to ``target`` (from its beginning) and return its SHA-256.

        ``on_bytes`` is called with the bytes so far and in total, the latter ``None`` when unknown. Raises
        ``ConfigurationError`` (``artifact_missing``, ``artifact_unreachable``) or ``TrustError``: ``artifact_too_large``, and
        ``mirror_untrusted`` where its certificate is not valid or it compresses the file unasked.
        """
        ...


@asynccontextmanager
async def open_mirror(
    mirror: str | None, tls: ssl.SSLContext | None, sleep: Callable[[float], Awaitable[None]]
) -> AsyncIterator[Mirror]:
    """The mirror that an inventory or the command line names: a URL, a directory, or ``None`` for the vendor's site.

    Raises ``ConfigurationError`` (``mirror_invalid``) where it is neither.
    """
    base = VENDOR_SITE if mirror is None else mirror
    if "://" not in base:
        yield DirectoryMirror(_directory(base))
        return
    url = _url(base)
    verify = True if tls is None else tls
    async with httpx.AsyncClient(verify=verify, timeout=_TIMEOUT) as client:
        yield WebMirror(client, url, sleep)


def _directory(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_dir():
        raise ConfigurationError("mirror_invalid", f"the mirror {path} is no directory")
    return path


def _url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ConfigurationError("mirror_invalid", f"the mirror's URL is malformed: {error}") from error
    if url.userinfo:
        # Not shown: it may hold a password.
        raise ConfigurationError(
            "mirror_invalid", f"the mirror's URL for {url.host} carries a user", "leave it out"
        )
    if url.scheme not in ("https", "http") or not url.host or url.query or url.fragment:
        raise ConfigurationError(
            "mirror_invalid", f"cannot use {text!r} as a mirror", "give https://host/path"
        )
    return url


@dataclass(frozen=True, slots=True)
class DirectoryMirror:
    """A directory, for sites without access to the network."""

    root: Path

    @property
    def is_authentic(self) -> bool:
        """True: it is the admin's own disk."""
        return True

    def locate(self, path: str) -> str:
        """The file's path."""
        return str(self.root / path)

    async def copy(
        self, path: str, target: IO[bytes], limit_bytes: int, on_bytes: Callable[[int, int | None], None]
    ) -> Digest:
        """See ``Mirror``."""
        loop = asyncio.get_running_loop()

        def report(done: int, total: int | None) -> None:
            loop.call_soon_threadsafe(on_bytes, done, total)

        return await asyncio.to_thread(self._copy, path, target, limit_bytes, report)

    def _copy(
        self, path: str, target: IO[bytes], limit_bytes: int, on_bytes: Callable[[int, int | None], None]
    ) -> Digest:
        with self._open(path) as source:
            total = os.fstat(source.fileno()).st_size
            writer = _BoundedWriter(self.locate(path), target, limit_bytes)
            on_bytes(0, total)
            while block := source.read(BLOCK_BYTES):
                writer.add(block)
                on_bytes(writer.written_bytes, total)
        return writer.digest()

    def _open(self, path: str) -> IO[bytes]:
        location = self.locate(path)
        try:
            return open_regular(location)
        except FileNotFoundError as error:
            raise missing(location) from error
        except OSError as error:
            raise _unreachable(location, error.strerror or "unreadable") from error


@dataclass(frozen=True, slots=True)
class WebMirror:
    """A web server."""

    client: httpx.AsyncClient
    base: httpx.URL
    sleep: Callable[[float], Awaitable[None]]

    @property
    def is_authentic(self) -> bool:
        """True for HTTPS; plain HTTP may serve pinned archives only."""
        return self.base.scheme == "https"

    def locate(self, path: str) -> str:
        """The file's URL."""
        return f"{str(self.base).rstrip('/')}/{path}"

    async def copy(
        self, path: str, target: IO[bytes], limit_bytes: int, on_bytes: Callable[[int, int | None], None]
    ) -> Digest:
        """See ``Mirror``."""
        url = self.locate(path)
        retrying = AsyncRetrying(
            sleep=self.sleep,
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.5, max=8),
            retry=retry_if_exception_type((httpx.TransportError, _TransientError)),
            reraise=True,
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await retrying(self._copy_once, url, target, limit_bytes, on_bytes)
        except TimeoutError as error:
            raise _unreachable(url, f"not through within {DEADLINE_S:.0f} s") from error
        # The last two: a redirection to what is no URL, or no host name.
        except (httpx.HTTPError, _TransientError, httpx.InvalidURL, UnicodeError) as error:
            raise _unreachable(url, str(error) or type(error).__name__) from error

    async def _copy_once(
        self, url: str, target: IO[bytes], limit_bytes: int, on_bytes: Callable[[int, int | None], None]
    ) -> Digest:
        target.seek(0)
        target.truncate()
        try:
            async with self._answer(url) as response:
                self._check(url, response)
                writer = _BoundedWriter(url, target, limit_bytes)
                total = _content_length(response)
                on_bytes(0, total)
                async for block in response.aiter_raw(BLOCK_BYTES):
                    writer.add(block)
                    on_bytes(writer.written_bytes, total)
        except httpx.ConnectError as error:
            if (reason := _certificate_refusal(error)) is not None:
                raise _untrusted(url, reason) from error
            raise
        return writer.digest()

    @asynccontextmanager
    async def _answer(self, url: str) -> AsyncIterator[httpx.Response]:
        """The answer that redirections lead to. What comes with them is not read: httpx would take in and unpack all of it."""
        request = self.client.build_request("GET", url, headers={"Accept-Encoding": "identity"})
        for _ in range(REDIRECTIONS + 1):
            if self.is_authentic and request.url.scheme != "https":
                raise _untrusted(url, "it redirects to plain HTTP")
            async with aclosing(await self.client.send(request, stream=True)) as response:
                if response.next_request is None:
                    yield response
                    return
                request = response.next_request
        raise _unreachable(url, f"it redirects more than {REDIRECTIONS} times")

    def _check(self, url: str, response: httpx.Response) -> None:
        if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            raise missing(url)
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
            raise _TransientError(f"answered {response.status_code}")
        if response.status_code != httpx.codes.OK:
            raise _unreachable(url, f"answered {response.status_code}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _untrusted(url, "it compresses the file, which nobody asked for")


class _TransientError(Exception):
    """A response after which the request is repeated: 429 or 5xx."""


class _BoundedWriter:
    """Writes blocks to a file, counts and hashes them, and raises at a limit."""

    def __init__(self, origin: str, target: IO[bytes], limit_bytes: int) -> None:
        self._origin = origin
        self._target = target
        self._limit_bytes = limit_bytes
        self._hashed = hashlib.sha256()
        self.written_bytes = 0

    def add(self, block: bytes) -> None:
        self.written_bytes += len(block)
        if self.written_bytes > self._limit_bytes:
            message = f"{self._origin} is larger than {self._limit_bytes} bytes"
            raise TrustError(
                "artifact_too_large", message, "no release is that large: the server is probably not a mirror"
            )
        self._hashed.update(block)
        self._target.write(block)

    def digest(self) -> Digest:
        return Digest(self._hashed.hexdigest())


def _unreachable(location: str, reason: str) -> ConfigurationError:
    hint = "try `ionetctl artifacts fetch INVENTORY` again, or give a mirror with --artifacts"
    return ConfigurationError("artifact_unreachable", f"cannot read {location}: {harmless(reason)}", hint)


def _untrusted(location: str, reason: str) -> TrustError:
    return TrustError("mirror_untrusted", f"{location}: {reason}", "nothing was taken from there")


def _content_length(response: httpx.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _certificate_refusal(error: BaseException | None) -> str | None:
    """The reason why a certificate was refused, where that caused ``error``."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate does not hold ({error.verify_message})"
        error = error.__cause__ or error.__context__
    return None
