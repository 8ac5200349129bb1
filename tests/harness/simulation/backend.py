"""The engine family of simulated servers, as far as sessions use one."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from orm.backends.base import FileCopy
from orm.backends.postgresql import position as timelines
from orm.bookmark import Bookmark
from orm.exceptions import ConfigurationError
from tests.harness.simulation.driver import worlds
from tests.harness.simulation.link import Conflict, Lost, ReadOnly, Recovering, link_of
from tests.harness.simulation.world import World

__all__ = ["SimulatedBackend", "bookmark_of"]


class SimulatedBackend:
    """Implements what sessions need of `orm.backends.Backend`; there is nothing to migrate."""

    has_fences = True
    unit = "commits"

    def writer_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        return _engine(url, options, writes=True)

    def reader_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        return _engine(url, options, writes=False)

    def snapshot_engine(self, reader: AsyncEngine) -> Engine:
        engine = reader.sync_engine.execution_options()
        event.listen(engine, "begin", _repeat)
        return engine

    def prepare(self, connection: Connection) -> None:
        """Positions are kept without further ado."""

    def incarnation(self, connection: Connection) -> str:
        return link_of(connection).incarnation

    def is_idle(self, connection: Connection) -> bool:
        return False

    def position(self, connection: Connection) -> Bookmark | None:
        return _where(connection, "position")

    def wait_until(self, connection: Connection, need: Bookmark, seconds: float) -> bool:
        return False

    def seen(self, connection: Connection) -> Bookmark | None:
        return _where(connection, "at_most")

    def written(self, connection: Connection) -> Bookmark | None:
        return _where(connection, "written")

    def committed(self, connection: Connection, *, wrote: bool) -> Bookmark | None:
        link, world = link_of(connection), _world(connection)
        at, link.committed_at = link.committed_at, None
        if at is None:
            return None
        return _where(connection, "at_most") if world.samples else bookmark_of(at)

    # What can be told from positions on timelines alone is the affair of the real thing.

    def lost(self, head: Bookmark, need: Bookmark) -> str | None:
        return timelines.lost(head, need)

    def as_need(self, at: Bookmark) -> Bookmark:
        return timelines.as_need(at)

    def is_later(self, at: Bookmark, than: Bookmark) -> bool:
        return timelines.is_later(at, than)

    def behind(self, at: Bookmark, head: Bookmark) -> int | None:
        return timelines.behind(at, head)

    def replayed(self, connection: Connection) -> float | None:
        return None

    def is_standby(self, connection: Connection) -> bool | None:
        return link_of(connection).standby

    def hidden(self, connection: Connection, shown: int) -> frozenset[int]:
        return frozenset(_ask(connection, "hidden", shown))

    def shown(self, connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
        return frozenset(_ask(connection, "shown", hidden))

    def ending(self, connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
        return frozenset(_ask(connection, "ending", hidden))

    def is_unavailable(self, error: DBAPIError) -> bool:
        return isinstance(error.orig, Lost | Conflict | Recovering)

    def is_unreachable(self, error: Exception) -> bool:
        return False

    def is_damaged(self, error: DBAPIError) -> bool:
        return False

    def renew(self, connection: Connection, error: DBAPIError) -> bool:
        return False

    def is_read_only(self, error: DBAPIError) -> bool:
        return isinstance(error.orig, ReadOnly)

    def file_copies(self, primary: URL, count: int) -> Sequence[FileCopy]:
        raise ConfigurationError("simulated replicas are named by their URLs")


def _repeat(connection: Connection) -> None:
    link_of(connection).repeats = True


def _engine(url: URL, options: dict[str, Any], *, writes: bool) -> AsyncEngine:
    return create_async_engine(url, connect_args={"writes": writes}, **options)


def _world(connection: Connection) -> World:
    return worlds[connection.engine.url.host or ""]


def _ask(connection: Connection, question: str, *parameters: Any) -> Any:
    # A statement of SQLAlchemy's, so that it begins a transaction and hears of what goes wrong.
    return connection.exec_driver_sql(question, parameters).scalar_one()


def _where(connection: Connection, question: str) -> Bookmark:
    return bookmark_of(*_ask(connection, question))


def bookmark_of(at: dict[int, int], shown: int = 0) -> Bookmark:
    """A position on each of some timelines, as `orm.backends.postgresql` has it."""
    pairs = sorted((str(timeline), on) for timeline, on in at.items())
    return Bookmark("simulated", tuple(pairs), shown)
