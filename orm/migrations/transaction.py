"""One revision, one transaction: the same rules when it is applied and when it is replayed."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NoReturn

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, event

from orm.backends import Migrations
from orm.exceptions import MigrationError
from orm.migrations.explain import TransactionEnded
from orm.migrations.internals import around_autocommit, forget_types

__all__ = ["one_transaction"]

_ENDS: Final = re.compile(
    r"(?:\s|;|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
    r"(COMMIT|END|ABORT|PREPARE\s+TRANSACTION|ROLLBACK(?!\s+(?:(?:WORK|TRANSACTION)\s+)?TO\b))\b",
    re.IGNORECASE | re.DOTALL,
)
_WHY: Final = (
    "A revision is one transaction, which is committed with its row in the ledger. Leave it out. "
    "What cannot run in a transaction goes into: with op.get_context().autocommit_block()"
)


@contextmanager
def one_transaction(
    migration: MigrationContext, connection: Connection, migrations: Migrations
) -> Iterator[None]:
    """Run a revision in the transaction that is open now, and see that it is still open at the end.

    Its ``autocommit_block`` may leave the transaction, and begins another one.

    Args:
        migration: Alembic's context.
        connection: its connection, in a transaction.
        migrations: of the engine.

    Raises:
        MigrationError: the revision asks for the end of its transaction; it is not ended.
        TransactionEnded: it has ended it in a way that only the engine notices.
    """
    guard = _Guard(connection, migrations)
    forget_types(migration)  # what one revision has made, the next one may have dropped
    with around_autocommit(migration, guard.set_aside), guard:
        yield
        guard.check()


class _Guard(AbstractContextManager["_Guard"]):
    """Listens to what a revision says to its connection."""

    def __init__(self, connection: Connection, migrations: Migrations) -> None:
        self._connection = connection
        self._migrations = migrations

    def __enter__(self) -> "_Guard":
        if self._migrations.journal is None:
            self._is_the_same = self._migrations.watch_transaction(self._connection)
        else:  # DDL ends it, and so may the revision: the journal is committed with what it did
            self._is_the_same = lambda: True
        self._listen()
        return self

    def _listen(self) -> None:
        event.listen(self._connection, "before_cursor_execute", self._before)
        event.listen(self._connection, "commit", self._ended)
        event.listen(self._connection, "rollback", self._ended)

    def __exit__(self, *_: object) -> None:
        event.remove(self._connection, "before_cursor_execute", self._before)
        event.remove(self._connection, "commit", self._ended)
        event.remove(self._connection, "rollback", self._ended)

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """For the length of an ``autocommit_block``, and with a new transaction after it."""
        self.check()
        self.__exit__()
        try:
            yield
        except BaseException:
            # Nothing is asked now: the engine is about to be asked what the statement waited for.
            self._is_the_same = lambda: True
            self._listen()
            raise
        self.__enter__()

    def check(self) -> None:
        """See that the transaction is the one that was begun."""
        if not self._is_the_same():
            raise TransactionEnded(f"it has ended its own transaction. {_WHY}")

    def _before(self, _c: object, _cursor: object, sql: str, *_: object) -> None:
        if found := _ENDS.match(sql):
            raise MigrationError(f"it would end its own transaction ({found[1].upper()}). {_WHY}")

    def _ended(self, connection: Connection) -> NoReturn:
        """Before SQLAlchemy sends COMMIT or ROLLBACK for the revision's own code."""
        # After an error here SQLAlchemy takes the transaction for closed, and would send no
        # ROLLBACK any more.
        driver: Any = connection.connection
        connection.dialect.do_rollback(driver)
        raise MigrationError(
            f"it would end its own transaction (commit() or rollback() of its connection). {_WHY}"
        )
