"""Where a block of code has read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from orm.database import Database
from orm.routing import Reason, Route

__all__ = ["reads_from"]


@contextmanager
def reads_from(database: Database, role: Literal["primary", "replica"]) -> Iterator[list[Route]]:
    """Assert that all that is read inside the block is read from the primary, or from replicas.

    Transactions that may write count as reads from the primary, and do not count against
    replicas: write in the block what it is to read back. It is about all sessions of the
    `Database`, those of other tasks too.

    Args:
        database: whose sessions.
        role: where they are to read.

    Yields:
        The routes so far.

    Raises:
        AssertionError: something was read elsewhere, or nothing was read; says what went where.
    """
    routes: list[Route] = []
    stop = database.observe(routes.append)
    try:
        yield routes
    finally:
        stop()
    reads = [route for route in routes if role == "primary" or route.reason is not Reason.MAY_WRITE]
    if not reads:
        raise AssertionError(f"nothing was read from a {role}: {_told(routes)}")
    if any(route.role != role for route in reads):
        raise AssertionError(f"not all was read from a {role}: {_told(routes)}")


def _told(routes: list[Route]) -> str:
    lines = [f"{n}. {route.role}: {route.reason.value}" for n, route in enumerate(routes, 1)]
    return "\n".join(["there was no transaction"] if not lines else ["the transactions:", *lines])
