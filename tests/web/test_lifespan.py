"""An application that starts, on this repository's own revisions."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from litestar import Litestar
from sqlalchemy import select, text

from models import User
from orm import Database
from orm.exceptions import ConfigurationError, DatabaseClosed, MigrationError
from orm.web import BookmarkCookie, BookmarkMiddleware, health, lifespan
from orm.web.fastapi import RequestSession

REPOSITORY = Path(__file__).parents[2]
EMAILS = select(User.email)


def start(kind: str, **options: Any) -> Any:
    """An application that starts when its block is entered."""
    if kind == "litestar":
        return Litestar([], lifespan=[lifespan(**options)], logging_config=None).lifespan()
    app = FastAPI(lifespan=lifespan(**options))
    return app.router.lifespan_context(app)


KINDS = pytest.mark.parametrize("kind", ["fastapi", "litestar"])


@KINDS
async def test_it_does_not_start_on_an_older_schema(servers, kind: str) -> None:
    db = servers.database()
    with pytest.raises((MigrationError, ExceptionGroup)) as caught:  # Litestar makes it a group
        async with start(kind, database=db, folder=REPOSITORY):
            pass
    (error,) = getattr(caught.value, "exceptions", (caught.value,))
    assert isinstance(error, MigrationError)
    assert "lacks 0001_create_users_and_posts: before the application starts, run orm" in str(error)
    with pytest.raises(DatabaseClosed, match=r"closed|not started"):
        db.session()


@KINDS
async def test_it_applies_what_is_pending_if_asked(servers, kind: str) -> None:
    for migrations in ("apply", "check", "apply"):
        db = servers.database()
        async with start(kind, database=db, migrations=migrations, folder=REPOSITORY):
            async with db.session() as session:
                assert (await session.scalars(EMAILS)).all() == []
        assert db.cluster.closed


async def test_a_database_that_is_ahead_is_fine(servers) -> None:
    async with start("fastapi", database=servers.database(), migrations="apply", folder=REPOSITORY):
        pass
    async with Database(servers.url) as db, db.begin() as session:
        await session.execute(
            text("UPDATE orm_revisions SET revision = '0002', name = '0002_of_newer_code'")
        )
        await session.execute(
            text(
                "INSERT INTO orm_revisions (revision, name, checksum, applied_at) "
                "VALUES ('0001', '0001_create_users_and_posts', '', '2026-01-01 00:00:00')"
            )
        )
    async with start("fastapi", database=servers.database(), folder=REPOSITORY):
        pass


async def test_who_has_no_migrations_says_so(servers, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="pyproject"):
        async with start("fastapi", database=servers.database(), folder=tmp_path):
            pass
    async with start("fastapi", database=servers.database(), migrations="ignore", folder=tmp_path):
        pass
    with pytest.raises(ConfigurationError, match="'ignore'"):
        lifespan(servers.database(), migrations="maybe")  # type: ignore[arg-type]


def test_an_application_is_entered_again(servers) -> None:
    """As by tests with ``with TestClient(app)``, each of which has an event loop of its own."""
    db = servers.database()
    app = FastAPI(lifespan=lifespan(db, migrations="apply", folder=REPOSITORY))
    app.add_middleware(BookmarkMiddleware, database=db)
    app.mount("/health", health(db))

    @app.post("/users/{email}")
    async def create(email: str, session: RequestSession) -> list[str]:
        session.add(User(email=email))
        return list(await session.scalars(EMAILS))

    for number in (1, 2, 3):
        with TestClient(app) as client:
            assert len(client.post(f"/users/{number}").json()) == number
            assert client.get("/health/ready").status_code == 200


async def test_an_application_is_found_wherever_it_starts(
    servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match=r"folder=….*ORM_FOLDER"):
        async with start("fastapi", database=servers.database(), migrations="apply"):
            pass
    monkeypatch.setenv("ORM_FOLDER", str(REPOSITORY))
    for migrations in ("apply", "check"):
        async with start("fastapi", database=servers.database(), migrations=migrations):
            pass


@KINDS
@pytest.mark.parametrize("migrations", ["check", "apply"])
async def test_an_empty_database_without_a_revision_is_refused(
    kind: str, migrations: str, tmp_path: Path, servers
) -> None:
    (tmp_path / "alembic" / "versions").mkdir(parents=True)
    (tmp_path / "alembic" / "env.py").write_text(
        "from sqlalchemy import MetaData\nfrom orm import migrations\nmigrations.run(MetaData())\n"
    )
    (tmp_path / "pyproject.toml").write_text(
        '[tool.alembic]\nscript_location = "%(here)s/alembic"\n'
    )
    options: Any = {"migrations": migrations, "folder": tmp_path}
    with pytest.raises((MigrationError, ExceptionGroup)) as caught:
        async with start(kind, database=servers.database(), **options):
            pass
    (error,) = getattr(caught.value, "exceptions", (caught.value,))
    assert "has no tables, and there is no revision in" in str(error)
    assert 'orm migrations create "first"' in str(error)
    async with Database(servers.url) as db, db.begin() as session:
        await session.execute(text("CREATE TABLE mine (id integer)"))
    async with start(kind, database=servers.database(), **options):
        pass


@pytest.mark.embedded
async def test_a_start_that_is_refused_leaves_no_file(servers) -> None:
    with pytest.raises(MigrationError, match="lacks 0001"):
        async with start("fastapi", database=servers.database(), folder=REPOSITORY):
            pass
    assert list(servers.folder.iterdir()) == []


async def refused_by_uvicorn(app: FastAPI) -> None:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    async with asyncio.timeout(60):  # if it starts, it serves until it is stopped
        with pytest.raises(SystemExit):
            await server.serve()
    assert not server.started


@pytest.mark.parametrize(
    ("options", "more", "says"),
    [
        ({"cookie": BookmarkCookie()}, None, "bookmark_keys"),
        ({"headers": "x-bookmark"}, None, "headers is a list"),
        ({}, {"headers": ["x-other"]}, "two databases"),
        ({}, {"state_key": "other"}, "two databases"),
    ],
)
async def test_a_server_does_not_start_with_a_middleware_that_cannot_work(
    servers, caplog: pytest.LogCaptureFixture, options: Any, more: Any, says: str
) -> None:
    db = servers.database()
    app = FastAPI(lifespan=lifespan(db, migrations="ignore"))
    app.add_middleware(BookmarkMiddleware, database=db, **options)
    if more is not None:
        app.add_middleware(BookmarkMiddleware, database=servers.database(), **more)
    await refused_by_uvicorn(app)
    assert says in caplog.text
    assert "Application startup failed" in caplog.text


async def test_a_server_does_not_start_with_one_middleware_twice(
    servers, caplog: pytest.LogCaptureFixture
) -> None:
    """The outer one would answer with the bookmark that the client brought, not with a newer."""
    db = servers.database()
    app = FastAPI(lifespan=lifespan(db, migrations="ignore"))
    app.add_middleware(BookmarkMiddleware, database=db)
    app.add_middleware(BookmarkMiddleware, database=db)
    await refused_by_uvicorn(app)
    assert "remove one of them" in caplog.text
