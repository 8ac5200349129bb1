"""How Alembic is configured here: what it compares, how it numbers revisions, what they remark."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from textwrap import fill
from typing import Any, Final

from alembic.autogenerate import RevisionContext
from alembic.operations.ops import (
    AddColumnOp,
    AddConstraintOp,
    CreateForeignKeyOp,
    CreateIndexOp,
    CreateTableOp,
    CreateUniqueConstraintOp,
    MigrateOperation,
    MigrationScript,
    ModifyTableOps,
)
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Column, Identity, MetaData, column

from orm.backends import migrations_for
from orm.backends.operations import ForEngine
from orm.backends.tokens import Lexer
from orm.migrations.compare.effects import (
    Catalog,
    Effect,
    Kind,
    Tables,
    catalog_of,
    effects_of,
    schemas_of,
)
from orm.migrations.compare.operations import flat, table_of
from orm.migrations.compare.ordering import ordered
from orm.migrations.compare.rendering import Rendering
from orm.migrations.files.numbers import next_number
from orm.migrations.internals import Recorded, command_name
from orm.migrations.ledger import table as ledger

__all__ = ["by_its_own_names", "options_of", "remark"]

_REFUSED: Final = {
    "rev_id": "--rev-id",
    "splice": "--splice",
    "branch_label": "--branch-label",
    "depends_on": "--depends-on",
}
_REMARKED: Final[frozenset[Kind]] = frozenset(
    {
        "drop_table",
        "drop_column",
        "type",
        "not_null",
        "rename",
        "required_column",
        "changing_default",
        "constraint",
    }
)
"""Whether another kind of effect matters depends on the number of rows, which a review counts."""


def options_of(
    metadata: MetaData,
    reserved: frozenset[str],
    engines: Iterable[str] = (),
    types: frozenset[str] = frozenset(),
    schemas: frozenset[str] = frozenset(),
    named_by: MetaData | None = None,
) -> dict[str, Any]:
    """What a context of Alembic is configured with, besides its connection.

    Args:
        metadata: the models.
        reserved: the names of tables that are not the application's
            (`orm.backends.Migrations.reserved_tables`).
        engines: those that new revisions have to suit.
        types: the names of types that new revisions must not make again.
        schemas: those whose tables the models are compared with, besides their own and the default
            one.
        named_by: whose naming convention names the CHECKs that types make; None for the models.
    """
    named = {table.schema for table in metadata.tables.values()}
    return {
        "target_metadata": metadata,
        "include_schemas": True,
        "include_name": _include(schemas | named, reserved | {ledger.TABLE.name}),
        "include_object": _can_be_compared,
        "compare_server_default": True,
        "process_revision_directives": _number,
        "render_item": Rendering(named_by or metadata, list(engines), types),
        # One revision file serves every backend, so its operations are always written in the form
        # that SQLite needs; elsewhere it comes to the same ALTER statements.
        "render_as_batch": True,
        "transactional_ddl": True,
        "transaction_per_migration": True,
    }


def by_its_own_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options for running revisions: what has no name in a revision has none in the database.

    Alembic would name it by the convention that the models have today, and not by the one that they
    had when the revision was written.
    """
    return {**options, "target_metadata": MetaData()}


def _include(
    schemas: Set[str | None], reserved: Set[str]
) -> Callable[[str | None, str, Mapping[str, object]], bool]:
    def include_name(name: str | None, kind: str, _: Mapping[str, object]) -> bool:
        if kind == "schema":
            return name is None or name in schemas
        return not (kind == "table" and name in reserved)

    return include_name


def _can_be_compared(
    item: object, _name: str | None, _kind: str, _reflected: bool, other: object
) -> bool:
    """Whether Alembic can compare two columns: an identity with another default it cannot."""
    if not isinstance(item, Column) or not isinstance(other, Column):
        return True
    defaults = [one.server_default for one in (item, other) if one.server_default is not None]
    identities = sum(isinstance(default, Identity) for default in defaults)
    return identities in (0, len(defaults))


# Numbers -----------------------------------------------------------------------------------


def _number(migration: MigrationContext, _: object, scripts: list[MigrationScript]) -> None:
    """Give new revisions their numbers; make none if autogenerate found nothing to do.

    A ``process_revision_directives`` hook of Alembic, which needs ``revision_environment`` to be
    called for ``alembic revision`` without ``--autogenerate`` too.

    Raises:
        CommandError: an option asks for something else than the next number in line.
    """
    if command_name(migration) == "check":  # compares only, and wants its directives back
        return
    request: RevisionContext = migration.opts["revision_context"]
    arguments = request.command_args
    refused = [option for name, option in _REFUSED.items() if arguments[name]]
    if arguments["head"] not in (None, "head"):
        refused.append("--head")
    if refused:
        raise CommandError(
            f"revisions are numbered and follow each other in one line: leave out "
            f"{', '.join(refused)}"
        )
    for script in scripts:
        for upgrade in script.upgrade_ops_list:
            if arguments["autogenerate"]:  # else `create` has ordered them
                upgrade.ops = ordered(upgrade.ops, migration.opts["target_metadata"])
            for operation in upgrade.ops:
                if isinstance(operation, CreateTableOp):
                    operation.info = {}  # for the application, which may put anything into it
            for index in _indexes(upgrade.ops):
                # It runs in the revision's transaction, where PostgreSQL refuses CONCURRENTLY.
                index.kw.pop("postgresql_concurrently", None)
                for option, value in index.kw.items():
                    if isinstance(value, Column):  # a condition; Alembic writes a name as a string
                        index.kw[option] = column(value.name, value.type)
    if arguments["autogenerate"] and all(_is_empty(script) for script in scripts):
        scripts.clear()
        request.config.print_stdout("The database matches the models: no revision was written.")
    if "remarks" not in request.template_args and migration.connection is not None:
        for script in scripts:
            assert script.upgrade_ops is not None
            lexer = migrations_for(migration.connection.engine.url).lexer
            schemas = schemas_of(flat(script.upgrade_ops.ops), lexer)
            before = catalog_of(migration.connection, schemas)
            found = remark(request, script.upgrade_ops.ops, before, lexer)
            request.config.print_stdout(_in_words(found))
    first = next_number(str(one.revision) for one in request.script_directory.walk_revisions())
    for offset, script in enumerate(scripts):
        script.rev_id = f"{first + offset:04d}"


def _indexes(operations: Iterable[MigrateOperation]) -> Iterator[CreateIndexOp]:
    for operation in operations:
        match operation:
            case ModifyTableOps(ops=inner) | ForEngine(operations=inner):
                yield from _indexes(inner)
            case CreateIndexOp():
                yield operation
            case _:
                pass


def _is_empty(script: MigrationScript) -> bool:
    return all(operations.is_empty() for operations in script.upgrade_ops_list)


# Remarks -----------------------------------------------------------------------------------


def remark(
    request: RevisionContext,
    operations: Sequence[MigrateOperation],
    before: Catalog,
    lexer: Lexer,
    remade: Collection[tuple[str, str]] = (),
) -> list[Effect]:
    """Have a new revision name its effects on rows in its docstring.

    Args:
        request: what the revision file is made from.
        operations: what the revision will do.
        before: the tables that it meets.
        lexer: reads the statements among the operations.
        remade: the tables and names of constraints that it only gives another name, which no row
            breaks.

    Returns:
        The effects.
    """
    found = [
        effect
        for effect in effects_of(_on_values(list(flat(operations)), remade), Tables(before), lexer)
        if effect.kind in _REMARKED
    ]
    template: dict[str, object] = request.template_args  # type: ignore[assignment]
    template["remarks"] = _in_words(found)
    return found


def _on_values(
    records: Sequence[Recorded], remade: Collection[tuple[str, str]]
) -> Iterator[Recorded]:
    """The operations but keys that no row breaks: those of new columns, NULL in all rows, too."""
    new = {
        (table_of(record.operation), record.operation.column.name)
        for record in records
        if isinstance(record.operation, AddColumnOp)
        and record.operation.column.server_default is None
    }
    for record in records:
        operation = record.operation
        columns: Sequence[str] = ()
        if isinstance(operation, CreateForeignKeyOp):
            columns = operation.local_cols
        elif isinstance(operation, CreateUniqueConstraintOp):
            columns = list(operation.columns)
        elif isinstance(operation, CreateIndexOp) and operation.unique:
            columns = [str(column) for column in operation.columns]
        name = getattr(operation, "constraint_name", None) or getattr(operation, "index_name", None)
        is_remade = isinstance(operation, AddConstraintOp | CreateIndexOp) and (
            (table_of(operation), str(name)) in remade
        )
        if not is_remade and not any((table_of(operation), column) in new for column in columns):
            yield record


def _in_words(found: Sequence[Effect]) -> str:
    """Effects as text of several lines; empty if there are none."""
    if not found:
        return ""
    points = (
        fill(f"- {effect.message}.", 88, subsequent_indent="  ", break_on_hyphens=False)
        for effect in found
    )
    return "\n".join(("Read before it is applied. It", *points)) + "\n"
