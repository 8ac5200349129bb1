"""Operations of a revision that engines add to those of Alembic, and how a file says them."""

from collections.abc import Iterable, Iterator, Sequence

from alembic.autogenerate import render_python_code, renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import (
    AlterColumnOp,
    CreateTableOp,
    MigrateOperation,
    ModifyTableOps,
    UpgradeOps,
)
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, Dialect, Table

__all__ = ["ForEngine", "checks_of", "creation_of", "in_a_batch", "rendered"]


class ForEngine(MigrateOperation):
    """Operations that run on one engine only, or on all but one.

    Args:
        dialect: SQLAlchemy's name of the engine.
        operations: the operations.
        others: whether they run on all other engines instead.
    """

    def __init__(
        self, dialect: str, operations: Sequence[MigrateOperation], *, others: bool = False
    ) -> None:
        self.dialect = dialect
        self.operations = operations
        self.others = others


def rendered(context: AutogenContext, operation: MigrateOperation) -> list[str]:
    """The lines of a revision that say an operation."""
    lines = renderers.dispatch(operation)(context, operation)
    return [lines] if isinstance(lines, str) else list(lines)


def in_a_batch(operation: AlterColumnOp, dialect: Dialect) -> str:
    """The line of a revision that alters a column as every engine can.

    Args:
        operation: the change.
        dialect: of the engine whose words its default is said in.
    """
    name, schema = operation.table_name, operation.schema
    code = render_python_code(
        UpgradeOps([ModifyTableOps(name, [operation], schema=schema)]),
        render_as_batch=True,
        migration_context=MigrationContext.configure(dialect=dialect),
        user_module_prefix="",  # of a type that the file itself defines
    )
    lines = (line.strip() for line in code.splitlines())
    first, *rest = (line for line in lines if line and not line.startswith("#"))
    return " ".join([first.replace(", schema=None", ""), *rest])


@renderers.dispatch_for(ForEngine)
def _render(context: AutogenContext, operation: ForEngine) -> list[str]:
    sign = "!=" if operation.others else "=="
    inner = [line for one in operation.operations for line in rendered(context, one)]
    return [f'if op.get_context().dialect.name {sign} "{operation.dialect}":', *inner, ""]


def creation_of(table: Table) -> CreateTableOp:
    """The operation that makes a table, with the CHECKs of its columns, which Alembic forgets."""
    creation = CreateTableOp.from_table(table)
    checks = [CheckConstraint(check.sqltext, name=check.name) for check in _of_columns(table)]
    creation.columns = [*creation.columns, *checks]
    return creation


def checks_of(table: Table) -> list[CheckConstraint]:
    """Those of the table and of its columns, but for those that a type makes."""
    return [*_own_checks(table.constraints), *_of_columns(table)]


def _own_checks(constraints: Iterable[object]) -> Iterator[CheckConstraint]:
    """The CHECKs among constraints, but for those that a type makes."""
    for constraint in constraints:
        # By the name of the attribute by which Alembic knows it too; there is no public one.
        if isinstance(constraint, CheckConstraint) and not getattr(
            constraint, "_type_bound", False
        ):
            yield constraint


def _of_columns(table: Table) -> Iterator[CheckConstraint]:
    for column in table.columns:
        yield from _own_checks(column.constraints)
