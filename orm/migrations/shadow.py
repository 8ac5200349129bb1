"""A database that holds what the revisions make of it, and no rows: what the models are compared to.

It is in memory, so that a new revision needs no server, and no local database that is up to date.
"""

import io
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alembic import command, context
from alembic.autogenerate import produce_migrations
from alembic.config import Config
from alembic.operations import MigrateOperation
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, StaticPool, create_engine

from orm.exceptions import MigrationError, OrmError
from orm.migrations.recorder import Recorded, recording
from orm.migrations.schema import Schema, schema_of

__all__ = ["Shadow", "Step", "shadow"]


@dataclass(frozen=True, slots=True)
class Step:
    """What one revision did.

    Attributes:
        revision: which one.
        records: its operations, in their order.
        before: the tables that it met.
        after: the tables that it left.
    """

    revision: str
    records: tuple[Recorded, ...]
    before: Schema
    after: Schema


@dataclass
class Shadow:
    """Revisions replayed through the project's own ``env.py``.

    Attributes:
        config: Alembic's, with which its commands work on the shadow.
        connection: to the shadow.
        metadata: the models.
        options: what ``env.py`` configures Alembic with.
        watched: whether `steps` are recorded; it takes longer.
        steps: what each revision did that was replayed while watched.
    """

    config: Config
    connection: Connection
    metadata: MetaData = field(default_factory=MetaData)
    options: dict[str, Any] = field(default_factory=dict)
    watched: bool = False
    steps: list[Step] = field(default_factory=list)

    def upgrade(self, revision: str = "head") -> None:
        """Replay the revisions up to one.

        Raises:
            MigrationError: one of them fails; names its file and line.
        """
        with _naming_the_file(self.config):
            command.upgrade(self.config, revision)

    def compare(self) -> Sequence[MigrateOperation]:
        """What would make the shadow what the models say."""
        migration = MigrationContext.configure(self.connection, opts=self.options)
        found = produce_migrations(migration, self.metadata).upgrade_ops
        assert found is not None
        return found.ops

    def run(self, options: dict[str, Any]) -> None:
        """Run the Alembic command that called ``env.py`` on the shadow.

        Args:
            options: what to configure Alembic with.
        """
        self.options, self.metadata = options, options["target_metadata"]
        records: list[Recorded] = []
        before = schema_of(self.connection) if self.watched else {}

        def applied(step: MigrationInfo, **_: Any) -> None:
            nonlocal before
            if self.watched:
                after = schema_of(self.connection)
                self.steps.append(Step(str(step.up_revision_id), tuple(records), before, after))
                before = after
            records.clear()

        context.configure(connection=self.connection, on_version_apply=lambda *_, **about: applied(**about), **options)
        migration = context.get_context()
        with context.begin_transaction(), recording(migration, records):
            migration.run_migrations()


@contextmanager
def shadow(config: Config, revision: str = "head") -> Iterator[Shadow]:
    """A shadow of the project, upgraded to a revision.

    Args:
        config: Alembic's configuration of the project; it is not changed.
        revision: how far to replay.

    Raises:
        MigrationError: a revision fails; names its file and line.
    """
    engine = create_engine("sqlite://", poolclass=StaticPool, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            made = Shadow(_config_for(config), connection)
            made.config.attributes |= {"connection": connection, "shadow": made}
            made.upgrade(revision)
            yield made
    finally:
        engine.dispose()


def _config_for(config: Config) -> Config:
    """A configuration of the same project that prints nothing."""
    return Config(
        config.config_file_name,
        toml_file=config.toml_file_name,
        ini_section=config.config_ini_section,
        output_buffer=io.StringIO(),
        stdout=io.StringIO(),
    )


@contextmanager
def _naming_the_file(config: Config) -> Iterator[None]:
    try:
        yield
    except (CommandError, OrmError):
        raise
    except Exception as error:
        folders = [Path(folder) for folder in ScriptDirectory.from_config(config).versions]
        where = [
            f"{frame.filename}, line {frame.lineno}"
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).parent in folders
        ]
        if not where:
            raise
        raise MigrationError(
            f"{where[-1]}: the revision cannot be replayed in an empty SQLite database "
            f"({type(error).__name__}: {error}). What is for one engine only belongs under "
            "if op.get_context().dialect.name == …"
        ) from error

