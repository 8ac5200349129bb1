"""What PostgreSQL's revisions need beyond Alembic's operations."""

from orm.backends.postgresql.writing.alembic import concurrently, is_enough
from orm.backends.postgresql.writing.names import DIALECT
from orm.backends.postgresql.writing.plan import Plan

__all__ = ["DIALECT", "Plan", "concurrently", "is_enough"]
