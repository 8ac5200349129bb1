"""Positions by GTID: what a server shows for certain, and what it may have shown.

Which variable is a lower bound, and which an upper one, was measured with writers that commit
meanwhile: MariaDB's ``gtid_binlog_pos`` is ahead of what is visible, by up to some milliseconds,
on primaries and replicas; so is what MySQL owns and has not executed yet. ``gtid_slave_pos`` and
``gtid_executed`` are behind it.
"""

import logging
from typing import Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Pool, text
from sqlalchemy.exc import DBAPIError

from orm.backends.mysql import terms
from orm.backends.mysql.driver import code, gtid_of
from orm.backends.mysql.gtid import GtidSet
from orm.backends.mysql.state import DENIED, WRITES, State, ask, latest
from orm.bookmark import Bookmark
from orm.exceptions import NoPrimary

__all__ = [
    "SHOWN_BITS",
    "VISIBLE",
    "committed",
    "position",
    "prepare",
    "reached",
    "seen",
    "shown_by",
]

_log = logging.getLogger("orm.server")

SHOWN_BITS: Final = 43
"""`Bookmark.shown` is a number within a term, below as many bits, and the term above them."""

# The place in the log up to which the engine shows everything. The log is searched for the GTID.
VISIBLE: Final = """\
SELECT BINLOG_GTID_POS(
    (SELECT variable_value FROM information_schema.global_status
        WHERE variable_name = 'BINLOG_SNAPSHOT_FILE'),
    (SELECT variable_value FROM information_schema.global_status
        WHERE variable_name = 'BINLOG_SNAPSHOT_POSITION'))"""
_WRITES_ANYWHERE: Final = """\
SELECT GROUP_CONCAT(privilege_type SEPARATOR ', ') FROM information_schema.user_privileges
WHERE privilege_type IN ({})
    AND grantee = CONCAT("'", REPLACE(CURRENT_USER(), '@', "'@'"), "'")"""
_PRIVILEGES: Final = {True: "'READ_ONLY ADMIN'", False: "'CONNECTION_ADMIN', 'SUPER'"}
_WITHOUT_LOG: Final = """\
SELECT CONCAT('0-', server_id, '-', seq_no) FROM mysql.gtid_slave_pos
WHERE domain_id = 0 ORDER BY seq_no DESC LIMIT 1"""


def position(connection: Connection) -> Bookmark | None:
    """Everything up to here is visible to any later statement; None where that is unknown.

    A writer's connection is asked when its transaction has done nothing yet.
    """
    state = ask(connection)
    takes_writes = state.is_standby and not state.row["read_only"] and state.replicates
    _tell(
        connection,
        "replica",
        "takes writes, and replicates: what is written there is on no other server. "
        "On that server: SET GLOBAL read_only = ON"
        if takes_writes
        else "",
    )
    at = None
    if state.terms and not _is_stray(connection, state):
        have = state.applied
        if state.mariadb and not state.is_standby:
            have = GtidSet.parse(connection.scalar(text(VISIBLE)) or "")
        at = _bookmark(state, terms.position(state.terms, have))
    if connection.info.get(WRITES):
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


def reached(connection: Connection) -> Bookmark | None:
    """What a replica had applied when it was last asked."""
    state = latest(connection)
    if not state.is_standby or not state.terms or terms.stray(state.terms, state.everything):
        return None
    return _bookmark(state, terms.position(state.terms, state.applied))


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
        if code(error) in DENIED:
            return None
        raise


def committed(connection: Connection) -> Bookmark | None:
    """The position of the commit that has just succeeded, as its answer told it.

    It covers what the transaction has read, which had numbers before it.

    Returns:
        None if the transaction wrote nothing to the log, or ended before: in a statement that
        commits by itself, or in two phases.
    """
    gtid, state = gtid_of(connection.connection), latest(connection)
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
    _warn_of_privileges(connection, state)
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


def _warn_of_privileges(connection: Connection, state: State) -> None:
    """Log that the account writes on read-only servers, too."""
    question = _WRITES_ANYWHERE.format(_PRIVILEGES[state.mariadb])
    found = connection.exec_driver_sql(question).scalar()
    connection.exec_driver_sql("ROLLBACK")  # a snapshot that began with the question
    _tell(
        connection,
        "account",
        f"is used by an account with {found}, which writes on read-only servers, too: after a "
        "failover, what it writes on the old primary is lost. Use an account without that privilege"
        if found
        else "",
    )


def _is_stray(connection: Connection, state: State) -> bool:
    writer = terms.stray(state.terms, state.everything)
    _tell(
        connection,
        "stray",
        f"has transactions of {writer} that no primary has had: it serves no session"
        if writer
        else "",
    )
    return writer is not None


_told: Final[WeakKeyDictionary[Pool, dict[str, str]]] = WeakKeyDictionary()
"""What was logged last of the server that a pool leads to."""


def _tell(connection: Connection, kind: str, what: str) -> None:
    """Log what is wrong with a server, once until it is right again.

    Args:
        connection: to the server.
        kind: of what may be wrong.
        what: is wrong; nothing if it is empty.
    """
    told = _told.setdefault(connection.engine.pool, {})
    if what and told.get(kind) != what:
        _log.warning("%s %s", connection.engine.url.render_as_string(), what)
    told[kind] = what


def _bookmark(state: State, at: dict[int, int], shown: int = 0) -> Bookmark | None:
    if not at:
        return None
    pairs = sorted((str(term), number) for term, number in at.items())
    return Bookmark(state.terms[0].history, tuple(pairs), shown)
