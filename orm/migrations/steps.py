"""What happens before the first revision of a run, with the database locked and not yet touched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from orm.backends import Backend
from orm.migrations.revisions import Revision

__all__ = ["BEFORE_FIRST", "Plan", "Step"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is about to be applied.

    Attributes:
        connection: the migration's, in no transaction (but for one of the caller's).
        backend: of the database.
        revisions: in their order; at least one.
    """

    connection: Connection
    backend: Backend
    revisions: Sequence[Revision]


Step = Callable[[Plan], None]
"""Raises an `OrmError` if the plan must not be carried out; nothing has been changed by then."""

BEFORE_FIRST: tuple[Step, ...] = ()
