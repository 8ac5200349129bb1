"""The optional parts of `orm.backends.Migrations`: scripts, journals, and what changes cost."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from sqlalchemy import Connection

from orm.exceptions import MigrationError

__all__ = ["Cost", "Costs", "Journal", "NotAScript", "Script", "Scripting"]


class Cost(NamedTuple):
    """What the change of a table costs.

    Attributes:
        table: its name.
        words: how the engine changes it: what follows ``changes users``.
    """

    table: str
    words: str


Costs = Callable[[Connection], AbstractContextManager[Sequence[Cost]]]


class NotAScript(MigrationError):
    """A revision does what no script can do, such as to ask the database for rows."""


@dataclass(frozen=True, slots=True)
class Script:
    """What a revision executes, for a program that knows no more than to run it.

    Attributes:
        statements: each with the semicolon that ends it.
        rewritten: the tables whose rows are all written anew, and how many rows a database writes
            for each one of theirs.
    """

    statements: Sequence[str]
    rewritten: Mapping[str, int]

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(f"{statement}\n\n" for statement in self.statements)


Scripting = Callable[[Connection, frozenset[str]], AbstractContextManager[Callable[[], Script]]]


class Journal(Protocol):
    """For engines whose DDL commits: it keeps which statements of a revision were done."""

    def resuming(
        self, connection: Connection, revision: str, checksum: str
    ) -> AbstractContextManager[None]:
        """Keep account of what is executed in the block, and leave out what was done before.

        What was done is forgotten at the end of the block, in the transaction that is open then.

        Args:
            connection: in a transaction, within `Migrations.migrating`.
            revision: its id.
            checksum: of its file.

        Raises:
            MigrationError: another statement was done in the place of one; or what was done is not
                known.
        """
        ...

    def half_done(self, connection: Connection) -> Mapping[str, int]:
        """The revisions that an earlier run has begun, and not ended; nothing is written.

        Args:
            connection: which reads.

        Returns:
            For the id of each revision the number of its statements that were done.
        """
        ...
