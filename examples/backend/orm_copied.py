"""SQLite files whose replicas another program brings up to date, in place."""

import os
from typing import Any

from sqlalchemy import URL, Connection, Engine, event, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from orm import Bookmark
from orm.backends import Backend
from orm.exceptions import ConfigurationError

CREATE = "CREATE TABLE IF NOT EXISTS copied_position (history TEXT, sequence INTEGER)"
FIRST_ROW = (
    "INSERT INTO copied_position SELECT lower(hex(randomblob(16))), 0 "
    "WHERE NOT EXISTS (SELECT 1 FROM copied_position)"
)
RAISE = "UPDATE copied_position SET sequence = sequence + 1 RETURNING history, sequence"
POSITION = "SELECT history, sequence FROM copied_position"


class CopiedBackend(Backend):
    """Sessions only: there are no roles, fences, embedded replicas or migrations."""

    def writer_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        engine = _engine(url, shared, options)
        event.listen(engine.sync_engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
        event.listen(engine.sync_engine, "commit", _raise_position)
        return engine

    def reader_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        read_only = url.set(database=f"file:{url.database}", query={"mode": "ro", "uri": "true"})
        return _engine(read_only, shared, options | {"isolation_level": "AUTOCOMMIT"})

    def snapshot_engine(self, reader: AsyncEngine) -> Engine:
        engine = reader.sync_engine.execution_options()
        event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN"))
        return engine

    def prepare(self, connection: Connection) -> None:
        connection.exec_driver_sql(CREATE)
        connection.exec_driver_sql(FIRST_ROW)

    def incarnation(self, connection: Connection) -> str:
        return str(connection.info["file"])

    def position(self, connection: Connection) -> Bookmark | None:
        if not inspect(connection).has_table("copied_position"):  # nothing was copied yet
            return None
        return Bookmark.at(*connection.exec_driver_sql(POSITION).one())

    def seen(self, connection: Connection) -> Bookmark | None:
        return self.position(connection)  # the row is copied with the data, so it is exact

    def committed(self, connection: Connection, *, wrote: bool) -> Bookmark | None:
        at: Bookmark | None = connection.info.pop("committed", None)
        return at

    def is_read_only(self, error: DBAPIError) -> bool:
        return "readonly database" in str(error.orig)


def _engine(url: URL, shared: bool, options: dict[str, Any]) -> AsyncEngine:
    if shared:
        raise ConfigurationError("a file is never shared behind a pooler")
    arguments = options.get("connect_args", {}) | {"isolation_level": None}  # BEGIN is sent here
    sqlite = url.set(drivername="sqlite+aiosqlite")
    engine = create_async_engine(sqlite, **(options | {"connect_args": arguments}))

    def note_file(_connection: Any, record: Any) -> None:
        record.info["file"] = os.stat((url.database or "").removeprefix("file:")).st_ino

    event.listen(engine.sync_engine, "connect", note_file)
    return engine


def _raise_position(connection: Connection) -> None:
    connection.info["committed"] = Bookmark.at(*connection.exec_driver_sql(RAISE).one())
