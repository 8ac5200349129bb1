"""A database that is dropped while a replica still applies what was done in it."""

from contextlib import closing

import pymysql
import pytest

from orm.testing.mysql import Cluster

_APPLIES = "SELECT 1 FROM information_schema.processlist WHERE state LIKE 'Waiting for table%'"


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_the_replica_goes_on(request: pytest.FixtureRequest, flavour: str) -> None:
    cluster: Cluster = request.getfixturevalue(f"shared_{flavour}")
    replica = cluster.standbys[0]
    name = cluster.create_database()
    cluster.primary.sql("CREATE TABLE t (id INT)", database=name)
    cluster.caught_up()
    socket = str(replica.folder / "socket")
    with closing(pymysql.connect(unix_socket=socket, user="root", database=name)) as reader:
        reader.cursor().execute("LOCK TABLES t READ")
        cluster.primary.sql("ALTER TABLE t ADD COLUMN n INT", database=name)
        replica.wait(lambda: bool(replica.sql(_APPLIES, database="")), "does not apply it")
        cluster.drop_database(name)
    cluster.caught_up()
