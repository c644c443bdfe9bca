"""The event loop of a rollout: asyncio's own, whose look-ups of host names have threads of their own.

With asyncio's a handful of threads does both these and all work on files, so that hosts whose name server does not answer
would hold up the journal.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

LOOKUPS: Final = 32
"""How many names are looked up at the same time: as many as there are handshakes to begin with."""
_Result = TypeVar("_Result")


class EventLoop(asyncio.SelectorEventLoop):
    """An event loop for which look-ups and other blocking calls do not wait for each other."""

    def __init__(self) -> None:
        super().__init__()
        self._lookups = ThreadPoolExecutor(LOOKUPS, "lookup")

    async def getaddrinfo(self, host: Any, port: Any, **options: int) -> Any:  # noqa: ANN401  (asyncio's own)
        """What ``socket.getaddrinfo`` returns."""
        look_up = partial(socket.getaddrinfo, host, port, **options)
        return await self.run_in_executor(self._lookups, look_up)

    def close(self) -> None:
        """Close it; a look-up that does not end is not waited for."""
        self._lookups.shutdown(wait=False, cancel_futures=True)
        super().close()


def run(main: Coroutine[Any, Any, _Result]) -> _Result:
    """What ``main`` returns, in such a loop; see ``asyncio.run``."""
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        return runner.run(main)
