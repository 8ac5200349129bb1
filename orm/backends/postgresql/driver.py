"""asyncpg and psycopg below SQLAlchemy: a query in one round trip, outside of any transaction."""

import os
import socket
from contextlib import suppress
from inspect import signature
from typing import Any, Final
from urllib.parse import quote, urlencode

from sqlalchemy import URL, Connection
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError

from orm.backends.installed import require_driver
from orm.exceptions import ConfigurationError

__all__ = [
    "arguments",
    "bounded",
    "fetch",
    "hang_up",
    "in_transaction",
    "is_closed",
    "is_outdated",
    "renew",
    "sqlstate",
    "tell",
    "translate_stream",
    "understood",
    "unprepared",
]

_CONNECT: Final = 5
"""Seconds after which a server that does not answer at all counts as unreachable."""


def arguments(url: URL, options: dict[str, Any], **settings: str) -> dict[str, Any]:
    """Engine options with which connections begin with some settings of the server.

    Args:
        url: of the database; its driver decides.
        options: the user's engine options, which come first.
        settings: of PostgreSQL.

    Raises:
        ConfigurationError: the driver is neither of the two, or is not installed.
    """
    given = dict(options.get("connect_args", {}))
    match url.get_driver_name():
        case "asyncpg":
            given["server_settings"] = settings | given.get("server_settings", {})
        case "psycopg":
            said = " ".join(f"-c {name}={value}" for name, value in settings.items())
            # What is given here takes the place of the URL's.
            its_own = given.get("options", url.query.get("options", ""))
            given["options"] = f"{said} {its_own}".strip()
        case other:
            raise ConfigurationError(
                f"{other!r} has no async driver: use postgresql+asyncpg:// or postgresql+psycopg://"
            )
    require_driver(url)
    return options | {"connect_args": given}


_LIBPQ: Final = frozenset(
    "application_name krbsrvname options passfile sslcert sslcrl sslkey sslmode sslnegotiation "
    "sslpassword sslrootcert ssl_max_protocol_version ssl_min_protocol_version "
    "target_session_attrs".split()
)
"""What asyncpg understands in a URL of its own, and not as an argument of `connect`."""
_SQLALCHEMYS: Final = frozenset({"prepared_statement_cache_size", "prepared_statement_name_func"})
"""What SQLAlchemy takes from a URL for asyncpg, and does not hand on."""


def understood(url: URL, options: dict[str, Any]) -> tuple[URL, dict[str, Any]]:
    """A URL with libpq's parameters, as hosters hand them out, and options, for each driver.

    psycopg is libpq. SQLAlchemy gives asyncpg all parameters as arguments of `asyncpg.connect`,
    which knows few of libpq's; it understands most in a URL ("dsn"), which the arguments complete.

    Args:
        url: of the database; its driver decides.
        options: the user's engine options, which come first.

    Raises:
        ConfigurationError: the URL asks for what asyncpg cannot do, or does not know.
    """
    if url.get_driver_name() != "asyncpg":
        return url, options
    require_driver(url)
    query = dict(url.query)
    if query.pop("channel_binding", "prefer") == "require":
        raise ConfigurationError(
            "channel_binding=require is in the URL, and asyncpg cannot bind channels: take it out "
            "of the URL (sslmode=verify-full protects from the same attack), or use "
            "postgresql+psycopg://"
        )
    if query.pop("gssencmode", "prefer") == "require":
        raise ConfigurationError(
            "gssencmode=require is in the URL, and asyncpg cannot encrypt by GSSAPI: use "
            "postgresql+psycopg://"
        )
    given: dict[str, Any] = {}
    if "connect_timeout" in query:
        given["timeout"] = _seconds(str(query.pop("connect_timeout")))
    said = {name: str(query.pop(name)) for name in _LIBPQ & query.keys()}
    if said:
        given["dsn"] = f"postgresql:///?{urlencode(sorted(said.items()), quote_via=quote)}"
    from asyncpg import connect

    if unknown := sorted(query.keys() - signature(connect).parameters.keys() - _SQLALCHEMYS):
        raise ConfigurationError(
            f"{unknown[0]} is in the URL, and asyncpg does not know it: take it out of the URL"
        )
    return (
        url.set(query=query),
        options | {"connect_args": given | options.get("connect_args", {})},
    )


def _seconds(said: str) -> float:
    try:
        return float(said)
    except ValueError:
        raise ConfigurationError(
            f"connect_timeout={said} is in the URL: it is a number of seconds"
        ) from None


def bounded(url: URL, options: dict[str, Any]) -> dict[str, Any]:
    """Engine options with which the driver gives up connecting, for engines of no `Database`.

    Args:
        url: of the database; its driver decides.
        options: the user's engine options, which come first.
    """
    name = "timeout" if url.get_driver_name() == "asyncpg" else "connect_timeout"
    return options | {"connect_args": {name: _CONNECT} | options.get("connect_args", {})}


def unprepared(url: URL, options: dict[str, Any]) -> dict[str, Any]:
    """Engine options with which statements leave nothing on a server connection that is shared.

    Args:
        url: of the database; its driver decides.
        options: the user's engine options, which come first.
    """
    given = options.get("connect_args", {})
    match url.get_driver_name():
        case "asyncpg":
            nothing = {
                "statement_cache_size": 0,
                "prepared_statement_cache_size": 0,
                "prepared_statement_name_func": str,  # the statement without a name
            }
        case _:
            nothing = {"prepare_threshold": None}
    return options | {"connect_args": nothing | given}


def fetch(connection: DBAPIConnection, query: str) -> Any:
    """The row of a query that is sent past SQLAlchemy, when no transaction is open.

    Raises:
        OperationalError: it failed, for whatever reason.
    """
    if isinstance(connection, AdaptedConnection):
        return connection.run_async(lambda driver: _fetch(driver, query))
    driver: Any = connection  # a migration's, without an event loop
    autocommit, driver.autocommit = driver.autocommit, True
    try:
        return driver.execute(query).fetchone()
    finally:
        driver.autocommit = autocommit


async def _fetch(driver: Any, query: str) -> Any:
    if hasattr(driver, "fetchrow"):
        try:
            return await driver.fetchrow(query)
        except _errors(driver) as error:
            raise OperationalError(query, None, error) from error
    autocommit = driver.autocommit
    try:
        await driver.set_autocommit(True)  # tells the driver, not the server
        try:
            return await (await driver.execute(query)).fetchone()
        finally:
            # Cancelled or not: in autocommit, the next transaction would be none.
            if not driver.closed:
                await driver.set_autocommit(autocommit)
    except _errors(driver) as error:
        raise OperationalError(query, None, error) from error


def tell(connection: Connection, statement: str) -> None:
    """Execute a statement whose answer does not matter, on a connection in autocommit.

    It takes one round trip, while asyncpg prepares what SQLAlchemy sends, in another one before it.

    Raises:
        OperationalError: it failed, for whatever reason, and the connection with it.
    """
    dbapi: Any = connection.connection.dbapi_connection
    try:
        dbapi.run_async(lambda driver: _tell(driver, statement))
    except BaseException as error:  # cancelled: it may go on, on the server
        connection.invalidate(error)
        raise


async def _tell(driver: Any, statement: str) -> None:
    try:
        await driver.execute(statement)
    except _errors(driver) as error:
        raise OperationalError(statement, None, error) from error


def _errors(driver: Any) -> tuple[type[Exception], ...]:
    if hasattr(driver, "fetchrow"):
        from asyncpg import InterfaceError, InternalClientError, PostgresError

        # The third where the server has ended the connection, and has not closed it yet.
        return InterfaceError, PostgresError, InternalClientError, OSError
    from psycopg import Error

    return Error, OSError


def hang_up(connection: DBAPIConnection) -> None:
    """Cut a connection off (`orm.backends.Network`)."""
    driver: Any = getattr(connection, "driver_connection", None)
    if hasattr(driver, "_transport"):
        # asyncpg's `terminate` takes away what its own next step works with: if an answer has just
        # arrived, that step raises AttributeError. Without its network, it raises what it raises
        # when the server closes the connection.
        driver._transport.abort()
    elif driver is not None and not driver.closed:
        # psycopg waits until its socket can be read, which one that was shut down can. It may be
        # closed by psycopg alone, so this works on a copy.
        with suppress(OSError), socket.socket(fileno=os.dup(driver.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)


def in_transaction(connection: Any) -> bool:
    """Whether the connection is in a transaction on the server, SQLAlchemy's or another."""
    driver = connection.driver_connection
    if hasattr(driver, "is_in_transaction"):
        return not is_closed(connection) and bool(driver.is_in_transaction())
    return bool(driver.pgconn.transaction_status)  # 0 is IDLE


def is_closed(connection: Any) -> bool:
    """Whether the connection was closed on this side, as when it is cut off."""
    driver = connection.driver_connection
    return bool(driver.is_closed() if hasattr(driver, "is_closed") else driver.closed)


class _Translated:
    """A driver's cursor whose errors are those of SQLAlchemy's cursor.

    Args:
        cursor: SQLAlchemy's.
    """

    def __init__(self, cursor: Any) -> None:
        self._inner = cursor._cursor
        self._handle = cursor._handle_exception

    async def fetch(self, rows: int) -> Any:
        try:
            return await self._inner.fetch(rows)
        except Exception as error:  # noqa: BLE001 - raised again, as what SQLAlchemy knows
            self._handle(error)


def translate_stream(_: Any, cursor: Any, *rest: Any) -> None:
    """Have a stream that fails raise SQLAlchemy's errors, as any other statement does.

    Listens to ``after_cursor_execute``. SQLAlchemy's cursor for asyncpg lets the driver's errors
    through while rows are fetched (`AsyncAdapt_asyncpg_ss_cursor._buffer_rows`).
    """
    if cursor.server_side and hasattr(cursor, "_buffer_rows"):
        cursor._cursor = _Translated(cursor)


def is_outdated(error: Any) -> bool:
    """Whether a driver says that a statement was prepared before the type of a column changed."""
    function: str | None
    if hasattr(error, "diag"):
        function = error.diag.source_function
    else:
        function = getattr(getattr(error, "__cause__", None), "server_source_function", None)
    return function == "RevalidateCachedQuery"  # messages are translated, and the code says little


def renew(connection: Connection, error: DBAPIError) -> bool:
    """Whether a statement may be sent again: it failed only since its prepared form was outdated.

    SQLAlchemy prepares it anew for asyncpg. psycopg keeps the outdated form until a ROLLBACK, which
    does not come without an open transaction; with one the transaction cannot go on.
    """
    if not is_outdated(error.orig) or in_transaction(connection.connection):
        return False
    if hasattr(error.orig, "diag"):
        tell(connection, "DEALLOCATE ALL")
    return True


def sqlstate(error: DBAPIError) -> str:
    """PostgreSQL's code of an error; empty if it is the driver's own (Appendix A)."""
    return getattr(error.orig, "sqlstate", None) or ""
