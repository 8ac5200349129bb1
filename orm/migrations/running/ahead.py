"""Rows that will make a revision stop half way, found before its first statement is executed."""

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from orm.backends import Migrations
from orm.backends.tokens import statements
from orm.exceptions import MigrationError
from orm.migrations.files.scripts import module_of
from orm.migrations.internals import without_answers
from orm.migrations.revision import Revision

__all__ = ["refuse_to_stop_half_way"]


_OF_SCHEMAS: Final = ("ALTER", "CREATE", "DROP", "RENAME")


def refuse_to_stop_half_way(
    connection: Connection, files: Sequence[Revision], migrations: Migrations
) -> None:
    """Refuse revisions of which rows will make a later statement fail, after others have committed.

    The revisions are written as a script, up to where one of them may change rows, or asks the
    database.

    Args:
        connection: to the database. It is rolled back.
        files: the revisions that are about to be applied, in their order.
        migrations: of the engine.

    Raises:
        MigrationError: says which rows, and what to do with them.
    """
    said = migrations.rows_ahead(connection, _statements(connection, files, migrations))
    if said is not None:
        raise MigrationError(
            f"what is pending would stop half way. {said}. Update or delete such rows in the same "
            "revision, before its first statement. Nothing was changed"
        )


def _statements(
    connection: Connection, files: Sequence[Revision], migrations: Migrations
) -> Iterator[str]:
    for file in files:
        out = _UpToRows()
        opts = {"as_sql": True, "literal_binds": True, "output_buffer": out}
        context = MigrationContext.configure(
            dialect=connection.dialect, opts=opts | {"target_metadata": MetaData()}
        )
        without_answers(context)
        is_whole = False
        with Operations.context(context), suppress(Exception):  # it is told when it is applied
            module_of(file).upgrade()
            is_whole = True
        text = out.getvalue()
        for tokens in statements(migrations.lexer(text)):
            if tokens:
                yield text[tokens[0].start : tokens[-1].end]
        if not is_whole:
            return


class _UpToRows(io.StringIO):
    """A script that ends at the first statement that may change rows: there may be a million."""

    def write(self, text: str, /) -> int:
        if text.strip() and not text.lstrip().upper().startswith(_OF_SCHEMAS):
            raise MigrationError("rows may change here")
        return super().write(text)
