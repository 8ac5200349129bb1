"""The engine family of simulated servers, as far as sessions use one."""

from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from orm.backends import Backend, Fences, Network, Roles
from orm.backends.pool import FairPool
from orm.backends.postgresql import roles as timelines
from orm.bookmark import Bookmark
from tests.harness.simulation.driver import worlds
from tests.harness.simulation.link import Conflict, Lost, ReadOnly, Recovering, link_of
from tests.harness.simulation.world import World

__all__ = ["SimulatedBackend", "Timelines", "bookmark_of"]

_REACHED: Final = "simulated.reached"


class Timelines:
    """What can be told from positions on timelines alone is the affair of the real thing."""

    is_later = staticmethod(timelines.is_later)
    lost = staticmethod(timelines.lost)
    as_need = staticmethod(timelines.as_need)
    without_oldest = staticmethod(timelines.without_oldest)
    is_candidate = staticmethod(timelines.is_candidate)

    def is_standby(self, connection: Connection) -> bool | None:
        return link_of(connection).standby


class _Fences:
    def hidden(self, connection: Connection, shown: int) -> frozenset[int]:
        return frozenset(_ask(connection, "hidden", shown))

    def shown(self, connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
        return frozenset(_ask(connection, "shown", hidden))

    def ending(self, connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
        return frozenset(_ask(connection, "ending", hidden))


class _Network:
    def hang_up(self, connection: DBAPIConnection) -> None:
        link: Any = connection
        link.hang_up()


class SimulatedBackend(Backend):
    """Network, roles and fences as PostgreSQL has them; there is nothing to migrate."""

    network: Network | None = _Network()
    roles: Roles | None = Timelines()
    fences: Fences | None = _Fences()

    def writer_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        return _engine(url, options, writes=True)

    def reader_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        return _engine(url, options, writes=False)

    def snapshot_engine(self, reader: AsyncEngine) -> Engine:
        engine = reader.sync_engine.execution_options()
        event.listen(engine, "begin", _repeat)
        return engine

    def incarnation(self, connection: Connection) -> str:
        return link_of(connection).incarnation

    def position(self, connection: Connection) -> Bookmark | None:
        return _where(connection, "position")

    def seen(self, connection: Connection) -> Bookmark | None:
        at, shown, reached = _ask(connection, "shows")
        connection.info[_REACHED] = None if reached is None else bookmark_of(reached)
        return bookmark_of(at, shown)

    def reached(self, connection: Connection) -> Bookmark | None:
        at: Bookmark | None = connection.info.get(_REACHED)
        return at

    def written(self, connection: Connection) -> Bookmark | None:
        return _where(connection, "written")

    def committed(self, connection: Connection, *, wrote: bool) -> Bookmark | None:
        link, world = link_of(connection), _world(connection)
        at, link.committed_at = link.committed_at, None
        if at is None:
            return None
        return _where(connection, "at_most") if world.samples else bookmark_of(at)

    def behind(self, at: Bookmark, head: Bookmark) -> int | None:
        return timelines.behind(at, head)

    def is_unavailable(self, error: DBAPIError) -> bool:
        return isinstance(error.orig, Lost | Conflict | Recovering)

    def is_unreachable(self, error: Exception) -> bool:
        if isinstance(error, DBAPIError):
            return self.is_unavailable(error)
        return super().is_unreachable(error)

    def is_read_only(self, error: DBAPIError) -> bool:
        return isinstance(error.orig, ReadOnly)


def _repeat(connection: Connection) -> None:
    link_of(connection).repeats = True


def _engine(url: URL, options: dict[str, Any], *, writes: bool) -> AsyncEngine:
    given = {"poolclass": FairPool} | options
    return create_async_engine(url, connect_args={"writes": writes}, **given)


def _world(connection: Connection) -> World:
    return worlds[(connection.engine.url.database or "").split("/")[0]]


def _ask(connection: Connection, question: str, *parameters: Any) -> Any:
    # A statement of SQLAlchemy's, so that it begins a transaction and hears of what goes wrong.
    return connection.exec_driver_sql(question, parameters).scalar_one()


def _where(connection: Connection, question: str) -> Bookmark:
    return bookmark_of(*_ask(connection, question))


def bookmark_of(at: dict[int, int], shown: int = 0) -> Bookmark:
    """A position on each of some timelines, as `orm.backends.postgresql` has it."""
    pairs = sorted((str(timeline), on) for timeline, on in at.items())
    return Bookmark("simulated", tuple(pairs), shown)
