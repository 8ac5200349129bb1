"""FastAPI: the dependency commits before the response, and its header says so."""

from typing import Annotated, Any

from fastapi import BackgroundTasks, FastAPI, HTTPException, WebSocket
from fastapi.responses import StreamingResponse
from sqlalchemy import select

from models import User
from orm import BookmarkSession, Database
from orm.web import BookmarkMiddleware, RequestBookmarks
from orm.web.fastapi import RequestSession, request_session

EMAILS = select(User.email).order_by(User.id)


def application(db: Database) -> FastAPI:
    app = FastAPI()
    app.add_middleware(BookmarkMiddleware, database=db)

    @app.post("/users/{email}")
    async def create(email: str, session: RequestSession) -> dict[str, Any]:
        user = User(email=email)
        session.add(user)
        await session.flush()
        if email == "refused":
            raise HTTPException(422)
        if email == "broken":
            raise RuntimeError("of the application")
        return {"id": user.id, "email": user.email}

    @app.get("/users")
    async def users(session: RequestSession) -> list[str]:
        return list(await session.scalars(EMAILS))

    return app


async def test_the_header_holds_the_bookmark_of_that_very_write(still: Database, client) -> None:
    async with client(application(still)) as http:
        written = await http.post("/users/ada")
        linked = await http.get("/users", headers={"x-bookmark": written.headers["x-bookmark"]})
        stranger = await http.get("/users")
    assert written.json() == {"id": 1, "email": "ada"}
    assert linked.json() == ["ada"]
    assert stranger.json() == []


async def test_what_raises_is_rolled_back(still: Database, client) -> None:
    async with client(application(still), raise_app_exceptions=False) as http:
        assert (await http.post("/users/refused")).status_code == 422
        assert (await http.post("/users/broken")).status_code == 500
        await http.post("/users/ada")
        # A conflict shows at the flush, and at the commit it would: never after a response.
        assert (await http.post("/users/ada")).status_code == 500
    async with still.session("first-primary") as session:
        assert (await session.scalars(EMAILS)).all() == ["ada"]


async def test_a_commit_that_fails_is_no_success(still: Database, client) -> None:
    app = FastAPI()
    app.add_middleware(BookmarkMiddleware, database=still)

    @app.post("/")
    async def create(session: RequestSession) -> str:
        session.add_all([User(email="same"), User(email="same")])  # flushed by the commit
        return "created"

    async with client(app, raise_app_exceptions=False) as http:
        assert (await http.post("/")).status_code == 500


async def test_a_second_database_and_options_of_ones_own(still: Database, client) -> None:
    Reports = Annotated[  # noqa: N806 -- a type
        BookmarkSession, request_session("reports", expire_on_commit=False)
    ]
    app = FastAPI()
    app.add_middleware(
        BookmarkMiddleware, database=still, headers=["x-reports"], state_key="reports"
    )

    @app.post("/")
    async def create(session: Reports) -> str:
        user = User(email="ada")
        session.add(user)
        await session.commit()
        return user.email  # not expired: nothing is read again

    async with client(app) as http:
        written = await http.post("/")
    assert written.json() == "ada"
    assert "x-reports" in written.headers


async def test_a_stream_and_what_runs_after_the_response_have_sessions_of_their_own(
    still: Database, client
) -> None:
    app = application(still)
    tokens: list[str | None] = []

    @app.get("/stream")
    async def stream(session: RequestSession) -> StreamingResponse:
        emails = list(await session.scalars(EMAILS))

        async def lines() -> Any:
            for email in emails:
                yield f"{email}\n"

        return StreamingResponse(lines())

    @app.post("/later/{email}")
    async def later(email: str, session: RequestSession, tasks: BackgroundTasks) -> None:
        session.add(User(email=email))
        await session.commit()

        async def look(token: str) -> None:
            async with still.session(token) as later:
                tokens.extend(await later.scalars(EMAILS))

        tasks.add_task(look, await session.bookmark())

    async with client(app) as http:
        written = await http.post("/later/ada")
        token = written.headers["x-bookmark"]
        assert (await http.get("/stream", headers={"x-bookmark": token})).text == "ada\n"
    assert tokens == ["ada"]


async def test_a_web_socket_sends_the_bookmark_with_the_event(still: Database, socket) -> None:
    app = application(still)

    @app.websocket("/live")
    async def live(websocket: WebSocket) -> None:
        bookmarks = RequestBookmarks.of(websocket.scope)
        await websocket.accept()
        async for email in websocket.iter_text():
            async with bookmarks.begin() as session:
                session.add(User(email=email))
            await websocket.send_json({"new": email, "bookmark": await bookmarks.bookmark()})

    async with socket(app, "/live") as (send, receive):
        for number, email in enumerate(["ada", "grace"], start=1):
            await send(email)
            event = await receive()
            async with still.session(event["bookmark"]) as session:  # another page, say
                assert len((await session.scalars(EMAILS)).all()) == number
