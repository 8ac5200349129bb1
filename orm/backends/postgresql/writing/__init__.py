"""What PostgreSQL's revisions need beyond Alembic's operations."""

from orm.backends.postgresql.writing.alembic import is_enough
from orm.backends.postgresql.writing.plan import Plan

__all__ = ["Plan", "is_enough"]
