"""Fixtures for pytest, which finds them by itself where this library is installed.

Nothing is imported and nothing starts before a test asks for one: see `orm.testing.postgresql`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from orm.testing.postgresql import Cluster


class Clusters:
    """Hands out one cluster after the other: the same one as long as it is sound."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._stack = ExitStack()

    def take(self) -> Cluster:
        """A cluster of a primary and two standbys that have caught up."""
        from orm.testing.postgresql import Cluster

        if self._cluster is None:
            self._cluster = self._stack.enter_context(Cluster())
        return self._cluster

    def give_back(self, cluster: Cluster, database: str) -> None:
        """Undo what a test has done to it; what cannot be undone ends it."""
        first = cluster.servers[0]
        if [server.upstream for server in cluster.servers] != [None, first, first]:
            self.end()  # other roles, or another number
            return
        try:
            cluster.heal()
            cluster.drop_database(database)
        except RuntimeError:  # whatever it was that a test did, the next one is not to see it
            self.end()

    def end(self) -> None:
        """Leave nothing running."""
        self._cluster = None
        self._stack.close()


@pytest.fixture(scope="session")
def postgresql_clusters() -> Iterator[Clusters]:
    """Where `postgresql_cluster` comes from."""
    clusters = Clusters()
    yield clusters
    clusters.end()


@pytest.fixture
def postgresql_cluster(postgresql_clusters: Clusters) -> Iterator[Cluster]:
    """A healthy primary with two standbys, and an empty database on them, for one test.

    `Server.url` is that of the empty database. Whatever a test does to the servers is undone after
    it; where that cannot be, after a promotion, say, the next test gets a new cluster.
    """
    cluster = postgresql_clusters.take()
    name = cluster.create_database()
    for server in cluster.servers:
        server.database = name
    yield cluster
    for server in cluster.servers:
        server.database = "postgres"
    postgresql_clusters.give_back(cluster, name)
