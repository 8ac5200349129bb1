"""What the revisions make of an empty database: what the models are compared to.

It is a scratch database of the local target's engine: for SQLite in memory, so that a new revision
needs no server; for an engine that has one, beside the local database, which need not be up to
date.
"""

import io
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from alembic import command, context
from alembic.autogenerate import produce_migrations
from alembic.config import Config
from alembic.operations import MigrateOperation
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.util import CommandError
from sqlalchemy import URL, Connection, MetaData

from orm.backends import migrations_for
from orm.exceptions import MigrationError, OrmError
from orm.migrations.application import Application
from orm.migrations.compare.recorder import Recorded, recording
from orm.migrations.compare.schema import Schema, schema_of
from orm.migrations.explain import cause_of, where
from orm.migrations.files.revisions import read
from orm.migrations.running.direction import keep_whole
from orm.migrations.target import target_url

__all__ = ["Shadow", "Step", "shadow"]


@dataclass(frozen=True, slots=True)
class Step:
    """What one revision did.

    Attributes:
        revision: which one.
        records: its operations, in their order.
        after: the tables that it left.
    """

    revision: str
    records: tuple[Recorded, ...]
    after: Schema


@dataclass
class Shadow:
    """Revisions replayed through the application's own ``env.py``.

    Attributes:
        application: whose revisions and models.
        config: Alembic's, with which its commands work on the shadow.
        connection: to the shadow.
        metadata: the models.
        options: what ``env.py`` configures Alembic with.
        watched: whether `steps` are recorded; it takes longer.
        steps: what each revision did that was replayed while watched.
    """

    application: Application
    config: Config
    connection: Connection
    metadata: MetaData = field(default_factory=MetaData)
    options: dict[str, Any] = field(default_factory=dict)
    watched: bool = False
    steps: list[Step] = field(default_factory=list)

    def upgrade(self, revision: str | None) -> None:
        """Replay the revisions up to one; None for none of them.

        Raises:
            MigrationError: a revision cannot be loaded, or fails; names its file and line.
        """
        try:
            if revision is None:
                command.current(self.config)  # for the environment alone
            else:
                command.upgrade(self.config, revision)
        except (CommandError, OrmError):
            raise
        except Exception as error:
            if (explained := self._explained(error)) is None:
                raise
            raise explained from error

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

        def applied(
            ctx: MigrationContext, step: MigrationInfo, heads: object, run_args: object
        ) -> None:
            if self.watched:
                after = schema_of(self.connection)
                self.steps.append(Step(str(step.up_revision_id), tuple(records), after))
            records.clear()

        self.connection.commit()  # else Alembic takes what looking has begun for somebody else's
        context.configure(connection=self.connection, on_version_apply=applied, **options)
        migration = context.get_context()
        keep_whole(migration, migrations_for(self.connection.engine.url))
        with context.begin_transaction(), recording(migration, records):
            migration.run_migrations()

    def _explained(self, error: Exception) -> MigrationError | None:
        for file in read(self.application.versions):
            if line := where(file.path, error):
                return MigrationError(
                    f"{file.path} cannot be replayed in an empty {self.connection.dialect.name} "
                    f"database{line}: {cause_of(error)}. What is for one engine only belongs under "
                    'if op.get_context().dialect.name == "…"; if everything is for one, [tool.orm] '
                    "local in pyproject.toml has to name a database of that engine"
                )
        environment = self.application.versions.parent / "env.py"
        if isinstance(error, SyntaxError) or where(environment, error):
            return MigrationError(
                f"the models cannot be loaded ({environment}{where(environment, error)}): "
                f"{cause_of(error)}"
            )
        return None


@contextmanager
def shadow(
    application: Application, revision: str | None = "head", *, url: URL | None = None
) -> Iterator[Shadow]:
    """A shadow of an application's database, upgraded to a revision.

    Args:
        application: whose revisions and models.
        revision: how far to replay; None for not at all.
        url: of a database whose engine the shadow shall have, the local one if None; what is there
            is not touched.

    Raises:
        ConfigurationError: that engine cannot have a shadow here; says what is missing.
        MigrationError: a revision cannot be loaded, or fails; names its file and line.
    """
    # What Alembic says to a terminal is said better by who wants to know.
    config = Config(
        toml_file=application.pyproject,
        cmd_opts=Namespace(quiet=True),
        output_buffer=io.StringIO(),
        stdout=io.StringIO(),
    )
    if url is None:
        url = target_url("local", application.pyproject)
    with migrations_for(url).scratch(url) as connection:
        made = Shadow(application, config, connection)
        config.attributes |= {"connection": connection, "shadow": made}
        made.upgrade(revision)
        yield made
