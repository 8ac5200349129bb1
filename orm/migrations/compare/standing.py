"""Whether a database has the schema that revisions make: before they are recorded, and not run."""

from collections.abc import Mapping
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Connection

from orm.backends import Thing, migrations_for
from orm.exceptions import MigrationError
from orm.migrations.compare.configuration import by_its_own_names
from orm.migrations.compare.differences import drift
from orm.migrations.explain import cause_in_scratch, where
from orm.migrations.files.line import command_line
from orm.migrations.files.revisions import read_file
from orm.migrations.files.scripts import module_of
from orm.migrations.internals import keep_whole
from orm.migrations.ledger import table as ledger
from orm.migrations.revision import Revision

__all__ = ["made_alone", "refuse_unless_equal"]


def made_alone(
    checkpoint: Revision, url: URL, options: Mapping[str, Any], *, beside: bool = True
) -> Mapping[Thing, str]:
    """`orm.backends.Migrations.definitions` of an empty database in which a checkpoint ran.

    Alembic's environment is not run: this is for use within it.

    Args:
        checkpoint: a revision that needs no other one.
        url: of the database that is to be compared with it.
        options: for Alembic's context.
        beside: whether that database is on a server, as `orm.backends.Migrations.scratch` has it.

    Raises:
        MigrationError: it fails there, or the account may make no scratch database.
        ConfigurationError: a driver is missing.
    """
    file = read_file(checkpoint.path)  # what it does where it is not only recorded
    migrations = migrations_for(url)
    migrations.prepare_alembic()
    with migrations.scratch(url, beside=beside) as connection:
        migration = MigrationContext.configure(connection, opts=by_its_own_names(options))
        keep_whole(migration, migrations)
        try:
            with Operations.context(migration), migration.begin_transaction():
                module_of(file).upgrade()
        except Exception as error:
            raise MigrationError(
                f"{file.path} cannot be run in an empty {connection.dialect.name} database"
                f"{where(file.path, error)}: {cause_in_scratch(error, connection, migrations)}"
            ) from error
        return migrations.definitions(connection)


def refuse_unless_equal(
    made: Mapping[Thing, str], connection: Connection, revision: Revision
) -> None:
    """See that a database has the schema of a revision.

    Args:
        made: `orm.backends.Migrations.definitions` of that schema.
        connection: to the database.
        revision: which is to be recorded, and not run.

    Raises:
        MigrationError: names each difference.
    """
    migrations = migrations_for(connection.engine.url)
    ours = migrations.reserved_tables | {ledger.TABLE.name, ledger.VERSION.name}
    found = drift(made, migrations.definitions(connection), ours, by=revision.id)
    if found:
        anyway = command_line(f'baseline {revision.id} --anyway "they do not matter"')
        raise MigrationError(
            f"the database does not have the schema of {revision.name}, and nothing was recorded:\n"
            + "".join(f"  {one.message}\n" for one in found)
            + "Change the database, or the file if it is not applied anywhere yet, until they are "
            f"the same. If the differences do not matter: {anyway}"
        )
