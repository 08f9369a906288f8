"""A small SQLite file that several threads, event loops and processes share."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from zs_env.errors import ConfigError

__all__ = ["Database"]

_BUSY_S = 5.0


class Database:
    """Opens a file, or makes it; a file of another kind is left as it is.

    Args:
        path: The file; None for one in memory.
        kind: A number in the file's header that says what it is.
        schema: The statements that make its tables.
        what: What to call it in errors: "search cache".

    Raises:
        ConfigError: The file can't be opened, is broken, or is something else.
    """

    def __init__(self, path: str | Path | None, *, kind: int, schema: str, what: str) -> None:
        self._path = None if path is None else Path(path).expanduser().absolute()
        self._kind, self._schema, self._what = kind, schema, what
        self._lock = threading.Lock()
        self._inherited: list[sqlite3.Connection] = []
        self._pid = os.getpid()
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        shown = "memory" if self._path is None else str(self._path)
        try:
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                ":memory:" if self._path is None else self._path,
                timeout=_BUSY_S,
                isolation_level=None,
                check_same_thread=False,
            )
            [found] = connection.execute("PRAGMA application_id").fetchone()
            [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if found != self._kind and (found or tables):
                raise ConfigError(f"{shown!r} is a database, but no {self._what}: give the path of another file.")
            with contextlib.suppress(sqlite3.OperationalError):  # another process is at it, and the file keeps the mode
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in self._schema.split(";;"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {self._kind}")
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"The {self._what} {shown!r} can't be used: {error}. Delete it, mend it, or give another path."
            ) from error
        return connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone."""
        if self._path is not None and self._pid != os.getpid():  # a forked child may not use its parent's connection
            self._lock = threading.Lock()
            self._inherited.append(self._connection)
            self._connection, self._pid = self._open(), os.getpid()
        with self._lock:
            yield self._connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection, in a transaction: all of what is done in it is done, or nothing."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
