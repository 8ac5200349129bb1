"""Routes as log records."""

import logging
from collections.abc import Callable
from typing import Final

from orm._given import instance
from orm.database import Database
from orm.routing import Route

__all__ = ["log_routes"]

_log: Final = logging.getLogger("orm.routes")


def log_routes(database: Database, level: int = logging.DEBUG) -> Callable[[], None]:
    """Log every route to the logger ``orm.routes``.

    A record has ``server``, ``role``, ``waited`` and ``fenced`` (seconds) and ``reason`` as
    attributes of its own, for formatters that write them as fields.

    Python prints nothing below a warning until logging is set up, and servers such as uvicorn set
    up their own loggers alone: ``logging.basicConfig(level=logging.INFO)``. If nothing is set up
    when the first route comes, a warning says so.

    Args:
        database: whose routes.
        level: of the records.

    Returns:
        Ends it, when called.

    Raises:
        ConfigurationError: there is no Database, or the level is no number.
    """
    instance("database", database, Database, "a Database")
    instance("level", level, int, "a number, such as logging.INFO")
    first = True

    def observe(route: Route) -> None:
        nonlocal first
        if first and not _log.hasHandlers():
            _log.warning(
                "routes are logged at level %s, and logging is not set up to show them: call "
                "logging.basicConfig(level=logging.%s)",
                *[logging.getLevelName(level)] * 2,
            )
        first = False
        if _log.isEnabledFor(level):
            _log.log(
                level,
                "%s: %s",
                route.server,
                route.reason,
                extra={
                    "server": route.server,
                    "role": route.role,
                    "waited": route.waited,
                    "fenced": route.fenced,
                    "reason": route.reason.name.lower(),
                },
            )

    return database.observe(observe)
