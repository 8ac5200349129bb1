"""The suite for backends, on the two that are here."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from orm import Database
from orm.testing.conformance import BackendConformance
from orm.testing.postgresql import Cluster
from tests.conftest import MYSQL, PATIENT, MySQL


class Ours(BackendConformance):
    def test_a_reader_in_autocommit_has_nothing_to_undo(self, database: Database) -> None:
        async def check() -> None:
            async with database as db:
                for server in (db.cluster.primary, *db.cluster.replicas):
                    async with server.engine.connect() as connection:
                        await connection.execute(text("SELECT 1"))
                        assert await connection.run_sync(db.cluster.backend.is_idle)

        asyncio.run(check())


class TestSQLite(Ours):
    one_writer = True

    @pytest.fixture
    def database(self, tmp_path: Path) -> Database:
        return Database(f"sqlite+aiosqlite:///{tmp_path}/app.db", replicas=1)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
class TestPostgreSQL(Ours):
    @pytest.fixture
    def database(self, postgresql_cluster: Cluster, driver) -> Database:
        primary, *standbys = postgresql_cluster.servers
        replicas = [server.url(driver) for server in standbys]
        return Database(primary.url(driver), replicas=replicas, **PATIENT)


@pytest.mark.parametrize("servers", MYSQL, indirect=True)
class TestMySQL(Ours):
    @pytest.fixture
    def database(self, servers: MySQL) -> Database:
        return servers.database()
