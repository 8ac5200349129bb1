"""Models as data, and as the Python source that an application would have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.harness.evolution.kinds import PREAMBLE, Kind

__all__ = ["KEYS", "ROWS", "Column", "Constraint", "Reference", "Schema", "Table", "rows", "source"]

ROWS: Final = 3
"""Rows of each table."""


@dataclass(frozen=True)
class Reference:
    """A foreign key of a column to the key ``id`` of a table.

    Attributes:
        table: its name; may be the own one.
        options: Python source of its keyword arguments.
        named: whether it has a name of its own.
    """

    table: str
    options: str = ""
    named: bool = False


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: its name.
        kind: its kind; with a reference, an integer.
        nullable: whether it may be NULL.
        default: the number of one of the kind's server defaults; None without one.
        options: Python source of more keyword arguments, such as ``index=True``.
        computed: an expression over ``row`` that generates it, and whether it is stored.
        identity: Python source of an `Identity`.
        reference: its foreign key.
        was: its old name, if it was renamed; its type keeps that.
    """

    name: str
    kind: Kind
    nullable: bool = True
    default: int | None = None
    options: str = ""
    computed: tuple[str, bool] | None = None
    identity: str | None = None
    reference: Reference | None = None
    was: str | None = None

    @property
    def server_default(self) -> str | None:
        """Its Python source."""
        if self.default is None or not self.kind.defaults or self.reference is not None:
            return None
        return self.kind.defaults[self.default % len(self.kind.defaults)]


@dataclass(frozen=True)
class Constraint:
    """A constraint or an index of a table.

    Attributes:
        text: its Python source, with ``{name}`` for a name and ``{0}``, ``{1}`` for `columns`.
        columns: those it is about; it is left out where the table does not have them.
        name: None without one.
        distinct: whether its columns must have different values in each row.
    """

    text: str
    columns: tuple[str, ...] = ()
    name: str | None = None
    distinct: bool = False


ID: Final = 'Column("id", Integer, primary_key=True)'
_NO_KEY: Final = 'Column("id", Integer, nullable=False)'
KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    ID: ("id",),
    'Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)': ("id",),
    'Column("id", Integer, primary_key=True, autoincrement=False)': ("id",),
    'Column("id", BigInteger, primary_key=True)': ("id",),
    'Column("id", Integer, Identity(start=100), primary_key=True)': ("id",),
    f'{_NO_KEY}, PrimaryKeyConstraint("id", name=conv("the_{{table}}_key"))': ("id",),
    f'{_NO_KEY}, PrimaryKeyConstraint("id", "row")': (),
    f'{_NO_KEY}, PrimaryKeyConstraint("row", "id")': (),
    f'{_NO_KEY}, PrimaryKeyConstraint("row")': (),
    'Column("id", Integer)': (),
    'Column("id", Integer, unique=True)': ("id",),
}
"""The keys of tables, as Python source, and what a foreign key may refer to."""


@dataclass(frozen=True)
class Table:
    """A table; beside its columns it has ``id`` and ``row``, which is the number of the row.

    Attributes:
        name: its name.
        key: its key, of `KEYS`.
        columns: its columns.
        constraints: its constraints and indexes.
        options: Python source of more arguments.
        was: its old name, if it was renamed; its constraints and types keep that.
    """

    name: str
    key: str = ID
    columns: tuple[Column, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    options: str = ""
    was: str | None = None


@dataclass(frozen=True)
class Schema:
    """All models.

    Attributes:
        tables: the tables.
        convention: whether constraints and indexes are named as `orm.Base` names them.
        within: the schema of all tables, on engines that have schemas.
    """

    tables: tuple[Table, ...] = ()
    convention: bool = True
    within: str | None = None

    def table(self, name: str) -> Table | None:
        """The table of a name."""
        return next((table for table in self.tables if table.name == name), None)

    @property
    def renames(self) -> list[str]:
        """What was renamed, as ``create --rename`` is told."""
        within = f"{self.within}." if self.within else ""
        found = []
        for table in self.tables:
            if table.was is not None:
                found.append(f"{within}{table.was}:{table.name}")
            found += [
                f"{within}{table.name}.{column.was}:{column.name}"
                for column in table.columns
                if column.was is not None
            ]
        return found


def source(schema: Schema) -> str:
    """The models as Python source that defines a ``metadata``."""
    options = []
    if schema.convention:
        options.append("naming_convention=Base.metadata.naming_convention")
        options.append("info=Base.metadata.info.copy()")
    if schema.within:
        options.append(f"schema={schema.within!r}")
    lines = [PREAMBLE, f"metadata = MetaData({', '.join(options)})"]
    lines += [_table(table, schema) for table in schema.tables]
    return "\n".join(lines) + "\n"


def _table(table: Table, schema: Schema) -> str:
    parts = [repr(table.name), "metadata", 'Column("row", Integer, nullable=False)']
    parts.append(table.key.replace("{table}", table.was or table.name))
    parts += [_column(column, table, schema) for column in table.columns]
    there = {column.name for column in table.columns} | {"id", "row"}
    for constraint in table.constraints:
        if there.issuperset(constraint.columns):
            said = f"{table.was or table.name}_{constraint.name}"
            name = "None" if constraint.name is None else repr(said)
            text = constraint.text.replace("{name}", name)
            for at, column in enumerate(constraint.columns):
                text = text.replace(f"{{{at}}}", column)
            parts.append(text)
    if table.options:
        parts.append(table.options)
    return "Table(\n" + "".join(f"    {part},\n" for part in parts) + ")"


def _column(column: Column, table: Table, schema: Schema) -> str:
    name = f"{table.was or table.name}_{column.was or column.name}_kind"
    kind = column.kind.source.replace("{name}", name)
    parts = [repr(column.name), "Integer()" if column.reference else kind]
    if column.reference is not None and can_refer(column.reference, schema):
        parts.append(_reference(column.reference, table, column, schema))
    if column.computed is not None:
        text, stored = column.computed
        parts.append(f"Computed({text!r}, persisted={stored})")
    elif column.identity is not None:
        parts.append(column.identity)
    elif column.server_default is not None:
        parts.append(f"server_default={column.server_default}")
    if not column.nullable:
        parts.append("nullable=False")
    if column.options:
        parts.append(column.options)
    return f"Column({', '.join(parts)})"


def can_refer(reference: Reference, schema: Schema) -> bool:
    """Whether the table is there, and has a key that can be referred to."""
    parent = schema.table(reference.table)
    return parent is not None and KEYS[parent.key] == ("id",)


def _reference(reference: Reference, table: Table, column: Column, schema: Schema) -> str:
    within = f"{schema.within}." if schema.within else ""
    options = [repr(f"{within}{reference.table}.id")]
    if reference.named:
        options.append(f"name='fk_{table.was or table.name}_{column.was or column.name}'")
    if reference.options:
        options.append(reference.options)
    return f"ForeignKey({', '.join(options)})"


def rows(table: Table, schema: Schema) -> Iterator[dict[str, Any]]:
    """The rows of a table, which keep all of its constraints."""
    unique = {
        name
        for constraint in table.constraints
        if constraint.distinct
        for name in constraint.columns
    }
    for number in range(ROWS):
        row: dict[str, Any] = {"row": number + 1, "id": 10 * (number + 1)}
        for column in table.columns:
            if column.computed is not None or column.identity is not None:
                continue
            if column.reference is not None:
                parent = number % 2 if column.nullable and "unique" not in column.options else 1
                row[column.name] = 10 * (number + 1) if parent else None
            elif number == ROWS - 1 and column.nullable and column.name not in unique:
                row[column.name] = None
            elif number == 0 and column.server_default is not None and column.name not in unique:
                continue
            else:
                row[column.name] = column.kind.values[number % len(column.kind.values)]
        yield row
