"""For async web applications: what one request has seen, the next one sees, too.

`BookmarkMiddleware` carries bookmarks between a client and the sessions of its requests; it is
pure ASGI and works under every framework. What a framework adds to it is in a module of its own,
which nothing else imports: `orm.web.fastapi`, `orm.web.litestar`.
"""

from orm.web.bookmarks import RequestBookmarks
from orm.web.cookie import BookmarkCookie
from orm.web.health import health
from orm.web.lifespan import lifespan
from orm.web.middleware import BookmarkMiddleware
from orm.web.status_page import status_page

__all__ = [
    "BookmarkCookie",
    "BookmarkMiddleware",
    "RequestBookmarks",
    "health",
    "lifespan",
    "status_page",
]
