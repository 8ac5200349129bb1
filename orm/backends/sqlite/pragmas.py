"""PRAGMAs and the like, sent past SQLAlchemy: it would begin a transaction for them."""

from typing import Any

from sqlalchemy import Connection

__all__ = ["do", "driver_of", "says"]


def driver_of(connection: Connection) -> Any:
    """The driver's connection: using it begins no transaction."""
    return connection.connection.dbapi_connection


def says(connection: Connection, pragma: str) -> bool:
    """Whether a setting is on."""
    cursor = driver_of(connection).cursor()
    try:
        cursor.execute(pragma)
        return bool(cursor.fetchone()[0])
    finally:
        cursor.close()


def do(connection: Connection, sql: str) -> None:
    """Run a statement that returns nothing."""
    cursor = driver_of(connection).cursor()
    try:
        cursor.execute(sql)
    finally:
        cursor.close()
