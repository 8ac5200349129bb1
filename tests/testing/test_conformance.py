"""The suite for backends, on the two that are here."""

from pathlib import Path

import pytest

from orm import Database
from orm.testing.conformance import BackendConformance
from orm.testing.postgresql import Cluster


class TestSQLite(BackendConformance):
    one_writer = True

    @pytest.fixture
    def database(self, tmp_path: Path) -> Database:
        return Database(f"sqlite+aiosqlite:///{tmp_path}/app.db", replicas=1)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
class TestPostgreSQL(BackendConformance):
    @pytest.fixture
    def database(self, postgresql_cluster: Cluster, driver) -> Database:
        primary, *standbys = postgresql_cluster.servers
        return Database(primary.url(driver), replicas=[server.url(driver) for server in standbys])
