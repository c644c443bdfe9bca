"""The event loop of a rollout: asyncio's own, whose look-ups of host names have threads of their own.

With asyncio's a handful of threads does both these and all work on files, so that hosts whose name server does not answer
would hold up the journal, and the end of the process.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

LOOKUPS: Final = 32
"""How many names are looked up at the same time: as many as there are handshakes to begin with."""
_Result = TypeVar("_Result")


class EventLoop(asyncio.SelectorEventLoop):
    """An event loop for which look-ups and other blocking calls do not wait for each other."""

    def __init__(self) -> None:
        super().__init__()
        self._lookups = asyncio.Semaphore(LOOKUPS)

    async def getaddrinfo(self, host: Any, port: Any, **options: int) -> Any:  # noqa: ANN401  (asyncio's own)
        """What ``socket.getaddrinfo`` returns."""
        await self._lookups.acquire()
        found = self.create_future()

        def end(settle: Callable[[Any], None], outcome: object) -> None:
            self._lookups.release()
            if not found.done():
                settle(outcome)

        def look_up() -> None:
            settle: Callable[[Any], None] = found.set_result
            outcome: object
            try:
                outcome = socket.getaddrinfo(host, port, **options)
            except Exception as error:  # noqa: BLE001  (raised where it is waited for)
                settle, outcome = found.set_exception, error
            with suppress(RuntimeError):  # the loop has ended
                self.call_soon_threadsafe(end, settle, outcome)

        # A pool's threads are waited for at the end of the process, and this one may not end for minutes.
        threading.Thread(target=look_up, name="lookup", daemon=True).start()
        return await found


def run(main: Coroutine[Any, Any, _Result]) -> _Result:
    """What ``main`` returns, in such a loop; see ``asyncio.run``.

    The task itself has no result: when it ends, asyncio asks who handles SIGINT, and ``signal`` makes a text of the task, of
    thousands of hosts too.
    """
    results: list[_Result] = []

    async def keep() -> None:
        results.append(await main)

    with asyncio.Runner(loop_factory=EventLoop) as runner:
        runner.run(keep())
    return results[0]
