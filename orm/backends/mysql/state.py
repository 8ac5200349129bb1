"""What a server says of itself: which one it is, what it has, which terms it knows, its role."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from orm.backends.mysql import terms
from orm.backends.mysql.asking import Asks, OnDriver, OnSQLAlchemy
from orm.backends.mysql.driver import code
from orm.backends.mysql.gtid import GtidSet
from orm.backends.mysql.terms import TABLE, Term
from orm.exceptions import ConfigurationError

__all__ = ["DENIED", "WRITES", "State", "ask", "identify", "is_candidate", "is_standby", "latest"]

_STATE: Final = "orm.mysql.state"
WRITES: Final = "orm.mysql.writes"
"""Set on connections for transactions that may write."""

# `UUID()` has a part that is drawn anew at each start of a server, and no account is denied.
_OF_SERVER: Final = "SUBSTR(UUID(), 20, 4) AS started, @@global.read_only AS read_only"
_LATEST: Final = f"(SELECT MAX(term) FROM {TABLE}) AS term"
_MARIADB: Final = (
    f"SELECT @@server_uid AS server, @@server_id AS writer, {_OF_SERVER},"
    " @@gtid_slave_pos AS applied, @@gtid_binlog_pos AS logged, @@gtid_binlog_state AS state,"
    " @@gtid_strict_mode AS strict, @@log_bin AND @@log_slave_updates AS logs"
)
_MYSQL: Final = (
    f"SELECT @@server_uuid AS server, @@server_uuid AS writer, {_OF_SERVER},"
    " @@global.gtid_owned AS owned, @@global.gtid_executed AS executed,"
    " @@global.gtid_mode AS mode"
)
_READS: Final = (
    "SET SESSION TRANSACTION READ ONLY",
    "SET SESSION lock_wait_timeout = 5",  # else a reader waits for an ALTER: for a day, by default
)
_TELL_GTID: Final = {
    True: "SET SESSION session_track_system_variables = 'last_gtid'",
    False: "SET SESSION session_track_gtids = 'OWN_GTID'",
}
_REPLICATES: Final = {
    True: "SELECT variable_value = 'ON' FROM information_schema.global_status"
    " WHERE variable_name = 'SLAVE_RUNNING'",
    # A row stays when replication is stopped, and goes when it is reset.
    False: "SELECT COUNT(*) > 0 FROM performance_schema.replication_connection_status",
}
_NO_SUCH_TABLE: Final = 1146
DENIED: Final = frozenset({1044, 1142, 1143, 1227})
"""Errors of an account that lacks a privilege."""


@dataclass(frozen=True, slots=True)
class State:
    """What one server has said of itself.

    Attributes:
        mariadb: which engine it is.
        row: its answer.
        terms: all that it knows of.
        replicates: whether it follows another server; asked where the terms do not say it. None if
            the account may not know.
    """

    mariadb: bool
    row: Mapping[str, Any]
    terms: tuple[Term, ...] = ()
    replicates: bool | None = None

    @property
    def incarnation(self) -> str:
        """With the term, so that all is asked again when a server becomes the primary again."""
        term = self.terms[-1].number if self.terms else 0
        return f"{self.row['server']}-{self.row['started']}-{term}"

    @property
    def leads(self) -> bool:
        """Whether the latest term is this server's, which has all of its own part of it."""
        return (
            bool(self.terms)
            and self.terms[-1].server == self.row["server"]
            and self.terms[-1].end_of(self.everything) > self.terms[-1].start
        )

    @property
    def is_standby(self) -> bool:
        """Whether it takes no writes, follows another server, or may be about to lead."""
        if self.leads or not self.terms:
            return bool(self.row["read_only"]) or (not self.terms and bool(self.replicates))
        return True

    @property
    def is_candidate(self) -> bool:
        """Whether it takes writes, follows no server, and the latest term is not its own."""
        return not self.row["read_only"] and not self.leads and self.replicates is False

    @property
    def everything(self) -> GtidSet:
        """What it has, or is about to show."""
        if self.mariadb:
            return GtidSet.parse(self.row["state"], self.row["applied"])
        return GtidSet.parse(self.row["owned"], self.row["executed"])

    @property
    def applied(self) -> GtidSet:
        """What it shows for certain, as a replica."""
        return GtidSet.parse(self.row["applied"] if self.mariadb else self.row["executed"])


def identify(*, writes: bool) -> Callable[[DBAPIConnection, ConnectionPoolEntry], None]:
    """A listener that learns which server, since which start, a new connection leads to.

    Args:
        writes: whether the connections are those of transactions that may write.
    """

    def learn(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        asks = OnDriver(connection)
        mariadb = _is_mariadb(asks)
        for setting in (_TELL_GTID[mariadb],) if writes else _READS:
            asks.rows(setting)
        record.info[WRITES] = writes
        record.info[_STATE] = _ask(asks, mariadb, ())
        if writes:
            asks.rows("ROLLBACK")  # what the first transaction reads is to be newer

    return learn


def _is_mariadb(asks: Asks) -> bool:
    return "mariadb" in str(asks.scalar("SELECT VERSION()")).lower()


def ask(connection: Connection) -> State:
    """Ask a server what it is and what it has.

    A transaction of a writer must have done nothing yet, or it keeps its snapshot.

    Raises:
        ConfigurationError: it is not set up for GTIDs as positions need it.
    """
    known = latest(connection)
    state = connection.info[_STATE] = _ask(OnSQLAlchemy(connection), known.mariadb, known.terms)
    return state


def _ask(asks: Asks, mariadb: bool, known: tuple[Term, ...]) -> State:
    what = _MARIADB if mariadb else _MYSQL
    try:
        [row] = asks.rows(f"{what}, {_LATEST}")
    except asks.errors as error:
        if code(error) != _NO_SUCH_TABLE:
            raise
        [row] = asks.rows(f"{what}, NULL AS term")
    _refuse_settings(row, mariadb)
    if row["term"] is None:
        known = ()
    elif not known or known[-1].number != row["term"]:
        known = terms.read_terms(asks, counts_alone=not mariadb)
    state = State(mariadb, row, known)
    if not row["read_only"] and not state.leads:
        state = replace(state, replicates=_replicates(asks, mariadb))
    return state


def _refuse_settings(row: Mapping[str, Any], mariadb: bool) -> None:
    if mariadb and not row["strict"]:
        raise ConfigurationError(
            "gtid_strict_mode is off: a replica then takes transactions in any order, and its "
            "position says nothing. Set gtid_strict_mode=ON on every server"
        )
    if not mariadb and row["mode"] != "ON":
        raise ConfigurationError(
            f"gtid_mode is {row['mode']}: set gtid_mode=ON and enforce_gtid_consistency=ON on "
            "every server"
        )


def _replicates(asks: Asks, mariadb: bool) -> bool | None:
    try:
        return bool(asks.scalar(_REPLICATES[mariadb]))
    except asks.errors as error:
        if code(error) in DENIED:
            return None
        raise


def latest(connection: Connection) -> State:
    """What it has last said."""
    if _STATE not in connection.info:  # of migrations, or of an engine of the caller's
        dbapi = connection.connection.dbapi_connection
        assert dbapi is not None
        asks = OnDriver(dbapi)
        connection.info[WRITES] = True
        connection.info[_STATE] = _ask(asks, _is_mariadb(asks), ())
    state: State = connection.info[_STATE]
    return state


def is_standby(connection: Connection) -> bool | None:
    """Whether it was a replica when it was last asked."""
    return latest(connection).is_standby


def is_candidate(connection: Connection) -> bool:
    """Whether it took writes then, followed no server, and had begun no term."""
    return latest(connection).is_candidate
