"""Where earlier timelines were left (their forks): as the server says, or as it was seen to move.

The server says it exactly in one of two ways: in a file of its own, which few accounts may read,
and on a replication connection (PostgreSQL "Streaming Replication Protocol", TIMELINE_HISTORY). If
the account may do neither, as on most managed services, there is what this process has seen: a
standby that had replayed timeline 1 up to X, and is on timeline 2 now without a restart, has all of
timeline 1 up to X. The fork lies there, or later.
"""

import asyncio
import logging
import re
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from sqlalchemy import URL, Connection, text
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.exc import DBAPIError

from orm.backends.postgresql.driver import sqlstate

__all__ = ["Forks", "caveat", "forks_of", "note"]

_log = logging.getLogger("orm.postgresql")

_PATIENCE: Final = 0.4
"""Seconds for the replication connection: a probe waits for it, and may take half a second."""

_AGAIN: Final = 60.0
"""Seconds until one is tried again after it has failed: a grant may have come."""

_MOST: Final = 256
"""Servers, since one start each, that a process knows."""

_FORK: Final = re.compile(r"^\s*(\d+)\s+([0-9A-F]+)/([0-9A-F]+)", re.MULTILINE)

_MAY_READ: Final = "SELECT has_function_privilege('pg_read_file(text)', 'EXECUTE')"
_IS_ENCRYPTED: Final = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
_ACCOUNT: Final = "SELECT quote_ident(current_user)"


@dataclass(frozen=True, slots=True)
class Forks:
    """The places where earlier timelines were left.

    Attributes:
        at: by timeline.
        exact: whether they are the very places. If not, they lie there or later.
    """

    at: dict[int, int]
    exact: bool


@dataclass(slots=True)
class _Incarnation:
    """What stays true of one server since one start, whichever connection has said it."""

    replayed: dict[int, int] = field(default_factory=dict)
    told: dict[int, Forks] = field(default_factory=dict)
    refused: float = float("-inf")


_known: Final[OrderedDict[str, _Incarnation]] = OrderedDict()


def note(incarnation: str, timeline: int, at: int) -> None:
    """A standby that receives a timeline has replayed it up to a place."""
    replayed = _of(incarnation).replayed
    replayed[timeline] = max(at, replayed.get(timeline, 0))


def forks_of(connection: Connection, timeline: int, incarnation: str, who: str) -> Forks:
    """Where the timelines before one were left, as far as that can be known.

    Args:
        connection: to the server, outside of any transaction or in one that only reads.
        timeline: that the server is on.
        incarnation: of the server.
        who: asks a server for its incarnation.
    """
    if timeline == 1:
        return Forks({}, exact=True)
    known = _of(incarnation)
    if timeline in known.told:
        return known.told[timeline]
    content = _from_file(connection, timeline)
    if content is None and monotonic() - known.refused > _AGAIN:
        known.refused = monotonic()  # also if this is cancelled: the next probe shall succeed
        content = _from_replication(connection, f"TIMELINE_HISTORY {timeline}", incarnation, who)
    if content is None:
        seen = {old: at for old, at in known.replayed.items() if old < timeline}
        return Forks(seen, exact=False)
    at = {
        int(old): (int(high, 16) << 32) + int(low, 16) for old, high, low in _FORK.findall(content)
    }
    known.told[timeline] = Forks(at, exact=True)
    return known.told[timeline]


def caveat(connection: Connection, incarnation: str, who: str) -> str | None:
    """What will not be known after a failover, and what mends it; None if all will be.

    Args:
        connection: to the primary.
        incarnation: of it.
        who: asks a server for its incarnation.
    """
    if connection.exec_driver_sql(_MAY_READ).scalar_one():
        _log.debug("where timelines were left is read from files")
        return None
    if _from_replication(connection, "IDENTIFY_SYSTEM", incarnation, who) is not None:
        _log.debug("where timelines were left is asked on a replication connection")
        return None
    account = connection.exec_driver_sql(_ACCOUNT).scalar_one()
    return (
        "after a failover, a bookmark from before it is good only as far as this process has seen "
        "the new primary follow the old one; other such bookmarks raise WriteLost, though nothing "
        "may be lost. The account may neither read where timelines were left nor open a "
        "replication connection, which takes psycopg. One of these statements lets it: "
        f"GRANT EXECUTE ON FUNCTION pg_read_file(text) TO {account}; "
        f"ALTER ROLE {account} REPLICATION; "
        "(for managed services, see the guide 'Managed PostgreSQL')"
    )


# -------------------------------------------------------------------------------------------------


def _of(incarnation: str) -> _Incarnation:
    known = _known.setdefault(incarnation, _Incarnation())
    _known.move_to_end(incarnation)
    while len(_known) > _MOST:
        _known.popitem(last=False)
    return known


def _from_file(connection: Connection, timeline: int) -> str | None:
    file = f"pg_wal/{timeline:08X}.history"
    try:
        content: str = connection.execute(
            text("SELECT pg_read_file(:file)"), {"file": file}
        ).scalar_one()
    except DBAPIError as error:
        if sqlstate(error) in ("42501", "58P01"):  # insufficient privilege, no such file
            return None
        raise
    return content


def _from_replication(
    connection: Connection, command: str, incarnation: str, who: str
) -> str | None:
    """The answer to a command on a connection of its own; None if that cannot be had."""
    dbapi: Any = connection.connection.dbapi_connection
    if not isinstance(dbapi, AdaptedConnection):  # a migration's, without an event loop
        return None
    url = connection.engine.url
    try:
        from psycopg import Error
    except ImportError:  # asyncpg drops what the server answers outside of prepared statements
        return None
    try:
        found = dbapi.run_async(lambda driver: _replicating(driver, url, command, who))
    except (Error, OSError) as error:
        _log.info("a replication connection cannot be had: %s", str(error).strip())
        return None
    told_by, content = found
    return content if told_by == incarnation else None  # the address leads to several servers


async def _replicating(driver: Any, url: URL, command: str, who: str) -> tuple[str, str]:
    from psycopg import AsyncConnection

    async with asyncio.timeout(_PATIENCE):
        place = _libpq(driver) if hasattr(driver, "pgconn") else await _of_url(driver, url)
        other = await AsyncConnection.connect(
            **place, replication="database", autocommit=True, prepare_threshold=None
        )
        try:
            row: Any = await (await other.execute(who.encode())).fetchone()
            cursor = await other.execute(command.encode())
            assert cursor.pgresult is not None
            return row[0], bytes(cursor.pgresult.get_value(0, 1) or b"").decode()
        finally:
            with suppress(OSError):
                await other.close()


def _libpq(driver: Any) -> dict[str, Any]:
    """How to reach, once more, the server that a connection of psycopg leads to."""
    info = driver.info
    said = info.get_parameters()
    said.pop("target_session_attrs", None)
    said |= {"host": info.host, "port": info.port, "password": info.password}
    if "hostaddr" in said:
        said["hostaddr"] = info.hostaddr
    return {name: value for name, value in said.items() if value}


async def _of_url(driver: Any, url: URL) -> dict[str, Any]:
    """How psycopg reaches the server that a connection of asyncpg leads to.

    Raises:
        ConnectionError: it might be less safe than that connection.
    """
    said = {name: str(value) for name, value in url.query.items() if name.startswith("ssl")}
    if "ssl" in said:  # asyncpg's name of it
        said["sslmode"] = said.pop("ssl")
    if "sslmode" not in said and await driver.fetchval(_IS_ENCRYPTED):
        raise ConnectionError("it is encrypted, and the URL does not say how: say sslmode there")
    return url.translate_connect_args(username="user", database="dbname") | said
