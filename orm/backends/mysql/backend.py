"""MariaDB and MySQL, with replicas by GTID, through asyncmy or aiomysql."""

from math import ceil
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends.base import Backend
from orm.backends.lineage import current, latest
from orm.backends.migrations import Migrations
from orm.backends.mysql import driver, engines, fences, position, roles, state
from orm.backends.mysql.driver import code
from orm.backends.mysql.migrations import MySQLMigrations
from orm.backends.parts import Fences, Network, Roles
from orm.bookmark import Bookmark

__all__ = ["MySQLBackend"]

_READ_ONLY: Final = frozenset({1792, 1836})
_OPTION_PREVENTS: Final = 1290  # of which read_only is one
_UNREACHABLE: Final = frozenset({2002, 2003, 2005, 2006, 2013})
_UNAVAILABLE: Final = _UNREACHABLE | {
    1040,  # too many connections
    1053,  # it is shut down
    1205,  # a reader waits for what replication has locked
    1927,  # the connection was killed
    4031,  # idle for too long
}
_CONFLICTS: Final = frozenset(
    {
        1020,  # changed since the snapshot was taken (MariaDB, innodb_snapshot_isolation)
        1205,  # a lock was waited for too long
        1213,  # a deadlock
        3101,  # group replication has refused the commit
    }
)
_MISSING: Final = frozenset({1054, 1146})  # no such column, table
_LAST_NUMBER: Final = 2**63 - 2  # MySQL refuses a larger one, which a forged bookmark may have
_DAMAGED: Final = frozenset({1034, 1035, 1194, 1195, 1712})


class MySQLBackend(Backend):
    """MariaDB and MySQL: a primary and its replicas by GTID."""

    network: Network | None = driver
    roles: Roles | None = roles
    fences: Fences | None = fences
    migrations: Migrations | None = MySQLMigrations()

    def writer_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        if shared:
            engines.refuse_shared(url)
        return engines.writer_engine(url, **options)

    def reader_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        if shared:
            engines.refuse_shared(url)
        return engines.reader_engine(url, **options)

    def snapshot_engine(self, reader: AsyncEngine) -> Engine:
        return engines.snapshot_engine(reader)

    def is_idle(self, connection: Connection) -> bool:
        return engines.is_idle(connection)

    def prepare(self, connection: Connection) -> None:
        position.prepare(connection)

    # Positions -----------------------------------------------------------------------------

    def incarnation(self, connection: Connection) -> str:
        return state.latest(connection).incarnation

    def position(self, connection: Connection) -> Bookmark | None:
        return position.position(connection)

    def seen(self, connection: Connection) -> Bookmark | None:
        return position.seen(connection)

    def reached(self, connection: Connection) -> Bookmark | None:
        return position.reached(connection)

    def committed(self, connection: Connection, *, wrote: bool) -> Bookmark | None:
        return position.committed(connection)

    def place(self, at: Bookmark) -> str:
        return f"transaction {latest(at)} of term {current(at)}"

    def wait_until(self, connection: Connection, need: Bookmark, seconds: float) -> bool:
        found = state.ask(connection)
        if not found.is_standby or not found.terms or found.terms[-1].number != current(need):
            return False
        term, milliseconds = found.terms[-1], ceil(seconds * 1000)  # MySQL: 0 is for ever
        number = min(latest(need), _LAST_NUMBER)
        if found.mariadb:
            wait, gtid = "MASTER_GTID_WAIT", f"0-{term.writer}-{number}"
        else:
            wait, gtid = "WAIT_FOR_EXECUTED_GTID_SET", f"{term.writer}:{number}"
        connection.execute(
            text(f"SELECT {wait}(:gtid, :seconds)"),
            {"gtid": gtid, "seconds": max(milliseconds, 1) / 1000},
        )
        return True

    # Errors --------------------------------------------------------------------------------

    def is_read_only(self, error: DBAPIError) -> bool:
        number = code(error)
        return number in _READ_ONLY or (
            number == _OPTION_PREVENTS and "read-only" in str(error.orig)
        )

    def is_retryable(self, error: DBAPIError) -> bool:
        return code(error) in _CONFLICTS

    def is_unavailable(self, error: DBAPIError) -> bool:
        return error.connection_invalidated or code(error) in _UNAVAILABLE

    def is_unreachable(self, error: Exception) -> bool:
        return isinstance(error, OSError) or (
            isinstance(error, DBAPIError) and code(error) in _UNREACHABLE
        )

    def is_damaged(self, error: DBAPIError) -> bool:
        return code(error) in _DAMAGED

    def is_missing(self, error: DBAPIError) -> bool:
        return code(error) in _MISSING
