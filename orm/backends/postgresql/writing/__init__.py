"""What PostgreSQL's revisions need beyond Alembic's operations."""

from orm.backends.postgresql.writing.alembic import concurrently, is_enough
from orm.backends.postgresql.writing.following import Following
from orm.backends.postgresql.writing.names import DIALECT
from orm.backends.postgresql.writing.plan import Plan
from orm.backends.postgresql.writing.statements import joined

__all__ = ["DIALECT", "Following", "Plan", "concurrently", "is_enough", "joined"]
