"""Where models, revisions and a database differ."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from sqlalchemy import Connection, Inspector, MetaData, inspect
from sqlalchemy.types import TypeEngine

from orm.backends import Thing
from orm.backends.labels import labels_of
from orm.backends.things import SEQUENCE_NAME
from orm.migrations.compare.models import Sides

__all__ = ["Difference", "drift", "of_forms", "of_models", "on_engines", "without_index"]

_CREATE: Final = 'write a revision: orm migrations create "follow the models"'
_KEEP: Final = f"add it to the models; or, to drop it, {_CREATE}"


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that differs between two sides.

    Attributes:
        kind: for programs: the models and the revisions differ (``model``), or only the revisions
            have it (``revision``); a foreign key lacks an index (``foreign_key``); the database
            and the applied revisions differ (``drift``).
        subject: what it is about, such as ``column users.email``.
        message: a sentence.
    """

    kind: Literal["model", "revision", "foreign_key", "drift"]
    subject: str
    message: str

    @property
    def fact(self) -> str:
        """The message without what to do about it."""
        return self.message.removesuffix(f": {_KEEP}").removesuffix(f": {_CREATE}")


def on_engines(one: Difference, engines: Sequence[str], of: int) -> Difference:
    """The same difference, which names the engines that have it, if not all of them do."""
    if len(engines) == of:
        return one
    return replace(one, message=f"on {' and '.join(engines)}, {one.message}")


# Models and revisions ----------------------------------------------------------------------


def of_models(both: Sides) -> list[Difference]:
    """Where the models and the revisions differ.

    Args:
        both: what each of them makes.
    """
    left = both.left
    return [
        *_compare(
            {thing: one for thing, (one, _) in left.items() if one is not None},
            {thing: other for thing, (_, other) in left.items() if other is not None},
            only_left=_only_in_revisions,
            only_right=_only_in_models,
            differs=_differs,
        ),
        *(_loses(thing, old, new) for thing, (old, new) in both.labels.items()),
    ]


def of_broken(broken: Collection[str]) -> list[Difference]:
    """Views and triggers of the revisions that do not work.

    Args:
        broken: they, and why (`orm.backends.Migrations.broken`).
    """
    return [
        Difference(
            "model",
            one.partition(" (")[0],
            f"{one} does not work after the revisions: drop it in a revision, or make it anew "
            "after the change of what it names",
        )
        for one in sorted(broken)
    ]


def _only_in_models(thing: Thing) -> Difference:
    return Difference(
        "model", str(thing), f"{thing} is in the models, and no revision makes it: {_CREATE}"
    )


def _only_in_revisions(thing: Thing) -> Difference:
    return Difference(
        "revision",
        str(thing),
        f"the revisions make {thing}, and the models do not have it: {_KEEP}",
    )


def _differs(thing: Thing, revisions: str, models: str) -> Difference:
    how = f"the revisions have {revisions or 'no option'}, the models have {models or 'no option'}"
    return Difference("model", str(thing), f"{thing} differs: {how}: {_CREATE}")


def _loses(column: Thing, old: TypeEngine[Any], new: TypeEngine[Any]) -> Difference:
    kept = labels_of(new)
    gone = ", ".join(repr(label) for label in labels_of(old) if label not in kept)
    return Difference(
        "model",
        str(column),
        f"{column} may have rows with {gone}, which the enum of the models does not have any more: "
        f"reading them fails: {_CREATE}",
    )


def of_forms(both: Sides) -> list[Difference]:
    """Columns whose values the models would read as others than they are.

    Args:
        both: what models and revisions say.
    """
    return [
        Difference(
            "model",
            str(thing),
            f"{thing} has values in the form of {old}, and the models read them as {new}. In a "
            "revision, bring them into the new form with an UPDATE, and then say the type: "
            f"{_says_type(thing, new)}: {_CREATE}",
        )
        for thing, (old, new) in both.forms.items()
    ]


def _says_type(column: Thing, type_: str) -> str:
    schema, _, table = column.table.rpartition(".")
    within = f", schema={schema!r}" if schema else ""
    return (
        f"with op.batch_alter_table({table!r}{within}) as batch_op: "
        f"batch_op.alter_column({column.name!r}, type_={type_})"
    )


# Foreign keys ------------------------------------------------------------------------------


def without_index(connection: Connection, models: MetaData) -> list[Difference]:
    """The foreign keys that no index begins with; `orm.Base` says why each should have one.

    Args:
        connection: to a database with the tables.
        models: the models, in which a table may opt out.
    """
    inspector = inspect(connection)
    schemas = {table.schema for table in models.tables.values() if table.schema}
    names = [
        (f"{schema}.{table}" if schema else table, table, schema)
        for schema in (None, *sorted(schemas - {inspector.default_schema_name}))
        for table in inspector.get_table_names(schema)
    ]
    return [
        Difference(
            "foreign_key",
            f"{name}.{'_'.join(columns)}",
            f"no index begins with {name} ({', '.join(columns)}), which is a foreign key",
        )
        for name, table, schema in names
        if name not in models.tables or models.tables[name].info.get("index_foreign_keys", True)
        for key in inspector.get_foreign_keys(table, schema)
        if (columns := key["constrained_columns"])
        and not any(
            set(columns) == set(indexed[: len(columns)])
            for indexed in _indexed(inspector, table, schema)
        )
    ]


def _indexed(
    inspector: Inspector, table: str, schema: str | None
) -> Iterator[Sequence[str | None]]:
    yield inspector.get_pk_constraint(table, schema)["constrained_columns"]
    for unique in inspector.get_unique_constraints(table, schema):
        yield unique["column_names"]
    for index in inspector.get_indexes(table, schema):
        if not any(option.endswith("_where") for option in index.get("dialect_options", ())):
            yield index["column_names"]


# Revisions and a database ------------------------------------------------------------------


def drift(
    made: Mapping[Thing, str],
    database: Mapping[Thing, str],
    ours: Collection[str],
    *,
    by: str | None = None,
) -> list[Difference]:
    """What was changed by hand: where a database differs from its applied revisions.

    Args:
        made: `orm.backends.Migrations.definitions` of a replay of the applied revisions.
        database: those of the database.
        ours: names of tables to leave out.
        by: the revision that makes the first schema; None for all that are applied.
    """
    makes = f"{by} makes" if by else "the applied revisions make"
    not_made = f"{by} does not make it" if by else "no applied revision makes it"

    def compared(definitions: Mapping[Thing, str]) -> dict[Thing, str]:
        return {
            thing: text
            for thing, text in definitions.items()
            if thing.table not in ours and thing.kind != SEQUENCE_NAME
        }

    def shown(thing: Thing) -> str:
        # An index says so if it is not complete: it is no use then, whatever the revisions make.
        text = database[thing] if thing.kind == "index" else ""
        return f": {text}" if text else ""

    def differs(thing: Thing, left: str, right: str) -> str:
        return f"{thing} differs: {makes} it {left!r}, the database has {right!r}"

    return list(
        _compare(
            compared(made),
            compared(database),
            only_left=lambda thing: Difference(
                "drift",
                str(thing),
                f"{makes} {thing}, and the database does not have it",
            ),
            only_right=lambda thing: Difference(
                "drift",
                str(thing),
                f"the database has {thing}, and {not_made}{shown(thing)}",
            ),
            differs=lambda thing, *two: Difference("drift", str(thing), differs(thing, *two)),
        )
    )


def _compare(
    left: Mapping[Thing, str],
    right: Mapping[Thing, str],
    *,
    only_left: Callable[[Thing], Difference],
    only_right: Callable[[Thing], Difference],
    differs: Callable[[Thing, str, str], Difference],
) -> Iterator[Difference]:
    """Where two sides differ; if only one has a table, the table alone is named."""
    for one, other, describe in ((left, right, only_left), (right, left, only_right)):
        alone = [thing for thing in one if thing not in other]
        tables = {thing.table for thing in alone if thing.kind == "table"}
        yield from (
            describe(thing) for thing in alone if thing.kind == "table" or thing.table not in tables
        )
    for thing, text in left.items():
        if thing in right and right[thing] != text:
            yield differs(thing, text, right[thing])
