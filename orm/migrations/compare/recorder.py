"""What revisions do, as Alembic's own operations: they are run, not read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from alembic.operations import BatchOperations, MigrateOperation, Operations
from alembic.runtime.migration import MigrationContext

__all__ = ["Recorded", "recording"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One operation of a revision.

    Attributes:
        operation: as Alembic describes it; those within a batch name their table too.
        batch: whether it was given inside ``batch_alter_table``.
    """

    operation: MigrateOperation
    batch: bool


@contextmanager
def recording(migration: MigrationContext, records: list[Recorded]) -> Iterator[None]:
    """Give revisions their ``op``, and add to `records` whatever they do with it."""
    with Operations.context(migration) as operations:
        invoke, batch_alter_table = operations.invoke, operations.batch_alter_table

        def record(operation: MigrateOperation) -> Any:
            records.append(Recorded(operation, batch=False))
            return invoke(operation)

        @contextmanager
        def record_batch(*args: Any, **options: Any) -> Iterator[BatchOperations]:
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
