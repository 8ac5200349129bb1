"""What of a table's old definition goes on into the new one: all of which a revision says nothing.

Alembic reflects the old table, changes what the revision says, and makes the new one of that. What
reflection does not see is taken here from the old table's own SQL.
"""

from collections.abc import Iterator

from alembic.operations.batch import ApplyBatchImpl
from sqlalchemy import (
    CheckConstraint,
    Connection,
    ForeignKeyConstraint,
    String,
    Table,
    TextClause,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import ColumnCollectionConstraint

from orm.backends.sqlite.schema import Clause, definition_of, folded
from orm.exceptions import MigrationError

__all__ = ["carry_over", "would_lose"]


def carry_over(connection: Connection, batch: ApplyBatchImpl, table: Table) -> list[Clause]:
    """Say of a batch's new table what its old one says and the batch does not.

    Args:
        connection: to the database.
        batch: all of whose operations are known, and whose new table is not created yet.
        table: the old table, as it was reflected.

    Returns:
        The clauses that the new table must have.

    Raises:
        MigrationError: it cannot be said whether a CHECK is to stay.
    """
    new = batch.new_table
    assert new is not None
    said = _Said(batch, table)
    clauses = [
        clause for clause in definition_of(connection, str(table.name)) if not said.of(clause)
    ]
    checks, keys, references = (
        [clause for clause in clauses if clause.kind == kind and (clause.key or kind == "CHECK")]
        for kind in ("CHECK", "UNIQUE", "FOREIGN KEY")
    )
    kept = [clause for clause in clauses if clause not in (*checks, *keys, *references)]
    for clause in kept:
        _put(clause, new)
    kept += _keep_checks(new, batch, table, checks, said)
    kept += _keep_uniques(new, table, keys, said)
    _keep_names(new, references, said)
    _keep_actions(connection, str(table.name), new, said)
    return kept


def would_lose(table: str, clause: Clause, why: str) -> MigrationError:
    """The error of a rebuild that would lose a clause."""
    return MigrationError(f"the rebuild of {table} would lose {clause}: {why}")


class _Said:
    """What a batch says anew, whatever the old table says of it.

    Attributes:
        columns: those that it drops or adds; one of the same name may be both.
        types: the columns that get another type.
        constraints: those that it drops or makes.
    """

    def __init__(self, batch: ApplyBatchImpl, table: Table) -> None:
        kept = {key for key, transfer in batch.column_transfers.items() if "expr" in transfer}
        self.columns = {c.name.casefold() for c in table.c if c.key not in kept}
        self.types = {
            c.name.casefold()
            for c in table.c
            if c.key in kept and repr(batch.columns[c.key].type) != repr(c.type)
        }
        old = {str(one.name) for one in table.constraints if one.name}
        new = {
            str(name): constraint not in table.constraints
            for name, constraint in batch.named_constraints.items()
        }
        self.constraints = {name for name in old | new.keys() if new.get(name, True)}

    def of(self, clause: Clause) -> bool:
        """Whether the batch says something else in the place of a clause."""
        column, constraint = (clause.column or "").casefold(), clause.constraint
        if column in self.columns or (clause.kind == "COLLATE" and column in self.types):
            return True
        names = {name.casefold() for name in self.constraints}
        return constraint is not None and constraint.casefold() in names


def _put(clause: Clause, new: Table) -> None:
    """Say it of the new table too, if SQLAlchemy has a word for it."""
    match clause.kind:
        case "AUTOINCREMENT":
            new.dialect_options["sqlite"]["autoincrement"] = True
        case "COLLATE" | "AS":
            [column] = [c for c in new.c if c.name.casefold() == str(clause.column).casefold()]
            if clause.kind == "AS" and column.computed is not None:
                column.computed.sqltext = _text(clause)
            elif clause.kind == "COLLATE" and isinstance(column.type, String):
                column.type = column.type.copy()
                column.type.collation = column.type.collation or clause.text
        case _:
            pass


def _text(clause: Clause) -> TextClause:
    return text(clause.text.replace(":", r"\:"))


def _keep_checks(
    new: Table, batch: ApplyBatchImpl, table: Table, checks: list[Clause], said: _Said
) -> Iterator[Clause]:
    """Give the new table the CHECKs of the old one, word for word."""
    old = {
        str(constraint.name)
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint) and constraint.name
    } - said.constraints
    for constraint in list(new.constraints):
        if isinstance(constraint, CheckConstraint) and str(constraint.name) in old:
            new.constraints.remove(constraint)
    restated = any(isinstance(argument, CheckConstraint) for argument in batch.table_args)
    survivors = {column.name.casefold() for column in new.c}
    gone = {column.name.casefold() for column in table.c} - survivors
    for clause in checks:
        if clause.constraint is None:
            if restated or (clause.words & gone and not clause.words & survivors):
                continue
            if clause.words & said.types:
                raise would_lose(
                    table.name,
                    clause,
                    "it may have to change with the type of its column. Say what shall hold: "
                    "batch_alter_table(…, table_args=(sa.CheckConstraint(…, name=…),))",
                )
        if clause.words & gone:
            raise would_lose(
                table.name,
                clause,
                "it names a column that is dropped. Drop it by its name, or say what shall hold: "
                "batch_alter_table(…, table_args=(sa.CheckConstraint(…, name=…),))",
            )
        new.append_constraint(CheckConstraint(_text(clause), name=clause.constraint))
        yield clause


def _keep_uniques(new: Table, table: Table, keys: list[Clause], said: _Said) -> Iterator[Clause]:
    """Give the new table those that reflection has not found, or has found by a wrong name."""
    columns = {folded(column.name): column for column in new.c}
    found = {_key_of(one): one for one in table.constraints if isinstance(one, UniqueConstraint)}
    there = {_key_of(one): one for one in new.constraints if isinstance(one, UniqueConstraint)}
    for clause in keys:
        key = tuple(map(folded, clause.key))
        if said.columns.intersection(name.casefold() for name in clause.key):
            continue  # one of its columns is dropped
        reflected = found.get(key)
        if reflected is None or (clause.constraint and reflected.name != clause.constraint):
            new.constraints.discard(there.get(key))
            ours = (columns[name] for name in key)
            new.append_constraint(UniqueConstraint(*ours, name=clause.constraint))
        elif key not in there:
            continue  # the batch drops it
        yield clause


def _keep_names(new: Table, references: list[Clause], said: _Said) -> None:
    """Give references their names, which reflection takes from a text that it does not parse."""
    names = {tuple(map(folded, clause.key)): clause.constraint for clause in references}
    for constraint in new.constraints:
        if isinstance(constraint, ForeignKeyConstraint) and str(constraint.name) not in (
            said.constraints
        ):
            constraint.name = names.get(_key_of(constraint), constraint.name)


def _key_of(constraint: ColumnCollectionConstraint) -> tuple[str, ...]:
    return tuple(folded(column.name) for column in constraint.columns)


def _keep_actions(connection: Connection, table: str, new: Table, said: _Said) -> None:
    """ON DELETE and ON UPDATE, which are reflected for named references only."""
    rows = connection.exec_driver_sql(
        'SELECT id, "table", "from", on_delete, on_update'
        " FROM pragma_foreign_key_list(?) ORDER BY id, seq",
        (table,),
    ).all()
    actions: dict[tuple[str, tuple[str, ...]], tuple[str, str]] = {}
    for number in {row[0] for row in rows}:
        ours = [row for row in rows if row[0] == number]
        key = (folded(ours[0][1]), tuple(folded(row[2]) for row in ours))
        actions[key] = (ours[0][3], ours[0][4])
    for constraint in new.constraints:
        if not isinstance(constraint, ForeignKeyConstraint):
            continue
        if str(constraint.name) in said.constraints:
            continue
        key = (folded(constraint.referred_table.name), _key_of(constraint))
        on_delete, on_update = actions.get(key, ("NO ACTION", "NO ACTION"))
        if constraint.ondelete is None and on_delete != "NO ACTION":
            constraint.ondelete = on_delete
        if constraint.onupdate is None and on_update != "NO ACTION":
            constraint.onupdate = on_update
