"""What pending revisions would do, from their own operations; nothing is executed anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, MetaData
from sqlalchemy.exc import NoInspectionAvailable

from orm.backends import migrations_for
from orm.migrations.application import Application
from orm.migrations.compare.unread import Unread, unread
from orm.migrations.context import alembic_alone
from orm.migrations.explain import cause_of, loading, where
from orm.migrations.files import scripts
from orm.migrations.internals import GoesByAnswers, Recorded, reading
from orm.migrations.revision import Revision

__all__ = ["NOT_WRITTEN", "Read", "operations_of"]

NOT_WRITTEN: Final = "not written yet: "
"""How the error of a revision begins that is not finished (`orm.migrations.compare.refusing`)."""


@dataclass(frozen=True, slots=True)
class Read:
    """The operations of a revision.

    Attributes:
        revision: the revision.
        records: its operations, in their order, as far as they are known.
        unknown: why the rest of them is not; None if there is no rest.
        unread: what the rest may lose.
        is_unfinished: whether it fails before it does anything.
    """

    revision: Revision
    records: Sequence[Recorded]
    unknown: str | None = None
    unread: Unread = field(default_factory=Unread)
    is_unfinished: bool = False


def operations_of(application: Application, files: Sequence[Revision], url: URL) -> list[Read]:
    """Call the functions of revisions with an `op` that takes notes.

    Args:
        application: whose revisions.
        files: the revisions, in their order.
        url: of a database of the engine that they would be applied to; nothing connects to it.

    Raises:
        MigrationError: a revision cannot be loaded.
    """
    found: list[Read] = []
    migrations = migrations_for(url)
    migrations.prepare_alembic()
    options = {"as_sql": True, "target_metadata": MetaData()}
    with alembic_alone(application):
        for file in files:
            migration = MigrationContext.configure(dialect=url.get_dialect()(), opts=options)
            records: list[Recorded] = []
            unknown, rest, is_unfinished = None, Unread(), False
            with reading(migration, records):
                with loading([file.path]):
                    module = scripts.module_of(file)
                try:
                    module.upgrade()
                except (GoesByAnswers, NoInspectionAvailable) as error:
                    asks = f"it asks the database{where(file.path, error)}"
                    unknown = f"{asks}, and goes by the answers"
                    rest = unread(file.path, module, records, migrations.lexer)
                except Exception as error:  # noqa: BLE001 - of code that got no answers
                    is_unfinished = str(error).startswith(NOT_WRITTEN)
                    unknown = f"{cause_of(error)}{where(file.path, error)}"
                    rest = unread(file.path, module, records, migrations.lexer)
            found.append(Read(file, records, unknown, rest, is_unfinished))
    return found
