"""Sessions that read their own writes over a primary and its replicas, and forward-only migrations.

`Database` owns the servers, `BookmarkSession` reads and writes, and a `Bookmark` carries what one
session has seen to the next. Models derive from `Base`. Every error of this library is an
`OrmError`; `orm.exceptions` shows the tree.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orm._lazy import lazy

if TYPE_CHECKING:
    from orm._version import __version__
    from orm.bookmark import Bookmark
    from orm.chain import Chain
    from orm.connection import BookmarkConnection
    from orm.database import Database
    from orm.exceptions import InvalidBookmark, NotCaughtUp, OrmError, ReadOnlyError, WriteLost
    from orm.model import Base
    from orm.routing import Reason, Route
    from orm.servers.discovery import by_dns
    from orm.servers.replica import Replica
    from orm.servers.status import ServerStatus
    from orm.session import BookmarkSession

__all__ = [
    "Base",
    "Bookmark",
    "BookmarkConnection",
    "BookmarkSession",
    "Chain",
    "Database",
    "InvalidBookmark",
    "NotCaughtUp",
    "OrmError",
    "ReadOnlyError",
    "Reason",
    "Replica",
    "Route",
    "ServerStatus",
    "WriteLost",
    "__version__",
    "by_dns",
]

# A program that asks for no name here, such as `orm --help`, does not wait for SQLAlchemy.
__getattr__: Callable[[str], Any] = lazy(
    __name__,
    {
        "Base": "orm.model",
        "Bookmark": "orm.bookmark",
        "BookmarkConnection": "orm.connection",
        "BookmarkSession": "orm.session",
        "Chain": "orm.chain",
        "Database": "orm.database",
        "InvalidBookmark": "orm.exceptions",
        "NotCaughtUp": "orm.exceptions",
        "OrmError": "orm.exceptions",
        "ReadOnlyError": "orm.exceptions",
        "Reason": "orm.routing",
        "Replica": "orm.servers.replica",
        "Route": "orm.routing",
        "ServerStatus": "orm.servers.status",
        "WriteLost": "orm.exceptions",
        "__version__": "orm._version",
        "by_dns": "orm.servers.discovery",
    },
)
