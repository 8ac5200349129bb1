"""A small blog over a primary and two replicas that lag, and a page that shows what that does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar, Final

from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import URL, select
from sqlalchemy.orm import joinedload
from starlette.routing import Route

from orm import migrations
from orm.database import Database
from orm.demo.models import FOLDER, Post, User
from orm.demo.servers import LONGEST_LAG, Controls, State
from orm.session import BookmarkSession
from orm.testing import caught_up
from orm.web import BookmarkMiddleware, health, status_page
from orm.web.fastapi import RequestSession
from orm.web.live import send_live
from orm.web.status_page import page

__all__ = ["application", "database"]

_MAX_WAIT: Final = 0.5  # seconds: longer than by default, to be seen
_NEWEST: Final = select(Post).options(joinedload(Post.user)).order_by(Post.id.desc()).limit(5)

Title = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=2_000)]


class NewPost(BaseModel):
    """What a visitor writes."""

    author: Annotated[int, Field(ge=1, le=2**31 - 1)]
    title: Title
    body: Text = ""


class ShownPost(BaseModel):
    """What visitors read."""

    id: int
    author: str
    title: str
    body: str


class Served(BaseModel):
    """Which server served a request, and why."""

    model_config: ClassVar[ConfigDict] = ConfigDict(from_attributes=True)

    server: str
    reason: str
    waited: float


class Written(BaseModel):
    """The answer to a write."""

    id: int
    served: Served


class Listing(BaseModel):
    """The answer to a read."""

    posts: list[ShownPost]
    served: Served


class Settings(BaseModel):
    """How a replica is to behave."""

    lag: Annotated[float, Field(ge=0, le=LONGEST_LAG, allow_inf_nan=False)]
    state: State = "running"


class Neighbour(BaseModel):
    """Whether the neighbour writes, too."""

    busy: bool


async def _fill(db: Database) -> None:
    async with db.begin() as session:
        ada, grace = User(name="Ada"), User(name="Grace")
        session.add_all([ada, grace])
        session.add(Post(user=grace, title="On lag", body="A replica shows the past."))
        session.add(Post(user=ada, title="Notes", body="Written long ago; every replica has it."))
    await caught_up(db)


def database(url: URL) -> Database:
    """The demo's servers.

    Args:
        url: an embedded database that is not there yet.
    """
    return Database(url, replicas=2, max_wait=_MAX_WAIT)


def application(db: Database) -> FastAPI:
    """The demo as an application.

    Args:
        db: the demo's `database`. The application starts it, and closes it.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await migrations.apply(db.cluster.primary.url, folder=FOLDER)
        async with db:
            await _fill(db)
            app.state.controls = controls = Controls(db)
            yield
            await controls.stop()

    # The documentation pages of FastAPI load their scripts from elsewhere.
    app = FastAPI(title="A blog with bookmarks", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(BookmarkMiddleware, database=db)
    app.mount("/status", status_page(db))
    app.mount("/health", health(db))

    @app.post("/posts", status_code=201, responses={404: {}, 400: {}})
    async def write(new: NewPost, session: RequestSession) -> Written:
        """Write a post."""
        if await session.get(User, new.author) is None:
            raise HTTPException(404, "there is no such author")
        post = Post(user_id=new.author, title=new.title, body=new.body)
        session.add(post)
        await session.flush()
        return Written(id=post.id, served=_served(session))

    @app.get("/posts", responses={400: {}})
    async def read(session: RequestSession) -> Listing:
        """The newest posts."""
        posts = [
            ShownPost(id=post.id, author=post.user.name, title=post.title, body=post.body)
            for post in await session.scalars(_NEWEST)
        ]
        return Listing(posts=posts, served=_served(session))

    @app.put("/replicas/{name}", status_code=204, responses={404: {}, 400: {}})
    async def control(name: str, settings: Settings, request: Request) -> None:
        """Let a replica lag, stand still or go on."""
        controls: Controls = request.app.state.controls
        if name not in controls:
            raise HTTPException(404, "there is no such replica")
        await controls.set(name, settings.lag, settings.state)

    @app.put("/neighbour", status_code=204, responses={400: {}})
    async def neighbour(wish: Neighbour, request: Request) -> None:
        """Let the neighbour write, or not."""
        controls: Controls = request.app.state.controls
        controls.set_busy(wish.busy)

    @app.get("/", include_in_schema=False)
    async def show() -> Response:
        html, policy = page("demo.html", "demo.js", package="orm.demo.page")
        headers = {"content-security-policy": policy, "cache-control": "no-store"}
        return Response(html, media_type="text/html", headers=headers)

    app.router.routes.append(Route("/events", _Events(db, app)))
    return app


def _served(session: BookmarkSession) -> Served:
    return Served.model_validate(session.last_route)


class _Events:
    """The events of the database, with the settings of the demo."""

    def __init__(self, db: Database, app: FastAPI) -> None:
        self._db = db
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        controls: Controls = self._app.state.controls
        await send_live(self._db, receive, send, controls.report)
