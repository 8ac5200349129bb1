"""Bookmarks between a client and the sessions of its requests: pure ASGI, for any framework."""

import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final, Literal

from orm._given import instance
from orm.bookmark import Bookmark
from orm.constraint import FIRST_PRIMARY, Constraint
from orm.database import Database
from orm.exceptions import (
    ConfigurationError,
    ForeignBookmark,
    InvalidBookmark,
    OrmError,
    WriteLost,
)
from orm.routing.memory import SessionMemory
from orm.web.asgi import App, Message, Receive, Scope, Send, header_values, send_json
from orm.web.bookmarks import STATE_KEY, RequestBookmarks
from orm.web.cookie import BookmarkCookie
from orm.web.crowds import Crowd, Crowds

__all__ = ["BookmarkMiddleware"]

_log = logging.getLogger(__name__)

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110, 9.2.1
_MOST: Final = 64
"""Bookmarks in one request: each is work, and a client has as many as it had parallel requests."""
_POLICY_VIOLATION: Final = 1008  # RFC 6455, 7.4.1
_AROUND: Final = "orm.middleware"
"""The key of a scope for the middleware that it has passed."""
_SIGNED: Final = (
    "a cookie is signed: give the database a key, Database(…, bookmark_keys=[secret]), or the "
    "middleware no cookie"
)
_TWICE: Final = (
    "a request passes two BookmarkMiddleware of one database, and the outer one would replace the "
    "bookmark of the inner one: remove one of them. One serves mounted applications, too"
)
_TWO_DATABASES: Final = (
    "two databases have a BookmarkMiddleware each, and take each other's bookmarks for their own: "
    "give one of them other headers=[…], another state_key=… and, if both have one, "
    "cookie=BookmarkCookie(name=…)"
)
_TOO_LATE: Final = (
    "the response starts while a transaction that may write is open: its bookmark will not hold "
    "what that transaction commits, so commit before the response"
)


@dataclass(slots=True)
class _Brought:
    """The bookmarks of a request."""

    headers: list[tuple[bytes, str]]
    """Names and tokens."""
    cookies: dict[str, str]
    marks: frozenset[int]
    """When the browser was marked to read from the primary."""
    crowd: Crowd = field(init=False)
    """The browser's requests that are under way."""
    start: Constraint = None
    bookmark: Bookmark | None = None
    """The merge of all that can be used."""


def _check(database: Database, headers: object, cookie: object, invalid: str) -> None:
    instance("database", database, Database, "a Database")
    if isinstance(headers, str) or not headers:
        raise ConfigurationError("headers is a list of names, with at least one")
    if cookie is not None:
        instance("cookie", cookie, BookmarkCookie, "a BookmarkCookie")
        if not database.rules.keys:
            raise ConfigurationError(_SIGNED)
    if invalid not in ("reject", "primary"):
        raise ConfigurationError("invalid is 'reject' or 'primary'")


class BookmarkMiddleware:
    """Starts the sessions of a request from the client's bookmark, and hands back the latest.

    The application makes its sessions by ``request.state.bookmarks``, a `RequestBookmarks`. What
    they have seen by the time a response starts goes into the response's header, and into a
    cookie if there is one; so commit before that. A client sends back what it got last; after
    parallel responses all of it, in several headers or separated by commas. None is sent where
    no session did anything and the client sent none. Where a read cannot be located any more, since
    its server and the primary are gone, the response fails: the next one might read backwards.

    An error that no handler of the application answers is answered here if something was committed
    before, with status 500 and the bookmark of that, and is raised again.

    A request without a bookmark starts on the primary if its method may write, else anywhere.
    Web sockets start like GET, and hand out bookmarks themselves (`RequestBookmarks.bookmark`).

    Args:
        app: the application.
        database: where its sessions are. It need not be started yet.
        headers: their names; all are read. The response uses those that the request used, else
            the first one. Pages of other origins see it only if CORS exposes it.
        cookie: keep bookmarks in cookies, too. The database then needs `bookmark_keys`. A cookie
            that is no bookmark (any more) is removed, and the request reads the primary.
        invalid: what to do about a header that is no bookmark: ``"reject"`` answers with
            400, ``"primary"`` reads from the primary. What is of another database is treated so
            only if the database has ``stray_bookmarks="error"``, else it always reads the primary.
        state_key: the name in ``scope["state"]``: one for each database.

    Arguments that cannot work so, or not beside another middleware of the application, keep the
    application from starting, with a `ConfigurationError` that says what to change. A server that
    does not start it gets the error from each request. It is not raised here: Starlette makes the
    middleware late, and servers take an error at that time for an application without a start.

    Attributes:
        mistake: that error; None if the arguments can work.
    """

    def __init__(
        self,
        app: App,
        database: Database,
        *,
        headers: Sequence[str] = ("x-bookmark", "x-d1-bookmark"),
        cookie: BookmarkCookie | None = None,
        invalid: Literal["reject", "primary"] = "reject",
        state_key: str = STATE_KEY,
    ) -> None:
        self.mistake: ConfigurationError | None = None
        try:
            _check(database, headers, cookie, invalid)
        except ConfigurationError as mistake:
            self.mistake = mistake
        self._app = app
        self._database = database
        self._names = [name.lower().encode("latin-1") for name in headers or ()]
        self._cookie = cookie
        self._invalid = invalid
        self._key = state_key
        self._crowds = Crowds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one web socket, or the application's lifespan.

        Raises:
            ConfigurationError: it cannot work so, or not beside another one (`mistake`).
        """
        around = scope.get(_AROUND, ())
        mistake = self.mistake or self._in_the_way(around)
        if mistake is not None:
            if scope["type"] == "lifespan":
                await receive()
                await send({"type": "lifespan.startup.failed", "message": str(mistake)})
            raise mistake
        scope[_AROUND] = (*around, self)
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        brought = self._brought(scope)
        try:
            self._choose_start(scope, brought)
        except (InvalidBookmark, ForeignBookmark) as error:
            await self._refuse(scope, send, 400, error)
            return
        crowd: AbstractContextManager[Crowd] = nullcontext(Crowd())
        if self._cookie is not None:
            crowd = self._crowds.join(scope, f"{self._cookie.name}-", brought.cookies)
        with crowd as brought.crowd:
            await self._serve(scope, receive, send, brought)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, brought: _Brought) -> None:
        bookmarks = RequestBookmarks(self._database, brought.start)
        application = scope.get("app")
        # In a new dict: the server's may be shared. In the same scope: others write to it, too.
        scope["state"] = {**scope.get("state", {}), self._key: bookmarks}
        started = False

        async def with_bookmark(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                if bookmarks.writing:
                    _log.warning("%s: %s", scope["path"], _TOO_LATE)
                seen = await bookmarks.seen()
                latest = seen or brought.bookmark
                if latest is not None:
                    if seen is None:
                        brought.marks = frozenset()  # it has not read from the primary
                    message = {**message, "headers": self._headers_of(message, brought, latest)}
                started = True
            await send(message)

        try:
            await self._app(scope, receive, with_bookmark)
        except WriteLost as error:
            if scope["type"] != "http" or started:
                raise
            # With its cookies the client would come to this again and again.
            lines = self._cookie.remove(brought.cookies) if self._cookie else ()
            await self._refuse(scope, send, 409, error, _set_cookie(lines))
        except Exception:
            # The client has to know of what was committed, and a framework, or the server, would
            # answer past this middleware.
            committed = bookmarks.has_committed and not _answers_errors(application)
            if committed and scope["type"] == "http" and not started:
                with suppress(OrmError):  # the application's error counts
                    await _send_error(with_bookmark)
            raise

    def _in_the_way(self, around: "Iterable[BookmarkMiddleware]") -> ConfigurationError | None:
        """Why it cannot work inside of others: each would replace what the other hands out."""
        for other in around:
            if other is self:  # what is around it serves a request twice
                continue
            shared = {*other._names} & {*self._names} or other._key == self._key
            if self._cookie and other._cookie and self._cookie.name == other._cookie.name:
                shared = True
            if shared:
                same = other._database is self._database
                return ConfigurationError(_TWICE if same else _TWO_DATABASES)
        return None

    def _brought(self, scope: Scope) -> _Brought:
        cookies = header_values(scope, b"cookie")
        return _Brought(
            headers=[
                (name, token.strip())
                for name in self._names
                for value in header_values(scope, name)
                for token in value.split(",")
            ],
            cookies=self._cookie.read(cookies) if self._cookie else {},
            marks=self._cookie.marks(cookies) if self._cookie else frozenset(),
        )

    def _choose_start(self, scope: Scope, brought: _Brought) -> None:
        """Decide where the sessions of a request start.

        Raises:
            InvalidBookmark, ForeignBookmark: the request is to be refused.
        """
        cluster, rules = self._database.cluster, self._database.rules
        if len(brought.headers) > _MOST:
            raise InvalidBookmark(f"a request has at most {_MOST} bookmarks")
        tokens = [(token, self._invalid == "reject") for _, token in brought.headers if token]
        if len(brought.cookies) > _MOST:  # no browser could do anything about it: they go
            brought.start = FIRST_PRIMARY
        else:
            tokens += [(token, False) for token in brought.cookies.values()]
        found: list[Bookmark] = []
        for token, strict in tokens:
            try:
                bookmark = Bookmark.decode(token, rules.keys)
                if bookmark.history != cluster.require_open().history:
                    # Raises if the database refuses strays.
                    SessionMemory.begin(cluster, rules, bookmark)
                    brought.start = bookmark
                else:
                    found.append(bookmark)
            except (InvalidBookmark, ForeignBookmark):
                if strict:
                    raise
                brought.start = FIRST_PRIMARY
        if found:
            brought.bookmark = reduce(Bookmark.merge, found)
        if brought.start is None:  # else there is one that cannot be used: nothing is newer
            brought.start = brought.bookmark
        if brought.marks and brought.start is brought.bookmark:
            brought.start = [FIRST_PRIMARY, *found]
        if brought.start is None and scope.get("method", "GET") not in _SAFE:
            brought.start = FIRST_PRIMARY

    # The response ----------------------------------------------------------------------------

    def _headers_of(self, message: Message, brought: _Brought, latest: Bookmark) -> list[Any]:
        token = latest.encode(self._database.rules.keys)
        names = {name for name, _ in brought.headers} or {self._names[0]}
        headers = [(name, value) for name, value in message.get("headers", ()) if name not in names]
        headers += [(name, token.encode()) for name in sorted(names)]
        if self._cookie is not None and (brought.marks or [*brought.cookies.values()] != [token]):
            lines = self._cookie.write(token, brought.cookies, brought.crowd, brought.marks)
            headers += _set_cookie(lines)
        return headers

    async def _refuse(
        self,
        scope: Scope,
        send: Send,
        status: int,
        error: Exception,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        if scope["type"] == "websocket":  # before it is accepted: servers answer with 403
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": str(error)})
        else:
            await send_json(send, status, {"detail": str(error)}, headers)


def _set_cookie(lines: Iterable[str]) -> list[tuple[bytes, bytes]]:
    return [(b"set-cookie", line.encode("latin-1")) for line in lines]


def _answers_errors(application: Any) -> bool:
    """Whether an application has an answer of its own to an error (Starlette, FastAPI)."""
    handlers = getattr(application, "exception_handlers", {})
    return bool(getattr(application, "debug", False) or {500, Exception} & handlers.keys())


async def _send_error(send: Send) -> None:
    """Answer like Starlette."""
    body = b"Internal Server Error"
    head = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 500, "headers": head})
    await send({"type": "http.response.body", "body": body})
