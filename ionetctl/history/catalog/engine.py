"""Connections to the catalog's database: SQLite's file mode, locking and durability, and the translation of errors.

The only place that knows SQLite's settings and SQLAlchemy's exceptions.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from ionetctl.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL

BUSY_TIMEOUT_S: Final = 15
WHOLE_BYTES: Final = 64 << 20
"""The largest file that is checked as a whole: some 100,000 hosts of past rollouts."""

REBUILD_HINT: Final = "run `ionetctl rollouts rebuild`: the journals have it all"
_CORRUPT: Final = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_FORMAT", "SQLITE_SCHEMA")


class ConflictError(ConfigurationError):
    """Rows with the same keys exist already: another process wrote them, or the catalog does not match the journals."""


def parse_location(location: str | Path) -> URL:
    """The database that a path or a SQLAlchemy URL names; raises ``ConfigurationError`` (``catalog_invalid``)."""
    if "://" not in str(location):
        return sqlalchemy.URL.create("sqlite", database=str(location))
    try:
        return make_url(str(location))
    except ArgumentError as error:
        # The text is not shown: it may hold a password.
        raise ConfigurationError("catalog_invalid", "the catalog's URL is malformed") from error


def sqlite_path(url: URL) -> Path | None:
    """The file of a SQLite database; ``None`` for any other."""
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    return Path(str(url.database)) if is_file else None


def make_engine(url: URL) -> Engine:
    """An engine for ``url``; a SQLite file is created where there is none, with mode 0600.

    Raises ``ConfigurationError`` (``catalog_unwritable``, ``catalog_invalid``).
    """
    path = sqlite_path(url)
    if path is not None:
        _make_private(path)
    try:
        engine = sqlalchemy.create_engine(url, hide_parameters=True)
    except (NoSuchModuleError, ImportError) as error:
        message = f"no driver for {url.get_backend_name()} is installed"
        raise ConfigurationError("catalog_invalid", message, "install it, or use a file") from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads; errors of the database are raised as ``ConfigurationError``."""
    with _translated(engine.url), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes, committed at the end of the block; errors are raised as by ``reading``.

    Writers take SQLite's lock at once: a transaction that began with reads may fail at its first write.
    """
    writer = engine.execution_options(is_writer=True)
    with _translated(engine.url), writer.begin() as connection:
        yield connection


@contextmanager
def _translated(url: URL) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        message = f"the catalog {shown(url)} holds other rows under the same keys"
        raise ConflictError("catalog_corrupt", message, REBUILD_HINT) from error
    except DBAPIError as error:
        raise _explained(url, error.orig) from error
    except SQLAlchemyError as error:
        raise _unwritable(url, type(error).__name__) from error


def _explained(url: URL, error: BaseException | None) -> ConfigurationError:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(_CORRUPT):
        return corrupt(url, str(error))
    return _unwritable(url, str(error).strip() or type(error).__name__)


def corrupt(url: URL, reason: str) -> ConfigurationError:
    """The error for a database that is no catalog, or a damaged one."""
    message = f"the catalog {shown(url)} is damaged: {reason}"
    return ConfigurationError("catalog_corrupt", message, REBUILD_HINT)


def _unwritable(url: URL, reason: str) -> ConfigurationError:
    message = f"the catalog {shown(url)} cannot be used: {reason}"
    return ConfigurationError("catalog_unwritable", message, "make room or permit it, then run again")


def check_integrity(engine: Engine, tables: Sequence[str], whole_bytes: int = WHOLE_BYTES) -> None:
    """Have SQLite check its file, so that damage is found before a rollout starts and not during it.

    Of a file larger than ``whole_bytes`` only ``tables`` are checked: to read a past of a million hosts takes seconds.

    Raises ``ConfigurationError`` (``catalog_corrupt``, ``catalog_unwritable``).
    """
    if engine.dialect.name != "sqlite":
        return
    path = sqlite_path(engine.url)
    is_large = path is not None and path.stat().st_size > whole_bytes
    with reading(engine) as connection:
        for what in tables if is_large else ("1",):
            found = connection.exec_driver_sql(f"PRAGMA quick_check({what})").scalar()
            if found != "ok":
                raise corrupt(engine.url, str(found).splitlines()[-1])


def move_aside(url: URL) -> bool:
    """Rename a SQLite database to ``.corrupt`` and remove its WAL files; false where there is no file."""
    path = sqlite_path(url)
    if path is None or not path.exists():
        return False
    path.replace(path.with_name(f"{path.name}.corrupt"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return True


def shown(url: URL) -> str:
    """The location for messages, without its password."""
    path = sqlite_path(url)
    return url.render_as_string(hide_password=True) if path is None else str(path)


def _make_private(path: Path) -> None:
    """Create the file before SQLite does: its WAL files get the same mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        message = f"the catalog {path} cannot be used: {error.strerror}"
        raise ConfigurationError("catalog_unwritable", message, "make room or permit it") from error


def _configure_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401  a driver's connection
    """Set up a connection. ``_begin_sqlite`` begins transactions: the driver would do so late, and as readers."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # A power failure may lose the last transactions, but only whole ones; the journals still have them.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    is_writer = connection.get_execution_options().get("is_writer", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")
