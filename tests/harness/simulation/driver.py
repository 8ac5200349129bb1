"""The driver and dialect through which SQLAlchemy talks to simulated servers."""

import asyncio
from types import SimpleNamespace
from typing import Any, Final
from weakref import WeakValueDictionary

from sqlalchemy import URL, Connection
from sqlalchemy.dialects import registry
from sqlalchemy.engine import default
from sqlalchemy.pool import AsyncAdaptedQueuePool

from orm._greenlet import await_
from tests.harness.simulation.link import Error, Link, Lost, OperationalError
from tests.harness.simulation.world import World

__all__ = ["SimulatedDialect", "worlds"]

worlds: Final[WeakValueDictionary[str, World]] = WeakValueDictionary()
"""By the first part of the path of their URLs."""


async def _connect(url: URL, writes: bool) -> Link:
    name, address = (url.database or "").split("/")
    world = worlds[name]
    machine = world.chance.choice(world.addresses[address])
    await asyncio.sleep(world.chance.random() * world.latency + machine.slow)
    await machine.reached()
    if machine.down:
        raise Lost(f"{machine.name} refuses connections")
    return Link(world, machine, writes)


_DBAPI: Final = SimpleNamespace(
    paramstyle="qmark",
    Error=Error,
    OperationalError=OperationalError,
    connect=lambda url, writes: await_(_connect(url, writes)),
)
"""The module that DB-API would have."""


class _Context(default.DefaultExecutionContext):
    def create_server_side_cursor(self) -> Any:
        link: Any = self._dbapi_connection
        return link.cursor(server_side=True)


class SimulatedDialect(default.DefaultDialect):
    """``simulated:///world/address``."""

    name = driver = "simulated"
    is_async = True
    supports_statement_cache = True
    supports_server_side_cursors = True
    update_returning = True
    has_terminate = True
    default_paramstyle = "qmark"
    execution_ctx_cls = _Context

    @classmethod
    def import_dbapi(cls) -> Any:
        return _DBAPI

    @classmethod
    def get_pool_class(cls, url: URL) -> Any:
        return AsyncAdaptedQueuePool

    def create_connect_args(self, url: URL) -> Any:
        return [], {"url": url}

    def initialize(self, connection: Connection) -> None:
        """Nothing has to be asked."""

    def is_disconnect(self, e: Exception, connection: Any, cursor: Any) -> bool:
        return isinstance(e, Lost)

    def do_terminate(self, dbapi_connection: Any) -> None:
        dbapi_connection.terminate()

    def do_ping(self, dbapi_connection: Any) -> bool:
        await_(dbapi_connection.request(lambda: None))
        return True

    def do_begin(self, dbapi_connection: Any) -> None:
        dbapi_connection.begin()


registry.register("simulated", __name__, "SimulatedDialect")
