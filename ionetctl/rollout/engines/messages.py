"""What passes between the coordinator and a worker process, and how: pickled records on a socket, each after its length.

The two trust each other's code and not each other's bytes: a worker reads what hosts say, so only records of ours and plain
values are taken from one. Whatever carries bytes both ways in order can stand for the socket.
"""

from __future__ import annotations

import asyncio
import io
import pickle
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from ionetctl.core.errors import IonetctlError
    from ionetctl.core.events import AnyEvent
    from ionetctl.rollout.engines.jobs import Job

LIMIT_BYTES: Final = 1 << 28
"""More at once is an error of the other side: a job has some ten kilobytes."""
GATHER_S: Final = 0.05
"""How long an event waits for others to travel with."""
_LENGTH: Final = struct.Struct(">I")
_PLAIN: Final = {
    "builtins": {"bytearray", "complex", "frozenset", "range", "set", "slice"},
    "collections": {"OrderedDict", "defaultdict"},
    "datetime": {"date", "datetime", "timedelta", "timezone"},
    "pathlib": {"Path", "PosixPath", "PurePosixPath"},
}
_STRUCT: Final = ("msgspec._utils", "rebuild")
"""What msgspec's records, our events, are made of again: it calls the class that it is given."""
_BY_NAME: Final = ("builtins", "getattr")
"""What some releases of Python 3.11 make members of enumerations of again."""


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message to a worker: what it needs to know of the rollout."""

    order: object


@dataclass(frozen=True, slots=True)
class Share:
    """To a worker: what the coordinator has learned since, instead of what it shared before."""

    value: object


@dataclass(frozen=True, slots=True)
class Do:
    """To a worker: carry out a job."""

    number: int
    job: Job[Any]


@dataclass(frozen=True, slots=True)
class Stop:
    """To a worker: the end was asked for, so that nothing is tried again."""


@dataclass(frozen=True, slots=True)
class Done:
    """From a worker: a job's result, or what it raised; ``bug`` is the traceback of what is no error of ours."""

    number: int
    result: object = None
    error: IonetctlError | None = None
    bug: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """From a worker: a call of something that only the coordinator has; ``path`` says what."""

    number: int
    path: tuple[str, ...]
    arguments: tuple[object, ...] = field(default=(), repr=False)
    keywords: Mapping[str, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """To a worker: what a call returned or raised."""

    number: int
    value: object = field(default=None, repr=False)
    error: IonetctlError | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """From a worker: an event that nobody waits for."""

    event: AnyEvent


Message = Begin | Share | Do | Stop | Done | Call | Answer | Tell


class Channel:
    """Messages over a stream, in order.

    Those of one turn of the event loop travel together, and an event, which nobody waits for, with what follows it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._gathered: list[Message] = []
        self._sending: asyncio.Handle | None = None

    def send(self, message: Message) -> None:
        """Hand over a message, which must not be changed any more; what is sent to a process that is gone is lost."""
        self._gathered.append(message)
        if not isinstance(message, Tell):
            if self._sending is None or isinstance(self._sending, asyncio.TimerHandle):
                self._cancel_sending()
                self._sending = asyncio.get_running_loop().call_soon(self._send_gathered)
        elif self._sending is None:
            self._sending = asyncio.get_running_loop().call_later(GATHER_S, self._send_gathered)

    def _send_gathered(self) -> None:
        self._cancel_sending()
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        try:
            data = pickle.dumps(tuple(gathered), pickle.HIGHEST_PROTOCOL)
        except Exception:
            # What waits for these messages would wait for ever: the other side sees the end instead.
            self._writer.close()
            raise
        self._writer.write(_LENGTH.pack(len(data)) + data)

    def _cancel_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    async def received(self) -> AsyncIterator[Message]:
        """Each message of the other side, until it closes or is gone.

        Raises ``pickle.UnpicklingError`` for what is no message.
        """
        while True:
            try:
                length = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))[0]
                if length > LIMIT_BYTES:
                    raise pickle.UnpicklingError(f"messages of {length} bytes")
                data = await self._reader.readexactly(length)
            except (asyncio.IncompleteReadError, OSError):
                return
            for message in loaded(data):
                yield message

    def close(self) -> None:
        """Send what was handed over, then nothing more."""
        try:
            self._send_gathered()
        finally:
            self._writer.close()

    async def wait_closed(self) -> None:
        """Return once all is sent, or cannot be."""
        with suppress(OSError):
            await self._writer.wait_closed()


def loaded(data: bytes) -> tuple[Message, ...]:
    """The messages in ``data``. Raises ``pickle.UnpicklingError`` where there is anything but records of ours."""
    try:
        messages = _Unpickler(io.BytesIO(data)).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # pickle raises whatever the bytes lead it to
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error
    if not (isinstance(messages, tuple) and all(isinstance(each, Message) for each in messages)):
        raise pickle.UnpicklingError("no messages")
    return messages


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) == _STRUCT:
            return super().find_class(module, name)
        if (module, name) == _BY_NAME:
            return _member
        is_known = module.startswith("ionetctl.") or name in _PLAIN.get(module, ())
        found = super().find_class(module, name) if is_known else None
        if not isinstance(found, type):
            raise pickle.UnpicklingError(f"{module}.{name} is no record")
        return found


def _member(kind: object, name: str) -> Enum:
    """Stands for ``getattr``: the member of an enumeration, and of nothing else."""
    if not (isinstance(kind, type) and issubclass(kind, Enum)):
        raise pickle.UnpicklingError(f"{kind}.{name} is no member")
    return kind[name]
