"""A pool of asyncpg's connections."""

from asyncpg import InterfaceError, InternalClientError, PostgresError
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import PoolProxiedConnection

from orm.backends.pool import FairPool

__all__ = ["AsyncpgPool"]


class AsyncpgPool(FairPool):
    """Its errors are SQLAlchemy's, also where a connection is lost while it is being set up.

    SQLAlchemy's dialect sets up codecs on the driver's own connection, and translates nothing there
    (`PGDialect_asyncpg.on_connect`).
    """

    def connect(self) -> PoolProxiedConnection:
        """Take a connection.

        Raises:
            sqlalchemy.exc.OperationalError: the server refused it, or it was lost.
            sqlalchemy.exc.TimeoutError: all are in use.
        """
        try:
            return super().connect()
        except (InterfaceError, InternalClientError, PostgresError) as error:
            raise OperationalError("(connecting)", None, error) from error
