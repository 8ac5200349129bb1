"""Times without a time zone become times with one: in which zone they are is said, not guessed.

PostgreSQL would take them for times in the zone of the connection that applies the revision, which
is another one on a laptop than on a server.
"""

from collections.abc import Iterable

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import AlterColumnOp, MigrateOperation, ModifyTableOps
from sqlalchemy import DateTime

__all__ = ["spell_out_zones"]


class _WithZone(AlterColumnOp):
    """An alteration that says of which time zone the old values are."""


@renderers.dispatch_for(_WithZone)
def _render(context: AutogenContext, operation: _WithZone) -> str:
    text: str = renderers.dispatch(AlterColumnOp)(context, operation)
    using = operation.kw["postgresql_using"]
    return f"{text.removesuffix(')')},\n               postgresql_using={using!r})"


def spell_out_zones(operations: Iterable[MigrateOperation]) -> list[MigrateOperation]:
    """The operations; those that give a column a time zone say that its values are of UTC."""
    return [_spelt_out(operation) for operation in operations]


def _spelt_out(operation: MigrateOperation) -> MigrateOperation:
    match operation:
        case ModifyTableOps():
            operation.ops = spell_out_zones(operation.ops)
        case AlterColumnOp(
            existing_type=DateTime(timezone=False), modify_type=DateTime(timezone=True)
        ):
            return _WithZone(
                operation.table_name,
                operation.column_name,
                schema=operation.schema,
                existing_type=operation.existing_type,
                existing_server_default=operation.existing_server_default,
                existing_nullable=operation.existing_nullable,
                existing_comment=operation.existing_comment,
                modify_type=operation.modify_type,
                modify_server_default=operation.modify_server_default,
                modify_nullable=operation.modify_nullable,
                modify_comment=operation.modify_comment,
                postgresql_using=f"{_quoted(operation.column_name)} AT TIME ZONE 'UTC'",
            )
        case _:
            pass
    return operation


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
