"""Starlette: the middleware is all there is to add."""

from sqlalchemy import select
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from models import User
from orm import Database
from orm.web import BookmarkCookie, BookmarkMiddleware

EMAILS = select(User.email).order_by(User.id)


async def create(request: Request) -> JSONResponse:
    async with request.state.bookmarks.begin() as session:
        session.add(User(email=request.path_params["email"]))
    return JSONResponse("created", 201)


async def users(request: Request) -> JSONResponse:
    async with request.state.bookmarks.session() as session:
        return JSONResponse(list(await session.scalars(EMAILS)))


async def events(request: Request) -> StreamingResponse:
    """Server-sent events: the bookmark is the event's id, which a browser sends on reconnecting."""

    async def stream():
        async with request.state.bookmarks.begin() as session:
            session.add(User(email="later"))
        yield f"id: {await request.state.bookmarks.bookmark()}\ndata: new\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


def application(db: Database) -> Starlette:
    return Starlette(
        routes=[
            Route("/users/{email}", create, methods=["POST"]),
            Route("/users", users),
            Route("/events", events),
        ],
        middleware=[
            Middleware(
                BookmarkMiddleware,
                database=db,
                cookie=BookmarkCookie(),
                headers=["x-bookmark", "last-event-id"],
            )
        ],
    )


async def test_a_browser_reads_its_own_writes(still: Database, client) -> None:
    app = application(still)
    async with client(app) as browser, client(app) as other:
        await browser.post("/users/ada")
        assert (await browser.get("/users")).json() == ["ada"]
        assert (await other.get("/users")).json() == []


async def test_an_event_carries_the_bookmark_of_what_it_tells(still: Database, client) -> None:
    app = application(still)
    async with client(app) as http:
        event = (await http.get("/events")).text.splitlines()
    token = event[0].removeprefix("id: ")
    async with client(app) as http:
        assert (await http.get("/users")).json() == []
        resumed = await http.get("/users", headers={"last-event-id": token})
    assert resumed.json() == ["later"]
