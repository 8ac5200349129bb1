"""A script that gives with foreign keys on what `apply` gives with foreign keys off.

`apply` turns foreign keys off, and looks for rows without their parent before it commits. A script
cannot do that: no pragma turns them off inside a transaction, and some places, such as Cloudflare's
D1, never turn them off. What is to be avoided there are the actions of foreign keys: to drop a
table, so that a new one takes its place, sets off ON DELETE CASCADE, and its children are gone.

So SQLite is asked about each statement what foreign keys would add to it. Where that is anything,
the rows of the tables concerned are kept in another table meanwhile, and then they are put back;
``PRAGMA defer_foreign_keys`` leaves the check to the commit. In the end the script must have made
the very schema that the revision makes, or there is no script.
"""

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, StaticPool, create_engine

from orm.backends.migration_parts import NotAScript, Script
from orm.backends.sqlite.compiled import Compiled, compiled
from orm.backends.sqlite.definitions import definitions
from orm.backends.sqlite.schema import folded, quoted

__all__ = ["written"]


def written(
    statements: Sequence[str],
    before: sqlite3.Connection,
    after: Connection,
    without: Collection[str],
) -> Script:
    """The script of a revision.

    Args:
        statements: what the revision executes.
        before: to a database with the schema that the revision meets; it is changed.
        after: to one with the schema that the revision leaves.
        without: the tables that it does not make.

    Raises:
        NotAScript: it cannot be written so that it does the same.
    """
    driver: Any = after.connection.driver_connection
    writer = _Writer(before, set(_tables(driver)))
    for statement in statements:
        writer.add(statement)
    writer.end()
    engine = create_engine("sqlite://", creator=lambda: before, poolclass=StaticPool)
    with engine.connect() as connection:
        made, wanted = definitions(connection), definitions(after)
    engine.dispose()
    wanted = {thing: said for thing, said in wanted.items() if thing.table not in without}
    if {thing: said for thing, said in made.items() if thing.table not in without} != wanted:
        raise NotAScript("with foreign keys on, its statements make another schema")
    return Script(writer.out, writer.rewritten)


@dataclass
class _Kept:
    """A table whose rows are in a copy of it for a while; its triggers are gone meanwhile."""

    table: str
    copy: str
    columns: str
    triggers: Sequence[str]

    @property
    def back(self) -> str:
        return (
            f"INSERT INTO {quoted(self.table)} ({self.columns})"
            f" SELECT {self.columns} FROM {quoted(self.copy)};"
        )


@dataclass
class _Writer:
    """Writes statements, and runs what it writes in a database without rows.

    Names of tables are in lower case.
    """

    database: sqlite3.Connection
    at_last: set[str]
    """The tables that there are after the revision."""
    out: list[str] = field(default_factory=list)
    rewritten: dict[str, int] = field(default_factory=dict)
    kept: list[_Kept] = field(default_factory=list)
    """In the order in which they are put back: parents first."""
    dropped_last: dict[str, str] = field(default_factory=dict)
    """Tables that are dropped at the end of the script, and how."""
    deferred: bool = False
    """Whether foreign keys look at rows anywhere."""

    def add(self, sql: str) -> None:
        """Write the next statement."""
        plain, acting = self._compiled(sql, "OFF"), self._compiled(sql, "ON")
        self.deferred |= plain != acting
        for table in plain.of(sqlite3.SQLITE_DROP_TABLE):
            self.kept = [kept for kept in self.kept if not self._goes(kept, table)]
        for kept in self.kept:
            renamed = plain.renames and self._renames(kept, sql)
            if kept.table in plain.touches and not renamed:
                raise NotAScript(f"it uses {kept.table} while the key that it refers to is gone")
        if dropped := plain.of(sqlite3.SQLITE_DROP_TABLE):
            self._drop(sql, *dropped)
        else:
            self._change(sql, plain, acting)
        self._put_back()

    def end(self) -> None:
        """Write what is left to do."""
        for table, sql in self.dropped_last.items():
            left = self._children({table}) - self.dropped_last.keys()
            if left:
                raise NotAScript(f"it drops {table}, and {_and(left)} still refers to it")
            self._run(sql)
        if self.kept:
            raise NotAScript(f"it leaves {self.kept[0].table} without the key that it refers to")
        for table in self.rewritten:  # its indexes are made after its rows have been copied
            self.rewritten[table] += self._indexes(table)
        if self.deferred:
            self.out.insert(0, "PRAGMA defer_foreign_keys = ON;")

    # Statements ------------------------------------------------------------------------------

    def _drop(self, sql: str, table: str) -> None:
        children = self._children({table}) - {table} - self.dropped_last.keys()
        if table not in self.at_last:
            if children:  # which no longer refer to it when the revision ends
                self.dropped_last[table] = sql
            else:
                self._run(sql)
            return
        kept, again = self._keep(children, {table})
        if again:  # its rows go a moment earlier than they would, and no trigger may notice
            self._drop_triggers(table)
        for one in reversed(kept):
            self._run(f"DELETE FROM {quoted(one.table)};")
        self._run(sql)
        self.rewritten[table] = self.rewritten.get(table, 0) + (2 if children else 1)

    def _change(self, sql: str, plain: Compiled, acting: Compiled) -> None:
        changed = set(plain.writes)
        hit = self._acted_on(plain, acting)
        # REPLACE deletes from its own table. That is no action, unless the table refers to itself.
        hit -= {table for table in changed & hit if not self._acts_within(table)}
        kept, again = self._keep(self._children(changed) & hit, changed)
        if again := again | (hit & changed):
            raise NotAScript(
                f"foreign keys of {_and(again)} would act on rows that it changes itself ({sql})"
            )
        if plain.is_about_rows:
            self.out.append(sql)  # here there are no rows
        else:
            self._run(sql)
        for one in reversed(kept):
            self._run(f"DELETE FROM {quoted(one.table)};")

    def _run(self, sql: str) -> None:
        self.database.execute("PRAGMA foreign_keys = ON")
        try:
            self.database.execute(sql)
        except sqlite3.Error as error:
            raise NotAScript(f"with foreign keys on, {error} ({sql})") from error
        self.out.append(sql)

    def _compiled(self, sql: str, foreign_keys: str) -> Compiled:
        self.database.execute(f"PRAGMA foreign_keys = {foreign_keys}")
        try:
            return compiled(self.database, sql)
        except sqlite3.Error as error:
            raise NotAScript(f"with foreign keys on, {error} ({sql})") from error

    def _acted_on(self, plain: Compiled, acting: Compiled) -> set[str]:
        """The tables that actions of foreign keys would write to, and that are to stay.

        Not those that only triggers write to: the triggers of such a table are gone meanwhile.
        """
        hit = set(acting.writes - plain.writes) - self.dropped_last.keys()
        return {table for table in hit if self._refers_to(table)}

    # Rows that are kept ------------------------------------------------------------------------

    def _keep(self, tables: set[str], but: set[str]) -> tuple[list[_Kept], set[str]]:
        """Copy the rows of tables, and of all that an action of theirs would reach.

        Returns:
            What was copied, but for some tables; and those of these that would be reached.
        """
        order, again = sorted(tables), set[str]()
        for table in order:  # it grows
            emptied = f"DELETE FROM {quoted(table)};"
            reached = self._acted_on(self._compiled(emptied, "OFF"), self._compiled(emptied, "ON"))
            again |= reached & but
            order += sorted(reached - {*order, *but})
        kept = [self._copied(table) for table in order]
        self.kept += kept
        return kept, again

    def _drop_triggers(self, table: str) -> list[str]:
        """Drop the triggers of a table; how they are made again."""
        triggers = self.database.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = ?"
            " ORDER BY rowid",
            (table,),
        ).fetchall()
        for name, _ in triggers:
            self._run(f"DROP TRIGGER {quoted(name)};")
        return [f"{sql};" for _, sql in triggers]

    def _copied(self, table: str) -> _Kept:
        there = {
            folded(name) for (name,) in self.database.execute("SELECT name FROM sqlite_master")
        }
        copy = f"_kept_{table}"
        while copy in there | self.at_last:
            copy += "_"
        columns = self._columns(table)
        named = ", ".join(f"{column} AS {column}" for column in columns)
        self._run(f"CREATE TABLE {quoted(copy)} AS SELECT {named} FROM {quoted(table)};")
        kept = _Kept(table, copy, ", ".join(columns), self._drop_triggers(table))
        # Into the copy, out of the table, and back.
        self.rewritten[table] = self.rewritten.get(table, 0) + 3
        return kept

    def _put_back(self) -> None:
        """Put back what SQLite takes by now: the table that it refers to is there, with its key."""
        while self.kept:
            kept = self.kept[0]
            self.database.execute("PRAGMA foreign_keys = ON")
            try:
                compiled(self.database, kept.back)
            except sqlite3.OperationalError:
                return
            for sql in (kept.back, f"DROP TABLE {quoted(kept.copy)};", *kept.triggers):
                self._run(sql)
            del self.kept[0]

    def _goes(self, kept: _Kept, table: str) -> bool:
        """Whether its table is dropped; then the copy is not needed either."""
        if kept.table == table:
            self._run(f"DROP TABLE {quoted(kept.copy)};")
        return kept.table == table

    def _renames(self, kept: _Kept, sql: str) -> bool:
        """Whether the statement gives the table another name, under which it is put back."""
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as trial:
            self.database.backup(trial)
            trial.execute("PRAGMA legacy_alter_table = ON")
            trial.execute(sql)
            new = set(_tables(trial)) - set(_tables(self.database))
            if len(new) != 1 or kept.table in _tables(trial):
                return False
        old, (kept.table,) = kept.table, new
        self.rewritten[kept.table] = self.rewritten.get(kept.table, 0) + self.rewritten.pop(old)
        return True

    # The schema ----------------------------------------------------------------------------------

    def _children(self, parents: set[str]) -> set[str]:
        """The tables that refer to one of these."""
        return {table for table in _tables(self.database) if self._refers_to(table) & parents}

    def _refers_to(self, table: str) -> set[str]:
        rows = self.database.execute('SELECT "table" FROM pragma_foreign_key_list(?)', (table,))
        return {folded(parent) for (parent,) in rows}

    def _acts_within(self, table: str) -> bool:
        rows = self.database.execute(
            'SELECT 1 FROM pragma_foreign_key_list(?) WHERE lower("table") = ?'
            " AND NOT (on_delete IN ('NO ACTION', 'RESTRICT')"
            " AND on_update IN ('NO ACTION', 'RESTRICT'))",
            (table, table),
        )
        return rows.fetchone() is not None

    def _indexes(self, table: str) -> int:
        [(count,)] = self.database.execute("SELECT count(*) FROM pragma_index_list(?)", (table,))
        return int(count)

    def _columns(self, table: str) -> list[str]:
        """The columns that have values, and the rowid if it is none of them."""
        rows = self.database.execute(
            "SELECT name, hidden FROM pragma_table_xinfo(?)", (table,)
        ).fetchall()
        named = {folded(name) for name, _ in rows}
        columns = [quoted(name) for name, hidden in rows if not hidden]
        for rowid in ("rowid", "_rowid_", "oid"):
            if rowid not in named:
                if self._has_own(rowid, table):
                    columns.insert(0, quoted(rowid))
                break
        return columns

    def _has_own(self, rowid: str, table: str) -> bool:
        """Whether its rowid is no column; SQLite asks the authorizer about the column if it is."""
        try:
            what = compiled(self.database, f"SELECT {rowid} FROM {quoted(table)}")
        except sqlite3.OperationalError:  # WITHOUT ROWID
            return False
        return any(second == "ROWID" for _, _, second in what.acts)


def _tables(database: sqlite3.Connection) -> list[str]:
    rows = database.execute("SELECT lower(name) FROM sqlite_master WHERE type = 'table'")
    return [name for (name,) in rows]


def _and(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))
