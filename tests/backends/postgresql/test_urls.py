"""URLs as hosters hand them out, with libpq's parameters."""

import pytest
from sqlalchemy import text

from orm import Database
from orm.exceptions import ConfigurationError
from orm.testing.postgresql import Cluster

_SETTINGS = "SELECT current_setting('application_name'), current_setting('statement_timeout')"


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("shared", [False, True])
async def test_what_libpq_understands_is_understood(
    postgresql_cluster: Cluster, driver, shared: bool
) -> None:
    said = (
        "?sslmode=prefer&channel_binding=prefer&gssencmode=disable&connect_timeout=7"
        "&application_name=my%20app&options=-c%20statement_timeout%3D12345"
        "&target_session_attrs=any"
    )
    primary, one, _ = postgresql_cluster.servers
    url, replica = primary.url(driver) + said, one.url(driver) + said
    async with (
        Database(url, replicas=[replica], shared=shared) as db,
        db.session() as reader,
        db.begin() as writer,
    ):
        asked = text(_SETTINGS).execution_options(route="read")
        for session in (reader, writer):
            assert tuple((await session.execute(asked)).one()) == ("my app", "12345ms")
        assert reader.last_route and reader.last_route.role == "replica"


async def test_encryption_that_is_asked_for_is_not_done_without(
    postgresql_cluster: Cluster, driver
) -> None:
    url = f"{postgresql_cluster.primary.url(driver)}?sslmode=require"
    with pytest.raises(Exception, match="SSL"):
        await Database(url).start()


@pytest.mark.parametrize("what", ["channel_binding", "gssencmode"])
def test_what_asyncpg_cannot_do_is_said(what: str) -> None:
    url = f"postgresql+asyncpg://app@db-1/app?sslmode=require&{what}=require"
    with pytest.raises(ConfigurationError, match=rf"{what}=require.*postgresql\+psycopg"):
        Database(url)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("colour=red", "colour is in the URL, and asyncpg does not know it"),
        ("connect_timeout=soon", "connect_timeout=soon is in the URL: it is a number of seconds"),
    ],
)
def test_what_asyncpg_does_not_know_is_said(said: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Database(f"postgresql+asyncpg://app@db-1/app?{said}")


def test_the_name_that_hosters_use_is_explained() -> None:
    with pytest.raises(ConfigurationError, match="put that in the place of 'postgres'"):
        Database("postgres://app:secret@db-1/app?sslmode=require")
