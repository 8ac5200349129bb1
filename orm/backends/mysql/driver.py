"""asyncmy and aiomysql below SQLAlchemy: a COMMIT tells its GTID, and streams can be left.

Servers tell the GTID of a commit in the packet that answers it, to clients that ask for it (MySQL
"Server Tracking of Client Session State"; MariaDB "session_track_system_variables"). Both drivers
keep the end of that packet, unparsed.
"""

from functools import cache
from importlib import import_module
from typing import Any, Final

from sqlalchemy import URL
from sqlalchemy.engine.interfaces import DBAPIConnection

from orm.backends.installed import require_driver
from orm.exceptions import ConfigurationError

__all__ = ["arguments", "code", "gtid_of", "hang_up", "in_transaction", "is_streaming"]

_SESSION_TRACK: Final = 1 << 23
_IN_TRANSACTION: Final = 1  # MySQL "Server Status Flags"

_VARIABLE, _GTIDS = 0, 3
"""Kinds of what a packet tracks (MySQL "OK_Packet": SESSION_TRACK_SYSTEM_VARIABLES, …_GTIDS)."""


def arguments(url: URL, options: dict[str, Any], *, tracks: bool = False) -> dict[str, Any]:
    """Engine options with which connections are of the class below.

    Args:
        url: of the database; its driver decides.
        options: the user's engine options, which come first.
        tracks: whether each COMMIT is to tell its GTID.

    Raises:
        ConfigurationError: the driver is neither of the two, or is not installed.
    """
    driver = url.get_driver_name()
    if driver not in ("asyncmy", "aiomysql"):
        why = (
            "it returns what had come so far, and no error, where a query fails in the middle"
            if driver.startswith("mariadbconnector")
            else "it has no async driver"
        )
        engine = url.get_backend_name()
        raise ConfigurationError(
            f"{url.drivername!r} cannot be used ({why}): use {engine}+asyncmy:// or "
            f"{engine}+aiomysql://"
        )
    require_driver(url)

    async def connect(**given: Any) -> Any:
        if tracks:
            given["client_flag"] = given.get("client_flag", 0) | _SESSION_TRACK
        connection = _class_of(driver)(**given)
        try:
            await (connection.connect if driver == "asyncmy" else connection._connect)()
        except BaseException:
            connection.close()
            raise
        return connection

    connect_args = {"async_creator_fn": connect} | options.get("connect_args", {})
    return options | {"connect_args": connect_args}


@cache
def _class_of(driver: str) -> Any:
    base: Any = import_module(f"{driver}.connection").Connection
    streaming: Any = import_module(f"{driver}.cursors").SSCursor

    class QuietCursor(streaming):  # type: ignore[misc]
        """A stream that can be closed after its connection was, by a task that is cancelled."""

        def __init__(self, connection: Any, *arguments: Any, **options: Any) -> None:
            super().__init__(connection, *arguments, **options)
            self.orm_connection = connection

        async def close(self) -> None:
            if not is_closed(self.orm_connection):
                await super().close()

    class TellingConnection(base):  # type: ignore[misc]
        """A connection that knows the GTID of its latest COMMIT, until it sends something else."""

        orm_gtid: str | None = None
        orm_broken = False
        """Whether it was closed in the middle of a stream."""

        def cursor(self, *classes: Any) -> Any:
            return super().cursor(*(QuietCursor if one is streaming else one for one in classes))

        async def query(self, sql: Any, unbuffered: bool = False) -> Any:
            self.orm_gtid = None
            if getattr(self._result, "unbuffered_active", False):
                # As the drivers do, which then warn of it.
                await self._result._finish_unbuffered_query()
            return await super().query(sql, unbuffered)

        async def commit(self) -> None:
            await self.query("COMMIT")
            if self._result is not None and self._result.message:
                self.orm_gtid = tracked(self._result.message)

        async def rollback(self) -> None:
            if is_streaming(self):
                self.orm_broken = True
                self.close()  # else all rows that are left would be read first
            else:
                await super().rollback()

    return TellingConnection


def gtid_of(connection: Any) -> str | None:
    """What the latest COMMIT told, if nothing was sent since.

    Args:
        connection: SQLAlchemy's of the pool.

    Returns:
        One GTID or a range; None if the transaction wrote nothing to the log, or the server did
        not tell, or the connection is one of migrations, which do not ask.
    """
    gtid: str | None = getattr(connection.driver_connection, "orm_gtid", None)
    return gtid


def hang_up(connection: DBAPIConnection) -> None:
    """Cut a connection off (`orm.backends.Network`)."""
    driver: Any = getattr(connection, "driver_connection", None)
    if driver is not None and not is_closed(driver):
        transport = driver._transport if hasattr(driver, "_transport") else driver._writer.transport
        transport.abort()


def in_transaction(driver: Any) -> bool:
    """Whether the server's latest answer says that a transaction is open."""
    return bool(driver.server_status & _IN_TRANSACTION)


def is_closed(driver: Any) -> bool:
    """Whether a connection is closed."""
    return not driver.connected if hasattr(driver, "connected") else bool(driver.closed)


def is_streaming(driver: Any) -> bool:
    """Whether rows of a query are still to be read, or were when it was closed."""
    return driver.orm_broken or bool(getattr(driver._result, "unbuffered_active", False))


def tracked(tail: bytes) -> str | None:
    """The GTID at the end of a packet that answers a statement; None without one."""
    _, tail = _text(tail)  # for people
    changes, _ = _text(tail)
    while changes:
        kind, (data, changes) = changes[0], _text(changes[1:])
        if kind == _VARIABLE:
            name, value = _text(data)
            if name == b"last_gtid":
                return _text(value)[0].decode("ascii")
        elif kind == _GTIDS:
            return _text(data[1:])[0].decode("ascii")  # after how it is encoded, which is 0
    return None


def _text(data: bytes) -> tuple[bytes, bytes]:
    """A string with its length before it, and what follows it."""
    if not data:
        return b"", b""
    length, width = data[0], 1
    if length >= 0xFC:
        width = {0xFC: 3, 0xFD: 4, 0xFE: 9}[length]
        length = int.from_bytes(data[1:width], "little")
    return data[width : width + length], data[width + length :]


def code(error: Exception) -> int:
    """The server's number of an error, SQLAlchemy's or the driver's; 0 if it has none."""
    arguments = getattr(getattr(error, "orig", error), "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0
