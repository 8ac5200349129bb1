"""One transaction of a session, as the library sees it."""

from asyncio import CancelledError
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Result

from orm.watcher import Server

__all__ = ["Primary", "Unit"]


class Primary(NamedTuple):
    """The primary as it was when a transaction that may write was sent there."""

    server: Server
    engine: Engine
    lineage: int
    """`Cluster.lineage`."""


@dataclass(slots=True)
class Unit:
    """One transaction, from its first statement until it ends."""

    writes: bool = False
    read_only: bool = False
    server: Server | None = None
    connection: Connection | None = None
    """What reads go to while the transaction does not write; to `server`."""
    primary: Primary | None = None
    """Where it writes, whoever becomes the primary meanwhile."""
    writer: Connection | None = None
    """What it writes with, on `primary`."""
    wrote: bool = False
    answered: bool = False
    opening: bool = False
    streams: list[Result[Any]] = field(default_factory=list)
    held: list[Connection] = field(default_factory=list)
    cut_off: CancelledError | None = None
    failed: list[Server] = field(default_factory=list)
    """They are not read from again: SQLAlchemy's transaction takes one connection of an engine."""
