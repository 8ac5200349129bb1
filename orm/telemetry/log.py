"""Routes as log records."""

import logging
from collections.abc import Callable
from typing import Final

from orm.database import Database
from orm.routing import Route

__all__ = ["log_routes"]

_log: Final = logging.getLogger("orm.routes")


def log_routes(database: Database, level: int = logging.DEBUG) -> Callable[[], None]:
    """Log every route to the logger ``orm.routes``.

    A record has ``server``, ``role``, ``waited`` and ``fenced`` (seconds) and ``reason`` as
    attributes of its own, for formatters that write them as fields.

    Args:
        database: whose routes.
        level: of the records.

    Returns:
        Ends it, when called.
    """

    def observe(route: Route) -> None:
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
