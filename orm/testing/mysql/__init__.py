"""Real clusters of MariaDB or MySQL for tests: a primary and replicas by GTID, and their troubles.

The servers' programs come from Debian's packages, unpacked into a folder of the user's::

    python -m orm.testing.mysql mariadb mysql

or from the folder that the environment variable ``ORM_MYSQL_PROGRAMS`` names. They need the extra
``mysql-testing`` and Linux.

pytest finds the fixtures ``mariadb_cluster`` and ``mysql_cluster`` by itself: a healthy cluster,
and an empty database on it, for one test. Without pytest, ``with Cluster("mariadb") as cluster``
takes a second or two, ``"mysql"`` five.

The methods of `Server` are its faults: ``pause``, ``resume``, ``freeze``, ``thaw``, ``partition``,
``heal``, ``kill``, ``stop``, ``start``, ``restart``, ``promote``, ``follow``, ``rejoin``,
``stop_writes``, ``await_replicas``. Each blocks, and returns when what it says is so; after half a
minute it raises. Servers listen on a free port of the loopback interface, ask for no password, and
end with the process that started them. Data are in memory where there is room.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orm._lazy import lazy

if TYPE_CHECKING:
    from orm.testing.mysql.cluster import Cluster
    from orm.testing.mysql.packages import Flavour
    from orm.testing.mysql.server import Server

__all__ = ["Cluster", "Flavour", "Server"]

# The programs are unpacked without the extra, which the servers need.
__getattr__: Callable[[str], Any] = lazy(
    __name__,
    {
        "Cluster": "orm.testing.mysql.cluster",
        "Flavour": "orm.testing.mysql.packages",
        "Server": "orm.testing.mysql.server",
    },
)
