"""What servers are called whose names the user has not chosen."""

import pytest

from orm import Database, Replica
from orm.exceptions import ConfigurationError


def names(primary: str | Replica, *replicas: str | Replica) -> list[str]:
    cluster = Database(primary, replicas=replicas).cluster
    return [server.name for server in (cluster.primary, *cluster.replicas)]


def test_a_server_is_called_by_its_host() -> None:
    url = "postgresql+asyncpg://app:secret@{}/app"
    assert names(url.format("db-1"), url.format("db-2"), url.format("db-3:5433")) == [
        "db-1", "db-2", "db-3:5433",
    ]  # fmt: skip
    assert names(url.format("[::1]:5432"), url.format("[::1]")) == ["[::1]:5432", "[::1]"]


def test_servers_at_one_address_have_different_names() -> None:
    pooler = "postgresql+asyncpg://pooler:6432"
    assert names(f"{pooler}/app", f"{pooler}/standbys", f"{pooler}/standbys") == [
        "pooler:6432", "pooler:6432/standbys", "pooler:6432/standbys (2)",
    ]  # fmt: skip


def test_a_file_is_called_by_its_role() -> None:
    files = [f"sqlite+aiosqlite:///{number}.db" for number in range(3)]
    assert names(*files) == ["primary", "replica-1", "replica-2"]


def test_the_user_s_names_come_first() -> None:
    url = "postgresql+asyncpg://db/app"
    assert names(Replica(url, name="a"), Replica(url, name="b"), url) == ["a", "b", "db"]
    with pytest.raises(ConfigurationError, match="two servers are named 'a'"):
        names(Replica(url, name="a"), Replica(url, name="a"))
