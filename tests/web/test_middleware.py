"""Bookmarks over HTTP: an application without a framework, and clients that know no more than HTTP.

The replicas stand still or are set to lag, and `max_wait` is 0: a read that should not see
something would not see it, and one that should is not saved by waiting.
"""

import asyncio
import gc
import json
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from time import time
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from models import User
from orm import Bookmark, BookmarkSession, Database
from orm.exceptions import ConfigurationError, WriteLost
from orm.testing import caught_up, replicas
from orm.web import BookmarkCookie, BookmarkMiddleware, RequestBookmarks

EMAILS = select(User.email).order_by(User.id)
Handler = Callable[[RequestBookmarks], Awaitable[object]]


class App:
    """An application of one handler, which answers with JSON."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        body = json.dumps(await self.handler(RequestBookmarks.of(scope))).encode()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})


async def blog(bookmarks: RequestBookmarks) -> object:
    """Lists the users, and who served the list."""
    async with bookmarks.session() as session:
        found = (await session.scalars(EMAILS)).all()
        assert session.last_route is not None
        return {"emails": list(found), "by": session.last_route.server}


async def sign_up(bookmarks: RequestBookmarks) -> object:
    async with bookmarks.begin() as session:
        session.add(User(email="ada"))
    return "written"


def by_method(**handlers: Handler) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await App(handlers[scope["method"]])(scope, receive, send)

    return app


BLOG = by_method(GET=blog, POST=sign_up)


async def test_a_request_reads_what_an_earlier_one_wrote(still: Database, client) -> None:
    async with client(BookmarkMiddleware(BLOG, still)) as http:
        written = await http.post("/")
        token = written.headers["x-bookmark"]
        linked = (await http.get("/", headers={"x-bookmark": token})).json()
        stranger = (await http.get("/")).json()
    assert linked == {"emails": ["ada"], "by": "primary"}
    assert (stranger["emails"], stranger["by"][:7]) == ([], "replica")


@pytest.mark.parametrize("name", ["x-bookmark", "X-D1-Bookmark"])
async def test_the_response_uses_the_header_of_the_request(
    still: Database, name: str, client
) -> None:
    async with client(BookmarkMiddleware(BLOG, still)) as http:
        token = (await http.post("/")).headers["x-bookmark"]
        response = await http.get("/", headers={name: token})
    sent = {header for header in response.headers if header.endswith("bookmark")}
    assert sent == {name.lower()}
    assert response.headers[name] == token


async def test_a_header_of_ones_own_is_the_only_one(still: Database, client) -> None:
    async with client(BookmarkMiddleware(BLOG, still, headers=["X-Seen"])) as http:
        written = await http.post("/", headers={"x-bookmark": "not for us"})
    assert written.headers["x-seen"].startswith("v1.")
    assert "x-bookmark" not in written.headers


async def test_what_was_read_is_not_unread_by_the_next_request(servers, client) -> None:
    async with servers.migrated(max_wait=0) as db:
        fresh, stale = replicas(db)
        await stale.pause()
        async with client(BookmarkMiddleware(BLOG, db)) as http:
            await http.post("/")
            await fresh.caught_up()
            reads = []
            while not reads or not reads[-1].json()["emails"]:  # the replicas take turns
                reads.append(await http.get("/"))
            token = reads[-1].headers["x-bookmark"]
            for _ in range(4):
                again = await http.get("/", headers={"x-bookmark": token})
                assert again.json() == {"emails": ["ada"], "by": "replica-1"}
                assert again.headers["x-bookmark"] == token


@pytest.mark.parametrize("joined", [True, False])
async def test_bookmarks_of_parallel_responses_merge(still: Database, joined: bool, client) -> None:
    async with client(BookmarkMiddleware(BLOG, still)) as http:
        before = (await http.get("/")).headers["x-bookmark"]
        after = (await http.post("/")).headers["x-bookmark"]
        assert before != after
        for both in ([before, after], [after, before]):
            values = [", ".join(both)] if joined else both
            response = await http.get("/", headers=[("x-bookmark", value) for value in values])
            assert response.json()["emails"] == ["ada"]
            assert response.headers["x-bookmark"] == after


async def test_what_a_handler_has_run_is_in_the_bookmark(still: Database, client) -> None:
    async def add(session: BookmarkSession) -> None:
        session.add(User(email="ada"))

    async def handler(bookmarks: RequestBookmarks) -> object:
        return await bookmarks.run(add)

    async with client(BookmarkMiddleware(by_method(GET=blog, POST=handler), still)) as http:
        token = (await http.post("/")).headers["x-bookmark"]
        linked = await http.get("/", headers={"x-bookmark": token})
    assert linked.json()["emails"] == ["ada"]


async def test_a_response_without_a_session_clears_nothing(still: Database, client) -> None:
    async def nothing(_: RequestBookmarks) -> object:
        return None

    async with client(BookmarkMiddleware(by_method(GET=nothing, POST=sign_up), still)) as http:
        assert "x-bookmark" not in (await http.get("/")).headers
        token = (await http.post("/")).headers["x-bookmark"]
        echoed = await http.get("/", headers={"x-bookmark": token})
    assert echoed.headers["x-bookmark"] == token


@pytest.mark.parametrize(
    ("method", "role"),
    [
        ("GET", "replica"),
        ("HEAD", "replica"),
        ("OPTIONS", "replica"),
        ("POST", "primary"),
        ("DELETE", "primary"),
        ("MERGE", "primary"),
    ],
)
async def test_without_a_bookmark_the_method_decides(
    still: Database, method: str, role: str, client
) -> None:
    served_by: list[str] = []

    async def handler(bookmarks: RequestBookmarks) -> object:
        async with bookmarks.session() as session:
            await session.scalars(EMAILS)
            assert session.last_route is not None
            served_by.append(session.last_route.role)
        return None

    async with client(BookmarkMiddleware(App(handler), still)) as http:
        await http.request(method, "/")
    assert served_by == [role]


# Several sessions in one request -------------------------------------------------------------


async def test_a_session_sees_what_those_before_it_in_the_request_did(
    still: Database, client
) -> None:
    async def handler(bookmarks: RequestBookmarks) -> object:
        await sign_up(bookmarks)
        return await blog(bookmarks)

    async with client(BookmarkMiddleware(App(handler), still)) as http:
        assert (await http.get("/")).json() == {"emails": ["ada"], "by": "primary"}


async def test_a_session_sees_what_one_beside_it_has_committed(still: Database, client) -> None:
    async def handler(bookmarks: RequestBookmarks) -> object:
        async with bookmarks.session() as session:
            session.add(User(email="ada"))
            await session.commit()
            return await blog(bookmarks)

    async with client(BookmarkMiddleware(App(handler), still)) as http:
        assert (await http.get("/")).json()["emails"] == ["ada"]


async def test_an_idle_session_does_not_end_first_primary(still: Database, client) -> None:
    async def handler(bookmarks: RequestBookmarks) -> object:
        async with bookmarks.session():
            pass
        return await blog(bookmarks)

    async with client(BookmarkMiddleware(App(handler), still)) as http:
        response = await http.post("/")
    assert response.json()["by"] == "primary"


async def test_the_header_covers_sessions_that_are_still_open(
    still: Database, caplog: pytest.LogCaptureFixture, client
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with RequestBookmarks.of(scope).session() as session:
            session.add(User(email="ada"))
            await session.commit()
            await App(lambda _: asyncio.sleep(0))(scope, receive, send)

    async with client(BookmarkMiddleware(app, still)) as http:
        token = (await http.post("/")).headers["x-bookmark"]
    async with still.session(token) as session:
        assert (await session.scalars(EMAILS)).all() == ["ada"]
    assert not [record for record in caplog.records if record.name == "orm.web.middleware"]


async def test_a_commit_that_comes_too_late_is_told(
    still: Database, caplog: pytest.LogCaptureFixture, client
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with RequestBookmarks.of(scope).begin() as session:
            session.add(User(email="ada"))
            await session.flush()
            await App(lambda _: asyncio.sleep(0))(scope, receive, send)

    with caplog.at_level(logging.WARNING, "orm.web"):
        async with client(BookmarkMiddleware(app, still)) as http:
            await http.post("/late")
    (record,) = (one for one in caplog.records if one.name == "orm.web.middleware")
    assert "/late" in record.getMessage()
    assert "commit before the response" in record.getMessage()


# Input from strangers ------------------------------------------------------------------------


GARBAGE = ["nonsense", "v1.AAAA", "first-primary", "x" * 5000, "v1.\xe4", "v1.a, v1.b"]


@pytest.mark.parametrize("token", GARBAGE)
async def test_an_invalid_header_is_refused(
    still: Database, token: str, statements, client
) -> None:
    async with client(BookmarkMiddleware(BLOG, still)) as http:
        response = await http.get("/", headers={"x-bookmark": token.encode("latin-1")})
    assert response.status_code == 400
    assert "bookmark" in response.json()["detail"]
    assert statements == []


@pytest.mark.parametrize("token", GARBAGE)
async def test_an_invalid_header_may_lead_to_the_primary(
    still: Database, token: str, client
) -> None:
    async with client(BookmarkMiddleware(BLOG, still, invalid="primary")) as http:
        response = await http.get("/", headers={"x-bookmark": token.encode("latin-1")})
    assert response.json()["by"] == "primary"


async def test_more_bookmarks_than_a_client_needs_are_refused(still: Database, client) -> None:
    async with client(BookmarkMiddleware(BLOG, still, invalid="primary")) as http:
        token = (await http.post("/")).headers["x-bookmark"]
        few = await http.get("/", headers={"x-bookmark": ",".join([token] * 64)})
        many = await http.get("/", headers={"x-bookmark": ",".join([token] * 65)})
    assert (few.status_code, many.status_code) == (200, 400)


async def test_a_bookmark_of_another_database(servers, client) -> None:
    foreign = Bookmark.at("elsewhere", 7).encode()
    async with servers.migrated() as db:
        async with client(BookmarkMiddleware(BLOG, db)) as http:
            served = await http.get("/", headers={"x-bookmark": foreign})
        assert served.json()["by"] == "primary"
        ours = Bookmark.decode(served.headers["x-bookmark"])
        assert ours.history == db.cluster.require_open().history
    async with servers.migrated(stray_bookmarks="error") as db:
        async with client(BookmarkMiddleware(BLOG, db)) as http:
            refused = await http.get("/", headers={"x-bookmark": foreign})
        async with client(BookmarkMiddleware(BLOG, db, invalid="primary")) as http:
            served = await http.get("/", headers={"x-bookmark": foreign})
    assert refused.status_code == 400
    assert served.json()["by"] == "primary"


def ahead(db: Database) -> str:
    """A signed bookmark of this database that its primary does not have."""
    floor = db.cluster.require_open()
    return Bookmark.at(floor.history, 1_000_000).encode(db.rules.keys)


async def test_a_lost_write_is_a_conflict_and_ends_with_its_cookie(still: Database, client) -> None:
    cookie = BookmarkCookie()
    middleware = BookmarkMiddleware(BLOG, still, cookie=cookie)
    async with client(middleware) as http:
        refused = await http.get("/", headers={"cookie": f"bookmark-01234567={ahead(still)}"})
    assert refused.status_code == 409
    assert "writes that the primary does not have" in refused.json()["detail"]
    assert refused.headers["set-cookie"].startswith("bookmark-01234567=; Max-Age=0;")


async def test_a_lost_write_in_the_middle_of_a_response_is_an_error(still: Database) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with RequestBookmarks.of(scope).session() as session:
            await session.scalars(EMAILS)

    headers = [(b"x-bookmark", ahead(still).encode())]
    messages = run(BookmarkMiddleware(app, still), {**GET, "headers": headers})
    await anext(messages)
    with pytest.raises(WriteLost):
        await anext(messages)


async def test_there_is_one_header_whatever_the_application_says(still: Database, client) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with RequestBookmarks.of(scope).session() as session:
            await session.scalars(EMAILS)
        headers = [(b"x-bookmark", b"of the application's own"), (b"x-other", b"stays")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    async with client(BookmarkMiddleware(app, still)) as http:
        headers = (await http.get("/")).headers
    (token,) = headers.get_list("x-bookmark")
    assert token.startswith("v1.")
    assert headers["x-other"] == "stays"


# Cookies -------------------------------------------------------------------------------------


async def test_a_cookie_needs_keys(servers, client) -> None:
    middleware = BookmarkMiddleware(BLOG, servers.database(), cookie=BookmarkCookie())
    assert middleware.mistake is not None
    async with client(middleware) as http:
        with pytest.raises(ConfigurationError, match="bookmark_keys"):
            await http.get("/")


@pytest.mark.parametrize(
    "options",
    [
        {"name": "a b"},
        {"path": "app"},
        {"path": "/; Domain=evil.test"},
        {"max_age": 0},
        {"same_site": "none", "secure": False},
    ],
)
def test_a_cookie_that_browsers_would_not_take(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        BookmarkCookie(**options)


async def test_a_browser_reads_its_own_writes(still: Database, client) -> None:
    middleware = BookmarkMiddleware(BLOG, still, cookie=BookmarkCookie())
    async with client(middleware) as browser, client(middleware) as other:
        written = await browser.post("/")
        assert (await browser.get("/")).json()["emails"] == ["ada"]
        assert (await other.get("/")).json()["emails"] == []
        assert len(browser.cookies) == 1
    _, *attributes = written.headers["set-cookie"].split("; ")
    assert attributes == ["Max-Age=86400", "Path=/", "HttpOnly", "Secure", "SameSite=Lax"]


async def test_a_response_without_news_sets_no_cookie(still: Database, client) -> None:
    async with client(BookmarkMiddleware(BLOG, still, cookie=BookmarkCookie())) as browser:
        await browser.post("/")
        assert "set-cookie" not in (await browser.get("/")).headers


async def test_a_slow_response_does_not_undo_a_fast_one(still: Database, client) -> None:
    reading, write = asyncio.Event(), asyncio.Event()

    async def slow(bookmarks: RequestBookmarks) -> object:
        seen = await blog(bookmarks)
        reading.set()
        await write.wait()
        return seen

    app = BookmarkMiddleware(by_method(GET=slow, POST=sign_up), still, cookie=BookmarkCookie())
    async with client(app) as browser:
        read = asyncio.create_task(browser.get("/"))
        await reading.wait()
        await browser.post("/")
        write.set()
        assert (await read).json()["emails"] == []  # and its bookmark arrives last
        assert len(browser.cookies) == 2
        assert (await browser.get("/")).json()["emails"] == ["ada"]
        assert len(browser.cookies) == 1
        assert (await browser.get("/")).json()["emails"] == ["ada"]


async def test_a_cookie_that_says_nothing_any_more_is_replaced(still: Database, client) -> None:
    middleware = BookmarkMiddleware(BLOG, still, cookie=BookmarkCookie())
    async with client(middleware) as http:
        token = Bookmark.at(still.cluster.require_open().history, 1).encode([b"an old key"])
        response = await http.get("/", headers={"cookie": f"a=b; bookmark-01234567={token}"})
    assert response.json()["by"] == "primary"  # never silently fresh
    new, old = response.headers.get_list("set-cookie")
    assert new.startswith("bookmark-")
    assert old.startswith("bookmark-01234567=; Max-Age=0;")


async def test_no_browser_is_locked_out_by_its_cookies(still: Database, client) -> None:
    middleware = BookmarkMiddleware(BLOG, still, cookie=BookmarkCookie())
    async with client(middleware) as http:
        old = (await http.get("/")).headers["x-bookmark"]
        new = (await http.post("/")).headers["x-bookmark"]
    async with client(middleware) as browser:
        for number in range(65):
            browser.cookies.set(f"bookmark-{number:08x}", old, "app.test")
        browser.cookies.set("bookmark-ffffffff", new, "app.test")
        left = []
        while len(browser.cookies) > 1:
            response = await browser.get("/")
            assert response.json() == {"emails": ["ada"], "by": "primary"}
            assert len("".join(response.headers.get_list("set-cookie"))) < 2_000
            left.append(len(browser.cookies))
        assert left == [50, 34, 18, 2, 1]


async def test_parallel_requests_leave_few_cookies_and_nothing_is_forgotten(
    still: Database, client, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, numbers = asyncio.Barrier(30), count()

    async def read(bookmarks: RequestBookmarks) -> object:
        async with still.begin() as other:  # another user writes
            other.add(User(email=str(next(numbers))))
        async with bookmarks.session() as session:
            session.see("first-primary")
            found = len((await session.scalars(EMAILS)).all())
        await together.wait()
        return found

    app = BookmarkMiddleware(by_method(GET=read, POST=blog), still, cookie=BookmarkCookie())
    async with client(app) as browser:
        responses = await asyncio.gather(*(browser.get("/") for _ in range(30)))
        assert max(response.json() for response in responses) == 30
        names = [*browser.cookies]
        assert len(names) == 9
        (mark,) = (name for name in names if name.startswith("bookmark-primary-"))
        await asyncio.gather(*(browser.get("/") for _ in range(30)))
        assert len(browser.cookies) <= 11  # marked or not, it is the same browser
        again = await browser.post("/")
        assert len(again.json()["emails"]) == 60
        assert len(browser.cookies) <= 3  # its own, and the mark, which others may still set
        monkeypatch.setattr("orm.web.cookie.time", lambda: time() + 180)
        await browser.post("/")
        assert mark not in browser.cookies
        assert len(browser.cookies) == 1
        assert (await browser.post("/")).json()["by"] == "primary"  # no replica has it


async def test_a_mark_stays_until_the_browser_has_read(still: Database, client) -> None:
    async def nothing(bookmarks: RequestBookmarks) -> object:
        return None

    app = BookmarkMiddleware(by_method(GET=nothing, POST=blog), still, cookie=BookmarkCookie())
    async with client(app) as browser:
        await browser.post("/")
        browser.cookies.set("bookmark-primary-1", "1", "app.test")
        await browser.get("/")
        assert "bookmark-primary-1" in browser.cookies
        await browser.post("/")
        assert "bookmark-primary-1" not in browser.cookies


# What is not plain request and response ------------------------------------------------------


async def run(
    app: Any, scope: dict[str, Any], receive: Any = None
) -> AsyncIterator[dict[str, Any]]:
    """The messages of an application, as it sends them."""
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)
    task = asyncio.create_task(app({"path": "/", "headers": [], **scope}, receive, sent.put))
    try:
        while True:
            get = asyncio.create_task(sent.get())
            await asyncio.wait({get, task}, return_when=asyncio.FIRST_COMPLETED)
            if not get.done():
                get.cancel()
                break
            yield get.result()
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


GET = {"type": "http", "method": "GET"}


async def test_a_stream_goes_through_piece_by_piece(db: Database) -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with RequestBookmarks.of(scope).session() as session:
            rows = await session.stream_scalars(EMAILS)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            async for email in rows:
                await send({"type": "http.response.body", "body": email, "more_body": True})
                await go_on.wait()
            await send({"type": "http.response.body"})

    async with db.begin() as session:
        session.add_all([User(email="a"), User(email="b")])
    await caught_up(db)
    messages = run(BookmarkMiddleware(app, db), GET)
    start = await anext(messages)
    assert dict(start["headers"])[b"x-bookmark"].startswith(b"v1.")
    assert (await anext(messages))["body"] == "a"
    go_on.set()
    assert [message.get("body") async for message in messages] == ["b", None]


async def test_a_client_that_leaves_takes_its_connections_along(db: Database) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with RequestBookmarks.of(scope).session() as session:
            await session.execute(text("SELECT 1"))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await asyncio.Event().wait()

    messages = run(BookmarkMiddleware(app, db), GET)
    await anext(messages)
    await messages.aclose()  # the fixture looks for connections that are left


async def test_a_read_that_cannot_be_located_is_no_response(servers) -> None:
    async with servers.migrated() as db:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async with RequestBookmarks.of(scope).session() as session:
                await (await session.stream(EMAILS)).all()  # whose position is asked for later
            for control in replicas(db):
                await control.kill()
            (servers.folder / "app.db").unlink()
            await asyncio.sleep(0.1)  # until a connection is asked whether its file is there
            await App(lambda _: asyncio.sleep(0))(scope, receive, send)

        with pytest.raises(DBAPIError, match="unable to open"):
            await anext(run(BookmarkMiddleware(app, db), GET))


async def test_an_error_passes_unchanged_and_rolls_back(db: Database) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with RequestBookmarks.of(scope).begin() as session:
            session.add(User(email="ada"))
            await session.flush()
            raise RuntimeError("of the application")

    with pytest.raises(RuntimeError, match="of the application"):
        await anext(run(BookmarkMiddleware(app, db), GET))
    async with db.session("first-primary") as session:
        assert (await session.scalars(EMAILS)).all() == []


async def test_a_web_socket_hands_out_its_bookmarks_itself(still: Database) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        bookmarks = RequestBookmarks.of(scope)
        await send({"type": "websocket.accept"})
        for number in range(3):
            async with bookmarks.begin() as session:
                session.add(User(email=str(number)))
            await send({"type": "websocket.send", "text": await bookmarks.bookmark()})

    messages = run(BookmarkMiddleware(app, still), {"type": "websocket"})
    assert await anext(messages) == {"type": "websocket.accept"}
    number = 0
    async for message in messages:
        number += 1
        async with still.session(message["text"]) as session:
            assert len((await session.scalars(EMAILS)).all()) >= number  # it may have gone on
    assert number == 3


async def test_a_web_socket_does_not_collect_the_sessions_that_it_had(still: Database) -> None:
    bookmarks = RequestBookmarks(still)
    async with bookmarks.session() as session:
        await session.scalars(EMAILS)
    ended = weakref.ref(session)
    del session
    async with bookmarks.session():
        gc.collect()
        assert ended() is None


async def test_a_web_socket_with_an_invalid_bookmark_is_not_opened(still: Database) -> None:
    scope = {"type": "websocket", "headers": [(b"x-bookmark", b"nonsense")]}
    (message,) = [message async for message in run(BookmarkMiddleware(BLOG, still), scope)]
    assert (message["type"], message["code"]) == ("websocket.close", 1008)


async def test_the_lifespan_and_what_is_unknown_pass(servers) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    for kind in ("lifespan", "something-new"):
        given = {"type": kind, "state": {}}, object(), object()
        await BookmarkMiddleware(app, servers.database())(*given)
        assert seen.pop() == given
        assert given[0]["state"] == {}


async def test_the_server_s_state_is_kept_and_not_written_to(still: Database) -> None:
    state = {"kept": 1}
    app = App(blog)
    assert [m async for m in run(BookmarkMiddleware(app, still), {**GET, "state": state})]
    assert state == {"kept": 1}
    assert app.scopes[0]["state"]["kept"] == 1


def test_bookmarks_without_the_middleware() -> None:
    with pytest.raises(ConfigurationError, match="BookmarkMiddleware"):
        RequestBookmarks.of({"type": "http"})


@pytest.mark.parametrize("options", [{"headers": []}, {"headers": "x"}, {"invalid": "ignore"}])
def test_options_that_cannot_work(servers, options: dict[str, Any]) -> None:
    assert BookmarkMiddleware(BLOG, servers.database(), **options).mistake is not None
