"""Sessions that read their own writes over a primary and its replicas, and forward-only migrations.

`Database` owns the servers, `BookmarkSession` reads and writes, a `Bookmark` carries what was seen
from one session to the next. `Base` is what models derive from. Everything that can go wrong here
is an `OrmError`; the tree is in `orm.exceptions`.
"""

from orm.bookmark import Bookmark
from orm.connection import BookmarkConnection
from orm.database import Database
from orm.exceptions import InvalidBookmark, NotCaughtUp, OrmError, ReadOnlyError, WriteLost
from orm.model import Base
from orm.routing import Reason, Route
from orm.session import BookmarkSession
from orm.status import ServerStatus

__all__ = [
    "Base",
    "Bookmark",
    "BookmarkConnection",
    "BookmarkSession",
    "Database",
    "InvalidBookmark",
    "NotCaughtUp",
    "OrmError",
    "ReadOnlyError",
    "Reason",
    "Route",
    "ServerStatus",
    "WriteLost",
]
