"""What Alembic 1.20 has no public way for; all that this library takes from inside of it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NoReturn

from alembic.operations import BatchOperations, MigrateOperation, Operations
from alembic.operations.ops import CreateTableOp, ExecuteSQLOp
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Column

from orm.backends import Migrations

__all__ = [
    "AsksTheDatabase",
    "GoesByAnswers",
    "Recorded",
    "around_autocommit",
    "command_name",
    "compare_defaults",
    "forget_types",
    "keep_whole",
    "reading",
    "reads_a_table",
    "without_answers",
    "write_expressions",
]


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


@contextmanager
def around_autocommit(
    migration: MigrationContext, around: Callable[[], AbstractContextManager[None]]
) -> Iterator[None]:
    """Put something around each ``autocommit_block`` of the revisions that run within the block."""
    given: Callable[[], Any] = migration.autocommit_block

    @contextmanager
    def block() -> Iterator[None]:
        if given is nullcontext:  # it is kept whole, and stays in the transaction
            yield
            return
        with around(), given():
            yield

    migration.autocommit_block = block  # type: ignore[method-assign]
    try:
        yield
    finally:
        migration.autocommit_block = given  # type: ignore[method-assign]


def forget_types(migration: MigrationContext) -> None:
    """Have the next revision make the types that it names, as in a run of its own.

    Alembic remembers for a whole run which types it has made.
    """
    migration.impl.memo.clear()


def write_expressions(migration: MigrationContext, write: Callable[..., str]) -> None:
    """Have autogenerate write expressions by `write`, which gets them and options of what they are.

    Alembic's option ``render_item`` is not asked for the conditions of indexes and CHECKs.
    """
    migration.impl.render_ddl_sql_expr = write  # type: ignore[method-assign]


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


class AsksTheDatabase(AttributeError):  # so that hasattr(op.get_bind(), …) is what it was
    """A revision that is written as a script wants something of the database."""


def without_answers(migration: MigrationContext) -> None:
    """Have a revision that is written as a script be told so when it asks the database.

    Alembic gives it a connection that writes what it executes. That one lacks most methods, and
    gives None for a result: the errors would be about Python.
    """
    told: Any = _Told(migration.connection)
    migration.connection = migration.impl.connection = told


def reads_a_table(error: Exception) -> bool:
    """Whether this is Alembic's refusal to write a batch without its table, which it would read."""
    return isinstance(error, CommandError) and "batch mode" in str(error)


class _Told:
    """A connection of a script, which writes what it executes, and has no answers."""

    def __init__(self, writes: Any) -> None:
        self._writes = writes

    @property
    def engine(self) -> "_Told":
        """Itself."""
        return self

    def connect(self, **_: object) -> "_Told":
        """Itself."""
        return self

    def execution_options(self, **_: object) -> "_Told":
        """Itself."""
        return self

    def execute(self, *arguments: Any, **options: Any) -> "_NoAnswer":
        """Write a statement."""
        self._writes.execute(*arguments, **options)
        return _NoAnswer()

    def __getattr__(self, name: str) -> Any:
        if hasattr(self._writes, name):
            return getattr(self._writes, name)
        raise AsksTheDatabase(f"op.get_bind().{name}")


class _NoAnswer:
    """In place of the result of a statement."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AsksTheDatabase(f"op.get_bind().execute(…).{name}")

    def _is_asked(self, *_: object) -> NoReturn:
        raise AsksTheDatabase("the rows of op.get_bind().execute(…)")

    __iter__ = __getitem__ = __len__ = __bool__ = _is_asked


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
def reading(migration: MigrationContext, records: list[Recorded]) -> Iterator[None]:
    """Give revisions an ``op`` that adds to `records` all operations that they call, and no more.

    Alembic lets a program register new operations, and not observe those that there are; a
    subclass of `Operations` would not be what ``from alembic import op`` gives to a revision.

    Args:
        migration: a context without a database.
        records: where they are added.
    """
    migration.autocommit_block = nullcontext  # type: ignore[method-assign, assignment]
    nothing: Any = _NoDatabase(records)
    migration.connection = migration.impl.connection = nothing
    with Operations.context(migration) as operations:

        def record(operation: MigrateOperation) -> Any:
            records.append(Recorded(operation, batch=False))
            return operation.to_table() if isinstance(operation, CreateTableOp) else None

        @contextmanager
        def record_batch(table: str, schema: str | None = None, **options: Any) -> Iterator[_Batch]:
            if (new := options.get("copy_from")) is not None:
                records.append(Recorded(CreateTableOp.from_table(new), batch=True))
            # What a batch asks of its implementation to describe an operation.
            names = SimpleNamespace(table_name=table, schema=schema)
            yield _Batch(migration, names, records)

        operations.invoke = record  # type: ignore[method-assign]
        operations.batch_alter_table = record_batch  # type: ignore[method-assign, assignment]
        yield


class GoesByAnswers(LookupError):
    """A revision that is read asks the database, and does what the answer says."""


class _NoDatabase:
    """In place of a connection, and of the result of a statement: it takes notes."""

    def __init__(self, records: list[Recorded]) -> None:
        self._records = records

    def execute(self, statement: Any, *_: object) -> "_NoDatabase":
        """Note a statement."""
        self._records.append(Recorded(ExecuteSQLOp(statement), batch=False))
        return self

    exec_driver_sql = execute

    def _is_asked(self, *_: object) -> NoReturn:
        raise GoesByAnswers

    __getattr__ = __getitem__ = __iter__ = __len__ = __bool__ = __enter__ = __exit__ = _is_asked


class _Batch(BatchOperations):
    def __init__(self, migration: MigrationContext, impl: Any, records: list[Recorded]) -> None:
        super().__init__(migration, impl)
        self._records = records

    def invoke(self, operation: MigrateOperation) -> Any:
        self._records.append(Recorded(operation, batch=True))
