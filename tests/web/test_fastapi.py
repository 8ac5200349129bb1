"""FastAPI: the dependency commits before the response, and its header says so."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.exceptions import FastAPIError
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from models import User
from orm import BookmarkSession, Database
from orm.exceptions import ConfigurationError
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


async def test_rows_can_be_returned_after_a_commit(still: Database, client) -> None:
    app = application(still)

    class Shown(BaseModel):
        model_config = ConfigDict(from_attributes=True)
        id: int
        email: str

    @app.post("/shown/{email}", response_model=Shown)
    async def shown(email: str, session: RequestSession) -> User:
        user = User(email=email)
        session.add(user)
        await session.commit()
        return user

    async with client(app) as http:
        assert (await http.post("/shown/ada")).json()["email"] == "ada"


async def test_a_background_task_is_told_to_open_a_session_of_its_own(
    still: Database, client
) -> None:
    app, raised = application(still), []

    @app.post("/later/{email}")
    async def later(email: str, session: RequestSession, tasks: BackgroundTasks) -> None:
        async def write() -> None:
            for use in (session.flush, session.connection, session.commit):
                session.add(User(email=f"{email} later"))
                try:
                    await use()
                except ConfigurationError as error:
                    raised.append(str(error))
                await session.rollback()

        session.add(User(email=email))
        tasks.add_task(write)

    async with client(app) as http:
        assert (await http.post("/later/ada")).status_code == 200
        assert len(raised) == 3
        assert all("opens one of its own: async with db.session(bookmark)" in why for why in raised)
        assert (await http.post("/users/bob")).status_code == 200  # nothing holds the lock
        async with still.session("first-primary") as session:
            assert (await session.scalars(EMAILS)).all() == ["ada", "bob"]


async def test_a_dependency_that_yields_asks_for_the_scope_of_the_session(
    still: Database, client
) -> None:
    app = application(still)

    async def repository(session: RequestSession) -> AsyncIterator[BookmarkSession]:
        yield session
        session.add(User(email="of the dependency"))

    with pytest.raises(FastAPIError, match="scope"):

        @app.post("/wrong")
        async def wrong(used: Annotated[Any, Depends(repository)]) -> None: ...

    @app.post("/right")
    async def right(used: Annotated[Any, Depends(repository, scope="function")]) -> None: ...

    async with client(app) as http:
        token = (await http.post("/right")).headers["x-bookmark"]
        users = await http.get("/users", headers={"x-bookmark": token})
        assert users.json() == ["of the dependency"]


async def test_an_error_after_a_commit_carries_its_bookmark(still: Database, client) -> None:
    app = application(still)

    @app.post("/half/{email}")
    async def half(email: str, session: RequestSession) -> None:
        session.add(User(email=email))
        await session.commit()
        raise RuntimeError("of the application")

    with pytest.raises(RuntimeError, match="of the application"):
        async with client(app) as http:
            await http.post("/half/ada")
    async with client(app, raise_app_exceptions=False) as http:
        failed = await http.post("/half/bob")
        assert (failed.status_code, failed.text) == (500, "Internal Server Error")
        users = await http.get("/users", headers={"x-bookmark": failed.headers["x-bookmark"]})
        assert users.json() == ["ada", "bob"]


async def test_the_applications_own_answer_to_an_error_stays(still: Database, client) -> None:
    app = application(still)

    @app.exception_handler(Exception)
    async def answer(request: Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse("our own page", 500)

    async with client(app, raise_app_exceptions=False) as http:
        assert (await http.post("/users/broken")).text == "our own page"


async def test_two_databases_with_one_header_are_refused(servers, still: Database, client) -> None:
    async with servers.elsewhere() as other:
        app = application(still)
        app.add_middleware(BookmarkMiddleware, database=other, state_key="other")
        async with client(app) as http:
            with pytest.raises(ConfigurationError, match=r"give one of them other headers"):
                await http.get("/users")
        app = application(still)
        app.add_middleware(
            BookmarkMiddleware, database=other, state_key="other", headers=["x-other"]
        )
        async with client(app) as http:
            assert (await http.get("/users")).status_code == 200
