"""One transaction of a session, as the library sees it."""

from asyncio import CancelledError
from typing import Any

from sqlalchemy import Connection, Result

from orm.servers.server import Server

__all__ = ["Transaction"]


class Transaction:
    """One transaction, from its first statement until it ends.

    Its attributes begin as the class has them: most transactions are one read, which sets three.
    """

    writes: bool = False
    """Whether it may write, and so runs on the primary."""
    read_only: bool = False
    """Whether it was begun read-only."""
    routed: bool = False
    """Whether it was told to go to the primary."""
    fenced_epoch: int | None = None
    """The epoch whose primary is known to have, and show, all that the session has seen."""
    server: Server | None = None
    connection: Connection | None = None
    """What reads go to while the transaction does not write; to `server`."""
    writer: Connection | None = None
    """What it writes on."""
    wrote: bool = False
    """Whether it has changed rows for certain."""
    answered: bool = False
    """Whether one of its statements has succeeded."""
    opening: bool = False
    """Whether a task is finding the server to read from at this moment."""
    has_guest: bool = False
    """Whether a connection that the caller named is part of it."""
    streams: tuple[Result[Any], ...] = ()
    """Results whose rows are still to be fetched."""
    held: tuple[Connection, ...] = ()
    """All connections that it has read from."""
    cut_off: CancelledError | None = None
    """The cancellation that came after its COMMIT."""
    renewed: bool = False
    """Whether its connection has been freed of what it kept of an earlier schema."""
    failed: tuple[Server, ...] = ()
    """It does not read from these again: SQLAlchemy takes one connection of an engine."""
