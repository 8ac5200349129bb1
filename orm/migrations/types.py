"""A column's type in the database's own words, for revisions."""

from typing import Any

from sqlalchemy.types import UserDefinedType

__all__ = ["DatabaseType"]


class DatabaseType(UserDefinedType[Any]):
    """A type that SQLAlchemy has no word for, such as ``DatabaseType("geometry(POINT, 4326)")``.

    Revisions name it where the models have such a type of their own, or of another package, which
    may be gone when the revision runs.

    Args:
        sql: what stands after the column's name in ``CREATE TABLE``.
    """

    cache_ok = True

    def __init__(self, sql: str) -> None:
        self.sql = sql

    def get_col_spec(self, **_: Any) -> str:
        """The words for SQLAlchemy's compiler."""
        return self.sql
