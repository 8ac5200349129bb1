"""One transaction of a session, as the library sees it."""

from asyncio import CancelledError
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Result

from orm.watcher import Server

__all__ = ["Unit"]


@dataclass(slots=True)
class Unit:
    """One transaction, from its first statement until it ends."""

    writes: bool = False
    read_only: bool = False
    server: Server | None = None
    connection: Connection | None = None
    """What reads go to while the transaction does not write; to `server`."""
    writer: Connection | None = None
    wrote: bool = False
    answered: bool = False
    opening: bool = False
    streams: list[Result[Any]] = field(default_factory=list)
    held: list[Connection] = field(default_factory=list)
    cut_off: CancelledError | None = None
    failed: list[Server] = field(default_factory=list)
    """They are not read from again: SQLAlchemy's transaction takes one connection of an engine."""
