"""What Alembic 1.20 has no public way for; all that this library takes from inside of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from alembic.operations import BatchOperations, MigrateOperation, Operations
from alembic.operations.ops import CreateTableOp
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column

from orm.backends import Migrations

__all__ = ["Recorded", "command_name", "compare_defaults", "keep_whole", "recording"]


def command_name(migration: MigrationContext) -> str:
    """The Alembic command that a context was configured for, such as ``upgrade``.

    Alembic does not tell ``env.py`` which command runs (``config.cmd_opts.cmd`` does, but for a
    terminal only). It hands the context a function that is local to the command: its qualified
    name is ``upgrade.<locals>.upgrade``, for instance.
    """
    return str(getattr(migration.opts.get("fn"), "__qualname__", "")).partition(".")[0]


def keep_whole(migration: MigrationContext, migrations: Migrations) -> None:
    """Make a revision's ``autocommit_block`` stay in the transaction, where the engine allows it.

    Otherwise it would commit what comes before it, and a revision that fails after that would stay
    half done. Alembic has no option for it.
    """
    if migrations.all_ddl_is_transactional:
        migration.autocommit_block = nullcontext  # type: ignore[method-assign, assignment]


def compare_defaults(
    migration: MigrationContext, differ: Callable[[Column[Any]], bool] | None
) -> None:
    """Have autogenerate ask `differ` whether the default of a column of the models differs.

    The option ``compare_server_default`` takes a function too, and fails on identity and generated
    columns then.
    """
    if differ is not None:
        ask = differ
        migration.impl.compare_server_default = (  # type: ignore[method-assign]
            lambda _, column, *__: ask(column)
        )


@dataclass(frozen=True, slots=True)
class Recorded:
    """One operation of a revision.

    Attributes:
        operation: as Alembic describes it; those within a batch name their table too. A batch that
            says what the table is (``copy_from``) begins with its creation.
        batch: whether it was given inside ``batch_alter_table``.
    """

    operation: MigrateOperation
    batch: bool


@contextmanager
def recording(migration: MigrationContext, records: list[Recorded]) -> Iterator[None]:
    """Give revisions their ``op``, and add to `records` all operations that they call.

    Alembic lets a program register new operations, and not observe those that there are; a
    subclass of `Operations` would not be what ``from alembic import op`` gives to a revision.
    """
    with Operations.context(migration) as operations:
        invoke, batch_alter_table = operations.invoke, operations.batch_alter_table

        def record(operation: MigrateOperation) -> Any:
            records.append(Recorded(operation, batch=False))
            return invoke(operation)

        @contextmanager
        def record_batch(*args: Any, **options: Any) -> Iterator[BatchOperations]:
            if (table := options.get("copy_from")) is not None:
                records.append(Recorded(CreateTableOp.from_table(table), batch=True))
            with batch_alter_table(*args, **options) as batch:
                yield _Batch(batch.migration_context, batch.impl, records)

        # What a revision calls looks these up on the instance.
        operations.invoke = record  # type: ignore[method-assign]
        operations.batch_alter_table = record_batch  # type: ignore[method-assign]
        yield


class _Batch(BatchOperations):
    def __init__(self, migration: MigrationContext, impl: Any, records: list[Recorded]) -> None:
        super().__init__(migration, impl)
        self._records = records

    def invoke(self, operation: MigrateOperation) -> Any:
        self._records.append(Recorded(operation, batch=True))
        return super().invoke(operation)
