"""Clusters for pytest's fixtures: one is lent to each test, and serves the next one, too."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from orm.testing import mysql, postgresql

__all__ = ["Clusters"]

C = TypeVar("C", "postgresql.Cluster", "mysql.Cluster")


class Clusters(Generic[C]):
    """Hands out one cluster after the other: the same one as long as it is sound.

    Args:
        new: makes a cluster of a primary and two replicas.
    """

    def __init__(self, new: Callable[[], C]) -> None:
        self._new: Callable[[], C] = new
        self._cluster: C | None = None
        self._number = 0
        self._stack = ExitStack()

    def take(self) -> C:
        """A cluster of a primary and two replicas that have caught up."""
        if self._cluster is None:
            self._cluster = self._stack.enter_context(self._new())
            self._number = len(self._cluster.servers)
        return self._cluster

    def give_back(self, cluster: C, database: str) -> None:
        """Undo what a test has done to it; what cannot be undone ends it."""
        first, *others = cluster.servers
        same_number = len(cluster.servers) == self._number
        same_roles = not first.upstream and all(server.upstream is first for server in others)
        with suppress(Exception):  # whatever it was that a test did, the next one is not to see it
            if same_number and same_roles:
                cluster.heal()
                cluster.drop_database(database)
                return
        self.end()

    @contextmanager
    def lent(self, template: str | None = None) -> Iterator[C]:
        """A cluster for the length of the block; `Server.url` is that of a new database.

        Args:
            template: a database to copy; otherwise the new one is empty.
        """
        cluster = self.take()
        name = cluster.create_database(template)
        usual = [server.database for server in cluster.servers]
        for server in cluster.servers:
            server.database = name
        try:
            yield cluster
        finally:
            for server, database in zip(cluster.servers, usual, strict=False):  # a test adds some
                server.database = database
            self.give_back(cluster, name)

    def end(self) -> None:
        """Leave nothing running."""
        self._cluster = None
        self._stack.close()
