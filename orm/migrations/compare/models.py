"""What the models make in an empty database, beside what the revisions make there."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import URL, Column, Connection, MetaData
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.types import TypeEngine

from orm.backends import Migrations, Thing, migrations_for
from orm.backends.things import SEQUENCE_NAME
from orm.exceptions import MigrationError, OrmError
from orm.migrations.application import Application
from orm.migrations.compare.defaults import refuse_unreadable
from orm.migrations.compare.forms import lost_labels, other_forms
from orm.migrations.compare.replay import Replay, replay
from orm.migrations.compare.types import called
from orm.migrations.explain import known_of
from orm.migrations.ledger import table as ledger

__all__ = ["Sides", "execute", "made_by_models", "sides", "with_models"]

_OF_TABLES: Final = frozenset({"column", "constraint", "index"})
_BESIDE_TABLES: Final = frozenset({"type", "domain", "sequence", "extension"})
_KEYS: Final = ("primary key", "foreign key")
_NOT_CUT: Final = 20
"""Characters."""


@dataclass(frozen=True, slots=True)
class Sides:
    """What two empty databases of one engine have become, as far as models can say it.

    Attributes:
        revisions: in the one, the revisions were replayed.
        models: in the other, the models made all of their tables.
        forms: how the revisions, and the models, keep the values of a column, where that differs.
        labels: what they say of enums that lose labels, where no definition has those.
        broken: the views and triggers of the revisions that do not work (`Migrations.broken`).
    """

    revisions: Mapping[Thing, str]
    models: Mapping[Thing, str]
    forms: Mapping[Thing, tuple[str, str]] = field(default_factory=dict)
    labels: Mapping[Thing, tuple[TypeEngine[Any], TypeEngine[Any]]] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()

    @property
    def agree(self) -> bool:
        """Whether there is no difference."""
        return not self.left and not self.forms and not self.labels

    @property
    def tables(self) -> set[str]:
        """The tables that both have."""
        return _tables(self.revisions) & _tables(self.models)

    @property
    def left(self) -> dict[Thing, tuple[str | None, str | None]]:
        """What differs: how the revisions, and how the models define it; None where it is not."""
        things = sorted(self.revisions.keys() | self.models.keys())
        both = {thing: (self.revisions.get(thing), self.models.get(thing)) for thing in things}
        return {
            thing: two
            for thing, two in both.items()
            if two[0] != two[1]
            # Whether a column has a sequence of its own, the column tells.
            and not (thing.kind == "sequence" and thing.table != thing.name and None in two)
        }

    @property
    def remade(self) -> set[tuple[str, str]]:
        """The tables and names of keys that the revisions have as well, by another name."""
        old = {
            (thing.table, _nameless(thing, text))
            for thing, text in self.revisions.items()
            if thing.kind in ("constraint", "index")
        }
        return {
            (thing.table, thing.name)
            for thing, text in self.models.items()
            if thing.kind in ("constraint", "index")
            and thing not in self.revisions
            and (thing.table, _nameless(thing, text)) in old
        }

    def of(self, thing: Thing) -> tuple[str | None, str | None]:
        """How the revisions, and the models, define a thing that is named as models name it."""
        if thing not in self.models and thing not in self.revisions:
            # Where upper and lower case are the same, definitions have the lower one.
            thing = Thing(thing.kind, thing.table.lower(), thing.name.lower())
        return self.revisions.get(thing), self.models.get(thing)

    def defaults_differ(self, column: Column[Any]) -> bool:
        """Whether the default of a column of the models differs."""
        old, new = self.of(Thing("column", column.table.fullname, column.name))
        return old != new and _default(old) != _default(new)


def made_by_models(made: Replay) -> Mapping[Thing, str]:
    """`orm.backends.Migrations.definitions` of an empty database in which the models made all.

    The schemas and the extensions that the models need are there.

    Args:
        made: whose models and engine.

    Raises:
        MigrationError: the models cannot be made there.
    """
    url = made.connection.engine.url
    migrations = migrations_for(url)
    with migrations.scratch(url, beside=made.beside) as connection:
        migrations.prepare_scratch(
            connection,
            {table.schema for table in made.metadata.tables.values() if table.schema},
            migrations.definitions(made.connection),
        )
        _refuse_nameless(made.metadata)
        execute(made.first, connection)
        try:
            made.metadata.create_all(connection)
        except SQLAlchemyError as error:
            cause = str(error.orig if isinstance(error, DBAPIError) else error).rstrip(".")
            nameless = [] if "in table " in cause else _without_words(made.metadata, connection)
            if nameless:  # SQLAlchemy does not say of which column it speaks
                cause = f"{cause} ({', '.join(nameless)})"
            known = known_of(error, connection, migrations)
            raise MigrationError(
                "the models cannot be compared with the revisions, since they do not make their "
                f"tables in an empty {connection.dialect.name} database: {cause}. "
                f"{'. '.join(known) or _advice(migrations, beside=made.beside)}"
            ) from error
        return migrations.definitions(connection)


def execute(statements: Iterable[str], connection: Connection) -> None:
    """Execute statements of an engine's own, as they are."""
    for statement in statements:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _advice(migrations: Migrations, *, beside: bool) -> str:
    """What to do about models that an engine does not take.

    Args:
        migrations: of the engine.
        beside: whether the scratch database is on the application's server.
    """
    more = ""
    if migrations.scratch_can_lack:
        more = (
            "; an extension that they need, let them make: "
            'event.listen(metadata, "before_create", '
            "DDL('CREATE EXTENSION IF NOT EXISTS \"…\"'))"
        )
    if migrations.scratch_can_lack and not beside:
        more += "; if your server has what this one lacks, let it name a database there"
    return (
        "Correct the models. A type that one engine has and another lacks is a variant of one that "
        'all have, as in String().with_variant(INET(), "postgresql"); if the models are '
        "for another engine, let [tool.orm] local in pyproject.toml, or ORM_LOCAL_URL, "
        f"name a database of it{more}"
    )


def _without_words(models: MetaData, connection: Connection) -> list[str]:
    """The columns of whose types the engine cannot say anything, as of an enum without a name."""
    dialect = connection.dialect
    return [
        f"{table.fullname}.{column.name}"
        for table in models.tables.values()
        for column in table.columns
        if called(column.type, dialect) is None
    ]


def _refuse_nameless(models: MetaData) -> None:
    """SQLAlchemy names no index if a naming convention has no "ix", and then fails on an assert."""
    for table in models.tables.values():
        for index in table.indexes:
            if index.name is None:
                columns = ", ".join(column.name for column in index.columns)
                raise MigrationError(
                    f"the index on {table.fullname} ({columns}) has no name: give it one, or add "
                    '"ix": "ix_%(column_0_label)s", which is SQLAlchemy\'s own, to the '
                    "naming_convention of the models"
                )


@contextmanager
def with_models(
    application: Application, revision: str | None, *, url: URL
) -> Iterator[tuple[Replay, Mapping[Thing, str]]]:
    """A scratch database, upgraded to a revision, and what the models make on the same server.

    Args:
        application: whose revisions and models.
        revision: the last one to replay; None for none of them.
        url: of a database whose engine the scratch databases have.

    Raises:
        ConfigurationError: as `replay`.
        MigrationError: as `replay`, `made_by_models` and `refuse_unreadable`.
    """
    with ExitStack() as stack:
        made = stack.enter_context(replay(application, revision, url=url))
        refuse_unreadable(made.metadata)
        try:
            wanted = made_by_models(made)
        except MigrationError as error:
            if made.beside or not migrations_for(url).scratch_can_lack:
                raise
            try:  # with the roles, collations and the like that the project's own server has
                made = stack.enter_context(replay(application, revision, url=url, beside=True))
                wanted = made_by_models(made)
            except (OrmError, DBAPIError, OSError):
                raise error from error.__cause__
        yield made, wanted


def sides(
    made: Replay,
    models: Mapping[Thing, str],
    renamed: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> Sides:
    """What is to be compared.

    Views, triggers, functions and the like are the revisions' own affair, and so are sequences and
    extensions that no model makes, and types, but for enums of columns alone. So are most names of
    keys.

    Args:
        made: the revisions, replayed.
        models: what the models make (`made_by_models`).
        renamed: the old names of what was renamed in the replay, by the tables as they are called
            now: where they are part of a name, that has to follow.
    """
    migrations = migrations_for(made.connection.engine.url)
    definitions = migrations.definitions(made.connection)
    stale = _Stale(definitions, models, renamed if migrations.shares_names else None)
    revisions = _of_models(definitions, models, migrations) | stale.sequences(definitions)
    models = _of_models(models, models, migrations) | stale.sequences(models)
    return Sides(
        revisions,
        _with_names_of(revisions, models, migrations, stale),
        other_forms(made, definitions),
        lost_labels(made),
        frozenset(migrations.broken(made.connection)),
    )


def _default(definition: str | None) -> str:
    return (definition or "").partition("default ")[2]


def _nameless(thing: Thing, text: str) -> str:
    """A definition without its name, which that of an index has, and on MySQL that of a key."""
    return text.replace(thing.name, "", 1) if thing.kind == "index" or "KEY `" in text else text


def _tables(definitions: Mapping[Thing, str]) -> set[str]:
    return {thing.table for thing in definitions if thing.kind == "table"}


def _of_models(
    definitions: Mapping[Thing, str], models: Mapping[Thing, str], migrations: Migrations
) -> dict[Thing, str]:
    ours = migrations.reserved_tables | {ledger.TABLE.name, ledger.VERSION.name}
    tables = _tables(definitions) - ours
    return {
        thing: text
        for thing, text in definitions.items()
        if (thing.kind in _OF_TABLES | {"table"} and thing.table in tables)
        or (thing.kind == "sequence" and thing.table in tables)
        or (thing.kind in _BESIDE_TABLES and thing in models)
        or (thing.kind == "type" and _is_left_over(thing, definitions))
    }


def _is_left_over(enum: Thing, definitions: Mapping[Thing, str]) -> bool:
    """Whether nothing but columns is of an enum type that no model makes, or nothing at all."""
    name = re.compile(rf"(?<!\w){re.escape(enum.name.rpartition('.')[2])}(?!\w)")
    return definitions[enum].startswith("enum ") and not any(
        thing.kind not in _OF_TABLES and thing != enum and name.search(text)
        for thing, text in definitions.items()
    )


class _Stale:
    """Names of constraints and sequences that are not to stay."""

    def __init__(
        self,
        revisions: Mapping[Thing, str],
        models: Mapping[Thing, str],
        renamed: Mapping[str, Collection[str]] | None,
    ) -> None:
        """Begin with what there is.

        Args:
            revisions: the definitions that they make.
            models: those that the models make.
            renamed: old names, by tables; None where no name matters.
        """
        there = _tables(revisions)
        self._renamed = renamed or {}
        self._taken: set[str] = set()
        if renamed is not None:
            self._taken = {
                text if thing.kind == SEQUENCE_NAME else thing.name
                for thing, text in models.items()
                if thing.kind in ("constraint", "index", SEQUENCE_NAME) and thing.table not in there
            }
        self._sequences = {
            thing
            for thing, name in revisions.items()
            if thing.kind == SEQUENCE_NAME and thing in models and self.has(thing.table, name)
        }

    def has(self, table: str, name: str) -> bool:
        """Whether a new table needs the name, or it says what the table, or a column, was called.

        Engines cut long names, so that only the beginning of the old one is sure to be there.
        """
        return name in self._taken or any(
            old[:_NOT_CUT] in name for old in self._renamed.get(table, ())
        )

    def sequences(self, definitions: Mapping[Thing, str]) -> dict[Thing, str]:
        """The names of those sequences that have such a name in the revisions."""
        return {thing: definitions[thing] for thing in self._sequences}


def _with_names_of(
    revisions: Mapping[Thing, str],
    models: Mapping[Thing, str],
    migrations: Migrations,
    stale: _Stale,
) -> dict[Thing, str]:
    """The models' side, with the revisions' name for each constraint whose own does not matter."""
    spare: dict[tuple[str, str], list[Thing]] = defaultdict(list)
    for thing, text in revisions.items():
        is_other = thing.kind == "constraint" and models.get(thing) != text
        if is_other and not stale.has(thing.table, thing.name):
            spare[thing.table, text].append(thing)
    named: dict[Thing, str] = {}
    for thing, text in models.items():
        twins = spare[thing.table, text] if revisions.get(thing) != text else []
        twin = next((twin for twin in twins if _same_name(thing, twin, text, migrations)), None)
        if twin is not None:
            twins.remove(twin)
        named[twin or thing] = text
    return named


def _same_name(one: Thing, other: Thing, text: str, migrations: Migrations) -> bool:
    """Whether two names of the same constraint make no difference: a key's, or one not chosen."""
    return text.lower().startswith(_KEYS) or any(
        thing.name == text or migrations.is_generated_name(thing.name) for thing in (one, other)
    )
