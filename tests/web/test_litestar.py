"""Litestar: one plugin."""

from typing import Any

import pytest
from litestar import Litestar, get, post
from litestar.exceptions import HTTPException
from litestar.params import FromPath
from sqlalchemy import select

from models import User
from orm import Database
from orm.exceptions import ConfigurationError
from orm.web import BookmarkCookie
from orm.web.litestar import BookmarkPlugin, RequestSession

EMAILS = select(User.email).order_by(User.id)


def application(plugin: BookmarkPlugin, *handlers: Any) -> Litestar:
    return Litestar(handlers, plugins=[plugin], logging_config=None)


@post("/users/{email:str}")
async def create(email: FromPath[str], session: RequestSession) -> dict[str, Any]:
    user = User(email=email)
    session.add(user)
    await session.flush()
    if email == "refused":
        raise HTTPException(status_code=422)
    return {"id": user.id}


@get("/users")
async def users(session: RequestSession) -> list[str]:
    return list(await session.scalars(EMAILS))


async def test_the_header_holds_the_bookmark_of_that_very_write(still: Database, client) -> None:
    app = application(BookmarkPlugin(still, cookie=BookmarkCookie()), create, users)
    async with client(app) as browser, client(app) as other:
        written = await browser.post("/users/ada")
        assert written.headers["x-bookmark"].startswith("v1.")
        assert (await browser.get("/users")).json() == ["ada"]
        assert (await other.get("/users")).json() == []


async def test_what_raises_is_rolled_back(still: Database, client) -> None:
    app = application(BookmarkPlugin(still), create, users)
    async with client(app) as http:
        assert (await http.post("/users/refused")).status_code == 422
        assert (await http.get("/users", headers={"x-bookmark": ""})).json() == []
    async with still.session("first-primary") as session:
        assert (await session.scalars(EMAILS)).all() == []


async def test_the_dependency_has_the_name_that_it_is_given(still: Database, client) -> None:
    @post("/")
    async def handler(users_db: RequestSession) -> str:
        users_db.add(User(email="ada"))
        return "created"

    plugin = BookmarkPlugin(still, dependency="users_db", state_key="users")
    async with client(application(plugin, handler)) as http:
        assert "x-bookmark" in (await http.post("/")).headers


def test_a_plugin_that_cannot_work_is_refused_when_it_is_made(servers) -> None:
    with pytest.raises(ConfigurationError, match="bookmark_keys"):
        BookmarkPlugin(servers.database(), cookie=BookmarkCookie())
