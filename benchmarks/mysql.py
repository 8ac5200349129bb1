"""What routed sessions cost on MariaDB and MySQL, beside plain ones on the same servers."""

from functools import partial
from pathlib import Path

from benchmarks.postgresql import HEADING, Case, insert_and_read, measure_on
from benchmarks.rounds import Comparison
from benchmarks.sessions import insert_one, select_one, select_ten
from orm.testing.mysql import Cluster, Flavour

__all__ = ["CASES", "HEADING", "measure"]


def _cases(flavour: Flavour, driver: str) -> list[Case]:
    name = f"{flavour}+{driver}"
    read = partial(Case, driver=driver, on="replica")
    write = partial(Case, driver=driver, on="primary")
    return [
        read(f"{name}: by key", operation=select_one, aim=1.05),
        read(f"{name}: ten", operation=select_ten, aim=1.05, pairs=5),
        write(f"{name}: insert", operation=insert_one, aim=1.06),
        write(f"{name}: read back", operation=insert_and_read, aim=None),
    ]


CASES = [
    *(*_cases("mariadb", "asyncmy"), *_cases("mariadb", "aiomysql")),
    *(*_cases("mysql", "asyncmy"), *_cases("mysql", "aiomysql")),
]


async def measure(case: Case, folder: Path, *, quick: bool) -> Comparison:
    """Compare a routed session with a plain one, on a primary with one replica.

    Args:
        case: what.
        folder: not used: the cluster has one of its own.
        quick: fewer rounds.
    """
    flavour: Flavour = "mariadb" if case.name.startswith("mariadb") else "mysql"
    with Cluster(flavour, standbys=1) as cluster, cluster.database() as name:
        for server in cluster.servers:
            server.database = name
        return await measure_on(cluster, case, quick=quick)
