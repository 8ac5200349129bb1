"""Terms: which server was the primary when, in a table of the library's own.

GTIDs alone stop proving that a failover lost writes as soon as the old primary writes again: MySQL
uses the lost numbers a second time, and MariaDB's go on over them. So a server that becomes the
primary begins a *term* before the library writes there: a row that says who it is and what it had.
Positions then count by terms, as PostgreSQL's count by timelines: of a term that is over, a server
has what the next primary had of it (the fork), or less.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from orm.backends.mysql.asking import Asks
from orm.backends.mysql.gtid import GtidSet

__all__ = ["TABLE", "Term", "begin_term", "create_table", "position", "read_terms", "stray", "top"]

TABLE: Final = "orm_history"

_CREATE: Final = f"""\
CREATE TABLE IF NOT EXISTS {TABLE} (
    term INTEGER NOT NULL PRIMARY KEY,
    server VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    writer VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    history VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    base LONGTEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE=InnoDB"""
_READ: Final = f"SELECT term, server, writer, history, base FROM {TABLE} ORDER BY term"
_BEGIN: Final = f"INSERT INTO {TABLE} VALUES (:term, :server, :writer, :history, :base)"


@dataclass(frozen=True, slots=True)
class Term:
    """The time during which one server was the primary.

    Attributes:
        number: from 1 up.
        server: the primary, by what stays the same over restarts.
        writer: the same, as its GTIDs name it.
        history: of bookmarks; the same in all terms.
        base: what the server had when the term began.
        counts_alone: whether each writer has numbers of its own (MySQL), or all of them together
            (MariaDB).
    """

    number: int
    server: str
    writer: str
    history: str
    base: GtidSet
    counts_alone: bool

    @property
    def start(self) -> int:
        """The last number before the term."""
        return self.end_of(self.base)

    def end_of(self, have: GtidSet) -> int:
        """The last number of this term, or before it, in a set."""
        if self.counts_alone:
            return have.end(self.writer)
        return max(map(have.end, have.intervals), default=0)

    def reached(self, have: GtidSet) -> int:
        """The number up to which nothing of this term is missing in a set."""
        return have.reached(self.writer, self.start) if self.counts_alone else self.end_of(have)


def create_table(connection: Connection) -> None:
    """Make the table, if it is not there. It commits."""
    connection.execute(text(_CREATE))


def read_terms(asks: Asks, *, counts_alone: bool) -> tuple[Term, ...]:
    """All terms that a server knows of, in their order."""
    return tuple(
        Term(
            row["term"],
            row["server"],
            row["writer"],
            row["history"],
            GtidSet.parse(row["base"]),
            counts_alone,
        )
        for row in asks.rows(_READ)
    )


def begin_term(
    connection: Connection, known: Sequence[Term], *, server: str, writer: str, base: str
) -> None:
    """Write that a server is the primary from now on, unless another process just has.

    Args:
        connection: a writer's, to that server.
        known: the terms so far.
        server: which one it is.
        writer: what its GTIDs name it.
        base: what it has: a set of GTIDs.
    """
    values: dict[str, Any] = {
        "term": known[-1].number + 1 if known else 1,
        "server": server,
        "writer": writer,
        "history": known[0].history if known else secrets.token_hex(8),
        "base": base,
    }
    try:
        connection.execute(text(_BEGIN), values)
    except IntegrityError:  # the same row, by another process
        connection.exec_driver_sql("ROLLBACK")


def position(terms: Sequence[Term], have: GtidSet) -> dict[int, int]:
    """How far a server is in each term: a lower bound of what it has.

    Args:
        terms: all that it knows of, or more.
        have: what it has.
    """
    at: dict[int, int] = {}
    for index, term in enumerate(terms):
        reached = term.reached(have)
        if reached <= term.start:  # it lacks even the row of the term
            break
        at[term.number] = reached
        if index + 1 < len(terms):
            fork = terms[index + 1].base.reached(term.writer, term.start)
            at[term.number] = min(reached, fork)
            if reached < fork:
                break
    return at


def top(terms: Sequence[Term], have: GtidSet) -> tuple[int, int]:
    """The latest term that a server knows of, and the last number in it: an upper bound.

    Args:
        terms: all that it knows of.
        have: what it has, or is about to show.
    """
    term = terms[-1]
    return term.number, max(term.end_of(have), term.start + 1)


def stray(terms: Sequence[Term], have: GtidSet) -> str | None:
    """A writer of transactions that no primary had, or none that the server knows of yet.

    Args:
        terms: all that the server knows of.
        have: what it has.

    Returns:
        What its GTIDs name it; None if there is no such writer.
    """
    latest = terms[-1]
    for writer in have.intervals:
        if writer != latest.writer and have.end(writer) > latest.base.end(writer):
            return writer
    return None
