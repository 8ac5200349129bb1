"""What replicas show before the primary does (`orm.backends.Fences`).

A commit is in the log, and with the replicas, before the primary's own engine shows it; with
semi-synchronous replication, for as long as a replica's answer is awaited.
"""

from sqlalchemy import Connection, text

from orm.backends.mysql.gtid import GtidSet
from orm.backends.mysql.position import SHOWN_BITS, VISIBLE, shown_by
from orm.backends.mysql.state import ask

__all__ = ["ending", "hidden", "shown"]


def hidden(connection: Connection, shown: int) -> frozenset[int]:
    """The transactions of the current term below a number that the primary does not show."""
    term, number = shown >> SHOWN_BITS, shown % (1 << SHOWN_BITS)
    state = ask(connection)
    if not state.terms or state.terms[-1].number != term:
        return frozenset()  # those of earlier terms are behind it, or lost
    latest = state.terms[-1]
    if not state.mariadb:
        return state.applied.missing(latest.writer, latest.start, number - 1)
    visible = GtidSet.parse(connection.scalar(text(VISIBLE)) or "")
    return frozenset(range(max(latest.end_of(visible), latest.start) + 1, number))


def shown(connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
    """The transactions that a replica may show by now."""
    state = ask(connection)
    have = shown_by(connection, state)
    if not state.terms or have is None:
        return hidden
    latest = state.terms[-1]
    if state.mariadb:
        return frozenset(number for number in hidden if number <= latest.end_of(have))
    return hidden - have.missing(latest.writer, latest.start, max(hidden))


def ending(connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
    """All of them: a transaction has a number only once it is in the log."""
    return hidden
