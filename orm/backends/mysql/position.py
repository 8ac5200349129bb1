"""Positions by GTID: what a server shows for certain, and what it may have shown.

Which variable is a lower bound, and which an upper one, was measured with writers that commit
meanwhile: MariaDB's ``gtid_binlog_pos`` is ahead of what is visible, by up to some milliseconds,
on primaries and replicas; so is what MySQL owns and has not executed yet. ``gtid_slave_pos`` and
``gtid_executed`` are behind it.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from orm.backends.mysql import terms
from orm.backends.mysql.asking import Asks, OnDriver, OnSQLAlchemy
from orm.backends.mysql.driver import code, gtid_of
from orm.backends.mysql.gtid import GtidSet
from orm.backends.mysql.terms import TABLE, Term
from orm.bookmark import Bookmark
from orm.exceptions import ConfigurationError, NoPrimary

__all__ = [
    "SHOWN_BITS",
    "VISIBLE",
    "State",
    "ask",
    "committed",
    "identify",
    "incarnation",
    "is_candidate",
    "is_standby",
    "position",
    "prepare",
    "seen",
    "shown_by",
]

_log = logging.getLogger("orm.server")

_STATE: Final = "orm.mysql.state"
_TOLD: Final = "orm.mysql.told"
_WRITES: Final = "orm.mysql.writes"

SHOWN_BITS: Final = 43
"""`Bookmark.shown` is a number within a term, below as many bits, and the term above them."""

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
# The place in the log up to which the engine shows everything. The log is searched for the GTID.
VISIBLE: Final = """\
SELECT BINLOG_GTID_POS(
    (SELECT variable_value FROM information_schema.global_status
        WHERE variable_name = 'BINLOG_SNAPSHOT_FILE'),
    (SELECT variable_value FROM information_schema.global_status
        WHERE variable_name = 'BINLOG_SNAPSHOT_POSITION'))"""
_WITHOUT_LOG: Final = """\
SELECT CONCAT('0-', server_id, '-', seq_no) FROM mysql.gtid_slave_pos
WHERE domain_id = 0 ORDER BY seq_no DESC LIMIT 1"""
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
_DENIED: Final = frozenset({1044, 1142, 1143, 1227})


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


# Asking -----------------------------------------------------------------------------------------


def identify(*, writes: bool) -> Callable[[DBAPIConnection, ConnectionPoolEntry], None]:
    """A listener that learns which server, since which start, a new connection leads to.

    Args:
        writes: whether the connections are those of transactions that may write.
    """

    def learn(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        asks = OnDriver(connection)
        mariadb = "mariadb" in str(asks.scalar("SELECT VERSION()")).lower()
        for setting in (_TELL_GTID[mariadb],) if writes else _READS:
            asks.execute(setting)
        record.info[_WRITES] = writes
        record.info[_STATE] = _ask(asks, mariadb, ())
        if writes:
            asks.execute("ROLLBACK")  # what the first transaction reads is to be newer

    return learn


def ask(connection: Connection) -> State:
    """Ask a server what it is and what it has.

    A transaction of a writer must have done nothing yet, or it keeps its snapshot.

    Raises:
        ConfigurationError: it is not set up for GTIDs as positions need it.
    """
    known = _state(connection)
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
        if code(error) in _DENIED:
            return None
        raise


def _state(connection: Connection) -> State:
    """What it has last said."""
    state: State = connection.info[_STATE]
    return state


def incarnation(connection: Connection) -> str:
    """Which server, since which start, in which term, as it has last said."""
    return _state(connection).incarnation


def is_standby(connection: Connection) -> bool | None:
    """Whether it was a replica when it was last asked."""
    return _state(connection).is_standby


def is_candidate(connection: Connection) -> bool:
    """Whether it took writes then, followed no server, and had begun no term."""
    return _state(connection).is_candidate


# Bounds -----------------------------------------------------------------------------------------


def position(connection: Connection) -> Bookmark | None:
    """Everything up to here is visible to any later statement; None where that is unknown.

    A writer's connection is asked when its transaction has done nothing yet.
    """
    state = ask(connection)
    at = None
    if state.terms and not _is_stray(connection, state):
        have = state.applied
        if state.mariadb and not state.is_standby:
            have = GtidSet.parse(connection.scalar(text(VISIBLE)) or "")
        at = _bookmark(state, terms.position(state.terms, have))
    if connection.info.get(_WRITES):
        # The table of terms was read: what the transaction reads next is to be newer than that.
        connection.exec_driver_sql("ROLLBACK")
    return at


def seen(connection: Connection) -> Bookmark | None:
    """Nothing that was read here lies after this; None where that is unknown."""
    state = ask(connection)
    if not state.terms or _is_stray(connection, state):
        return None
    have = shown_by(connection, state)
    if have is None:
        return None
    term, number = terms.top(state.terms, have)
    shown = (term << SHOWN_BITS) + number + 1 if state.is_standby else 0
    return _bookmark(state, {term: number}, shown)


def shown_by(connection: Connection, state: State) -> GtidSet | None:
    """What a server may have shown; None where that is unknown.

    Args:
        connection: to the server.
        state: of that server, after what was read.
    """
    if not state.mariadb:
        return state.everything
    if state.row["logs"] or not state.is_standby:
        return GtidSet.parse(state.row["logged"])
    try:  # a replica without a log of its own
        return GtidSet.parse(connection.scalar(text(_WITHOUT_LOG)) or "")
    except DBAPIError as error:
        if code(error) in _DENIED:
            return None
        raise


def committed(connection: Connection) -> Bookmark | None:
    """The position of the commit that has just succeeded, as its answer told it.

    It covers what the transaction has read, which had numbers before it.

    Returns:
        None if the transaction wrote nothing to the log, or ended before: in a statement that
        commits by itself, or in two phases.
    """
    gtid, state = gtid_of(connection.connection), _state(connection)
    if gtid is None or not state.terms:
        return None
    term = state.terms[-1]
    return _bookmark(state, {term.number: term.end_of(GtidSet.parse(gtid))})


def prepare(connection: Connection) -> None:
    """Have the server begin a term, if it takes writes and the latest term is not its own.

    Args:
        connection: a writer's, in a transaction that has done nothing yet.

    Raises:
        NoPrimary: it is a replica, and no primary has begun a term yet.
    """
    state = ask(connection)
    if not state.terms and state.is_standby:
        raise NoPrimary(
            f"{connection.engine.url.render_as_string()} cannot be used: it is a standby, of a "
            "primary that no Database has used yet. Name the primary, too"
        )
    if state.row["read_only"] or state.leads or state.replicates:
        return
    if not state.terms:
        terms.create_table(connection)
        state = ask(connection)  # by now another process may have begun the first term
    if not state.leads:
        connection.exec_driver_sql("ROLLBACK")
        base = state.row["state"] if state.mariadb else state.row["executed"]
        terms.begin_term(
            connection,
            state.terms,
            server=str(state.row["server"]),
            writer=str(state.row["writer"]).lower(),
            base=base.replace("\n", ""),
        )
        connection.exec_driver_sql("COMMIT")
    ask(connection)
    connection.exec_driver_sql("ROLLBACK")


def _is_stray(connection: Connection, state: State) -> bool:
    writer = terms.stray(state.terms, state.everything)
    if writer is not None and connection.info.get(_TOLD) != writer:
        _log.warning(
            "%s has transactions of %s that no primary has had: it serves no session",
            connection.engine.url.render_as_string(),
            writer,
        )
    connection.info[_TOLD] = writer
    return writer is not None


def _bookmark(state: State, at: dict[int, int], shown: int = 0) -> Bookmark | None:
    if not at:
        return None
    pairs = sorted((str(term), number) for term, number in at.items())
    return Bookmark(state.terms[0].history, tuple(pairs), shown)
