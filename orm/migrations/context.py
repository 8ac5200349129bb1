"""What this library hands to its own environment, ``env.py``, when it runs a command of Alembic."""

import io
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, MetaData

from orm.exceptions import MigrationError, OrmError
from orm.migrations.application import Application
from orm.migrations.connecting import PATIENCE
from orm.migrations.explain import loading_models
from orm.migrations.revision import Revision

__all__ = ["RunContext", "alembic_alone"]

_KEY: Final = "orm.migrations.context"
"""Of ``config.attributes``, which is Alembic's way from a program to ``env.py``."""
_ONE_AT_A_TIME: Final = threading.Lock()
"""`alembic.context` and `alembic.op` are global names of the process."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """How `orm.migrations.run` is to carry out a command.

    Attributes:
        url: of the database; None for the one that ``-x target=…`` names.
        patience: seconds to wait for another process that migrates the database.
        applied: called with each revision once it is committed (in a transaction of the caller's:
            once it has run).
        restore_point: called with how to go back, before anything is changed; None to print it.
        instead: called with the models in place of the command.
    """

    url: URL | None = None
    patience: float = PATIENCE
    applied: Callable[[Revision], None] | None = None
    restore_point: Callable[[str], None] | None = None
    instead: Callable[[MetaData], None] | None = None

    @classmethod
    def of(cls, config: Config) -> Self:
        """The context that a configuration carries; that of a plain ``alembic`` without one."""
        found = config.attributes.get(_KEY)
        return found if isinstance(found, cls) else cls()

    def config(self, application: Application) -> Config:
        """Alembic's configuration of an application, which carries this context.

        Alembic's own output goes to its ``output_buffer``, and nothing to the terminal.
        """
        return Config(
            toml_file=application.pyproject,
            cmd_opts=Namespace(quiet=True),
            output_buffer=io.StringIO(),
            stdout=io.StringIO(),
            attributes={_KEY: self},
        )


@contextmanager
def alembic_alone(application: Application) -> Iterator[None]:
    """For the length of the block, no other thread runs a command of Alembic.

    Args:
        application: whose ``env.py`` the block runs.

    Raises:
        MigrationError: in place of Alembic's own error; or the models cannot be loaded.
    """
    with _ONE_AT_A_TIME, loading_models(application.versions.parent / "env.py"):
        try:
            yield
        except CommandError as error:
            cause = error.__cause__
            if isinstance(cause, OrmError):  # `orm.migrations.run` has wrapped it
                raise cause from cause.__cause__
            raise MigrationError(str(error)) from error
