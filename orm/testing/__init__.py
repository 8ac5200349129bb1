"""For tests of applications: replicas whose lag one can set, pause and resume.

Clusters are in `orm.testing.postgresql` and `orm.testing.mysql`, fixtures for pytest in
`orm.testing.plugin`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orm._lazy import lazy

if TYPE_CHECKING:
    from orm.testing.control import (
        Follower,
        ReplicaControl,
        caught_up,
        followers,
        paused,
        replicas,
    )
    from orm.testing.migrated import Servers
    from orm.testing.reads import reads_from

__all__ = [
    "Follower",
    "ReplicaControl",
    "Servers",
    "caught_up",
    "followers",
    "paused",
    "reads_from",
    "replicas",
]

# pytest imports the plugin in this package also where no test asks for any of these.
__getattr__: Callable[[str], Any] = lazy(
    __name__,
    dict.fromkeys(__all__, "orm.testing.control")
    | {"Servers": "orm.testing.migrated", "reads_from": "orm.testing.reads"},
)
