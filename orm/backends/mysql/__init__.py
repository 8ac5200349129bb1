"""MariaDB and MySQL, with replicas by GTID, through asyncmy or aiomysql."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orm._lazy import lazy

if TYPE_CHECKING:
    from orm.backends.mysql.backend import MySQLBackend

__all__ = ["MySQLBackend"]

__getattr__: Callable[[str], Any] = lazy(__name__, {"MySQLBackend": "orm.backends.mysql.backend"})
