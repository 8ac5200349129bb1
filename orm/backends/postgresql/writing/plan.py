"""What makes one schema out of another: statements in an order that PostgreSQL accepts.

Constraints and indexes are made by their definitions, which are SQL. What depends on something
that is made anew is dropped before it, and made after it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from alembic.operations.ops import (
    AddColumnOp,
    AlterColumnOp,
    CreateTableOp,
    DropColumnOp,
    DropTableOp,
    MigrateOperation,
    ModifyTableOps,
)
from sqlalchemy import Column as ModelColumn
from sqlalchemy import ForeignKeyConstraint, MetaData, Table

from orm.backends.operations import creation_of
from orm.backends.postgresql.writing import ddl, sequences
from orm.backends.postgresql.writing.alter import Alter, aside
from orm.backends.postgresql.writing.columns import SERIAL, Column, columns_of, tables_of
from orm.backends.postgresql.writing.comments import comment_of, of_table
from orm.backends.postgresql.writing.constraints import Constraints
from orm.backends.postgresql.writing.enums import Enums, uses
from orm.backends.postgresql.writing.names import bare, mentions, qualified, quote, schema_of
from orm.backends.postgresql.writing.statements import Statements, joined, refuse_if
from orm.backends.things import Thing

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """The way from one schema to another.

    Args:
        old: what there is (`Migrations.definitions`).
        new: what there is to be.
        models: whose tables the new ones are.
    """

    old: Mapping[Thing, str]
    new: Mapping[Thing, str]
    models: MetaData

    def operations(self) -> list[MigrateOperation]:
        """All that has to be done, as far as it can be written."""
        dropped = sorted(tables_of(self.old) - tables_of(self.new))
        return joined(
            [
                *self.before(),
                Statements(
                    [s for t in self._enums.replaced for s in self._enums.set_aside(t)],
                    stands_for=self._relabelled(),
                ),
                Statements(self._constraints.drops),
                *(_creation(table) for table in self._made),
                *self._columns(),
                *(DropTableOp(bare(table), schema=schema_of(table)) for table in dropped),
                Statements(self._constraints.creations),
                Statements(list(self._comments())),
                Statements([self._enums.drop_set_aside(t) for t in self._enums.replaced]),
                *self.after(),
            ]
        )

    def before(self) -> list[MigrateOperation]:
        """What Alembic's operations need and do not make: extensions, schemas, types, sequences."""
        of_made = ddl.enums(self._made)
        schemas = {schema_of(t) for t in tables_of(self.new)} - {
            schema_of(t) for t in tables_of(self.old)
        }
        extensions = {
            thing.name for thing in self.new.keys() - self.old.keys() if thing.kind == "extension"
        }
        return joined(
            [
                Statements(list(self._enums.grow()), commits=True),
                Statements(
                    [f"CREATE EXTENSION IF NOT EXISTS {quote(x)}" for x in sorted(extensions)]
                ),
                Statements(
                    [
                        f"CREATE SCHEMA IF NOT EXISTS {quote(s)}"
                        for s in sorted(filter(None, schemas))
                    ]
                ),
                Statements(
                    # A new table makes its own.
                    [self._enums.create(t) for t in self._enums.made if bare(t.name) not in of_made]
                ),
                Statements(self._domains()),
                Statements(list(self._sequences())),
            ]
        )

    def _domains(self) -> list[str]:
        """Statements that make the domains that columns of old tables are to have."""
        of_made = ddl.domains(self._made)
        ours = ddl.domains(self.models.tables.values())
        made = [
            thing.name
            for thing in sorted(self.new.keys() - self.old.keys())
            if thing.kind == "domain"
        ]
        return [ours[name] for name in made if name in ours and name not in of_made]

    def after(self) -> list[MigrateOperation]:
        """What Alembic's operations leave: the types of columns that are gone."""
        gone = [f"DROP TYPE {qualified(thing.name)}" for thing in self._enums.dropped]
        return joined([Statements(gone)])

    def _relabelled(self) -> list[AlterColumnOp]:
        return [
            self._enums.relabelled(table, column)
            for table in self._kept
            for name, column in self._old[table].items()
            if self._recast(table, name) and self._enums.gone(column)
        ]

    # What is there -----------------------------------------------------------------------------

    @cached_property
    def _enums(self) -> Enums:
        return Enums(self.old, self.new)

    @cached_property
    def _constraints(self) -> Constraints:
        return Constraints(self.old, self.new, self._physical, self._model)

    @cached_property
    def _old(self) -> dict[str, dict[str, Column]]:
        return columns_of(self.old)

    @cached_property
    def _new(self) -> dict[str, dict[str, Column]]:
        return columns_of(self.new)

    @cached_property
    def _kept(self) -> list[str]:
        return sorted(tables_of(self.old) & tables_of(self.new))

    @cached_property
    def _made(self) -> list[Table]:
        return [self._model(name) for name in sorted(tables_of(self.new) - tables_of(self.old))]

    def _model(self, name: str) -> Table:
        by_name = {table.name: table for table in self.models.tables.values()}
        return self.models.tables[name] if name in self.models.tables else by_name[name]

    def _model_of(self, table: str, name: str) -> ModelColumn[Any]:
        """A column by its name: a table has it by its key, which is that of a class's attribute."""
        return next(column for column in self._model(table).columns if column.name == name)

    # Sequences ---------------------------------------------------------------------------------

    def _sequences(self) -> Iterator[str]:
        for thing, text in sorted(self.new.items()):
            if thing.kind == "sequence" and thing.name == thing.table:
                if thing not in self.old:
                    yield sequences.create(thing, text)
                elif self.old[thing] != text:
                    yield sequences.alter(thing, self.old[thing], text)

    # Columns -----------------------------------------------------------------------------------

    @cached_property
    def _rebuilt(self) -> dict[str, set[str]]:
        """The generated columns of each table that are dropped and added: their expression cannot
        be changed before PostgreSQL 17, nor what they are made of in any version."""
        found = {}
        for table in self._kept:
            old, new = self._old[table], self._new[table]
            moving = self._moving(table)
            found[table] = {
                name
                for name, column in new.items()
                if name in old
                and column.generated is not None
                and (
                    _without_remark(old[name]) != _without_remark(column)
                    or mentions(column.generated, *moving)
                )
            }
        return found

    def _moving(self, table: str) -> set[str]:
        """The columns that go, or get another type."""
        old, new = self._old[table], self._new[table]
        return {
            name
            for name, column in old.items()
            if name not in new
            or column.full_type != new[name].full_type
            or uses(column, self._enums.replaced)
        }

    @cached_property
    def _physical(self) -> dict[str, set[str]]:
        return {table: self._moving(table) | self._rebuilt[table] for table in self._kept}

    def _columns(self) -> Iterator[MigrateOperation]:
        for table in self._kept:
            yield from self._columns_of(table)

    def _columns_of(self, table: str) -> Iterator[MigrateOperation]:
        old, new, rebuilt = self._old[table], self._new[table], sorted(self._rebuilt[table])
        within = qualified(table)
        set_aside = [name for name in rebuilt if old[name].generated is None]
        yield Statements(
            [f"ALTER TABLE {within} DROP COLUMN {quote(n)}" for n in rebuilt if n not in set_aside]
            + [
                f"ALTER TABLE {within} RENAME COLUMN {quote(name)} TO {quote(aside(name))}"
                for name in set_aside
            ]
        )
        generated_first = sorted(old.keys() - new.keys(), key=lambda n: (not old[n].generated, n))
        drops: list[MigrateOperation] = [
            DropColumnOp(bare(table), name, schema=schema_of(table)) for name in generated_first
        ]
        if drops:
            yield ModifyTableOps(bare(table), drops, schema=schema_of(table))
        yield Statements(
            [
                statement
                for name in sorted(old.keys() & new.keys())
                if new[name].generated is None
                for statement in self._alter(table, name)
            ]
        )
        yield from self._add(table, [name for name in new if name not in old])
        yield Statements(
            [f"ALTER TABLE {within} ADD COLUMN {self._column(table, name)}" for name in rebuilt]
        )
        for name in set_aside:
            now, before = quote(name), quote(aside(name))
            same = "" if old[name].type == new[name].type else "::text"
            refusal = refuse_if(
                table,
                f"{before}{same} <> {now}{same}",
                f"{table}.{name} has values that differ from those that it would generate: update "
                "them first, or delete this statement",
            )
            yield Statements([refusal, f"ALTER TABLE {within} DROP COLUMN {before}"])

    def _alter(self, table: str, name: str) -> Iterator[str]:
        old, new = self._old[table][name], self._new[table][name]
        sequence = Thing("sequence", table, name)
        recast = self._recast(table, name)
        yield from Alter(
            table,
            old,
            new,
            recast,
            self.old.get(sequence),
            self.new.get(sequence),
            ddl.default(self._model_of(table, name)),
            ddl.misread(self._model_of(table, name), of_array=old.base.endswith("[]")),
            self._enums.gone(old) if recast else (),
            self._enums.added(old) if recast else (),
        ).statements()

    def _recast(self, table: str, name: str) -> bool:
        """Whether a column gets another type of the same name."""
        old, new = self._old[table][name], self._new[table].get(name)
        return new is not None and uses(old, self._enums.replaced) and old.type == new.type

    def _add(self, table: str, names: list[str]) -> Iterator[MigrateOperation]:
        columns = [self._new[table][name] for name in names]
        for column in sorted(columns, key=lambda column: column.generated is not None):
            model = self._model_of(table, column.name)
            is_plain = column.generated is None and column.default != SERIAL
            if is_plain and column.identity is None and not _makes_checks(model):
                add = AddColumnOp(bare(table), model, schema=schema_of(table))
                yield ModifyTableOps(bare(table), [add], schema=schema_of(table))
            else:
                said = self._column(table, column.name)
                yield Statements([f"ALTER TABLE {qualified(table)} ADD COLUMN {said}"])

    def _column(self, table: str, name: str) -> str:
        return ddl.column(self._model_of(table, name))

    # The rest ----------------------------------------------------------------------------------

    def _comments(self) -> Iterator[str]:
        for thing, text in sorted(self.new.items()):
            old = self.old.get(thing)
            match thing.kind:
                case "table" if old is not None and old != text:
                    yield from of_table(thing.name, old, text)
                case "column":
                    column = self._new[thing.table][thing.name]
                    before = self._old.get(thing.table, {}).get(thing.name)
                    anew = thing.name in self._rebuilt.get(thing.table, ())
                    was = None if before is None or anew else before.comment
                    if was != column.comment and thing.table in self._old:
                        name = f"{qualified(thing.table)}.{quote(thing.name)}"
                        yield f"COMMENT ON COLUMN {name} IS {column.comment or 'NULL'}"
                case "constraint":
                    comment = comment_of(text)
                    was = comment_of(old or "") if self._constraints.stays(thing) else None
                    if comment != was:
                        name = f"{quote(thing.name)} ON {qualified(thing.table)}"
                        yield f"COMMENT ON CONSTRAINT {name} IS {comment or 'NULL'}"
                case _:
                    pass


def _without_remark(column: Column) -> Column:
    return replace(column, comment=None)


def _creation(table: Table) -> CreateTableOp:
    """A new table without its foreign keys, which may lead to tables that come later."""
    operation = creation_of(table)
    operation.columns = [
        item for item in operation.columns if not isinstance(item, ForeignKeyConstraint)
    ]
    return operation


def _makes_checks(column: ModelColumn[Any]) -> bool:
    """Whether the type makes a CHECK by itself, if Alembic adds the column."""
    return bool(getattr(column.type, "create_constraint", False))
