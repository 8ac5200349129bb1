"""Queries to a server, through SQLAlchemy or, while a connection is being made, below it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError

__all__ = ["Asks", "OnDriver", "OnSQLAlchemy"]


class Asks(Protocol):
    """A connection that is asked."""

    @property
    def errors(self) -> type[Exception]:
        """What a query raises that fails."""
        ...

    def rows(self, query: str) -> Sequence[Mapping[str, Any]]:
        """The rows of a query, by the names of columns."""
        ...

    def scalar(self, query: str) -> Any:
        """The first value of the first row; None without a row."""
        ...


class OnSQLAlchemy:
    """A connection of SQLAlchemy's."""

    errors: type[Exception] = DBAPIError

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, query: str) -> Sequence[Mapping[str, Any]]:
        return [dict(row) for row in self._connection.exec_driver_sql(query).mappings()]

    def scalar(self, query: str) -> Any:
        return self._connection.exec_driver_sql(query).scalar()


class OnDriver:
    """A connection of the driver's, which SQLAlchemy's pool is about to take in."""

    def __init__(self, connection: DBAPIConnection) -> None:
        self._connection: Any = connection

    @property
    def errors(self) -> type[Exception]:
        # SQLAlchemy's adapter of an asynchronous driver has them beside it.
        errors: type[Exception] = getattr(self._connection, "dbapi", self._connection).Error
        return errors

    def rows(self, query: str) -> Sequence[Mapping[str, Any]]:
        cursor = self._connection.cursor()
        try:
            cursor.execute(query)
            if cursor.description is None:
                return []
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            cursor.close()

    def scalar(self, query: str) -> Any:
        for row in self.rows(query):
            return next(iter(row.values()))
        return None
