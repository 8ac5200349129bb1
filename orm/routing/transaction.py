"""One transaction of a session, as the library sees it."""

from asyncio import CancelledError
from typing import Any

from sqlalchemy import Connection, Result

from orm.servers.server import Server

__all__ = ["Transaction"]


class Transaction:
    """One transaction, from its first statement until it ends.

    Its attributes begin as the class has them: there is one for each read, which sets three.
    """

    writes: bool = False
    read_only: bool = False
    server: Server | None = None
    connection: Connection | None = None
    """What reads go to while the transaction does not write; to `server`."""
    writer: Connection | None = None
    wrote: bool = False
    answered: bool = False
    opening: bool = False
    has_guest: bool = False
    """Whether a connection that the caller named is part of it."""
    streams: tuple[Result[Any], ...] = ()
    held: tuple[Connection, ...] = ()
    cut_off: CancelledError | None = None
    renewed: bool = False
    """Whether its connection has been freed of what it kept of an earlier schema."""
    failed: tuple[Server, ...] = ()
    """They are not read from again: SQLAlchemy's transaction takes one connection of an engine."""
