"""The text of SQL statements, read as the operations that they amount to.

A verb counts wherever it stands in what a statement runs: in a common table expression, in a block,
after EXPLAIN ANALYZE. What a routine, a trigger or a rule would do later is not done now.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from alembic.operations.ops import (
    AlterColumnOp,
    CreateCheckConstraintOp,
    CreateForeignKeyOp,
    CreateIndexOp,
    DropColumnOp,
    DropTableOp,
    RenameTableOp,
)

from orm.backends.tokens import Cursor, Lexer, Token, closing, split, statements
from orm.migrations.compare.effects.said import (
    Deletes,
    DropsSchema,
    Moves,
    Rewrites,
    Said,
    Unnamed,
    Updates,
)

__all__ = ["in_sql"]

_DESCRIBES: Final = frozenset({"COMMENT", "CREATE", "GRANT", "REVOKE", "SECURITY"})
"""The first words of statements that only describe: a DELETE in them deletes nothing now."""
_NO_VERB_AFTER: Final = frozenset(
    {"ON", "FOR", "KEY", "OF", "AS", "SELECT", "GRANT", "REVOKE", ".", ","}
)
"""What follows one of these is no statement: ``ON DELETE``, ``FOR UPDATE``, a column's name."""
_OF_ROWS: Final = frozenset({"DELETE", "INSERT", "MERGE", "UPDATE"})
_VERBS: Final = _OF_ROWS | {
    "ALTER",
    "DO",
    "DROP",
    "EXECUTE",
    "LOAD",
    "RENAME",
    "REPLACE",
    "TRUNCATE",
}
_MODIFIERS: Final = frozenset(
    {"ABORT", "DELAYED", "FAIL", "HIGH_PRIORITY", "HISTORY", "IGNORE", "INTO", "LOW_PRIORITY"}
    | {"ONLY", "OR", "QUICK", "REPLACE", "ROLLBACK"}
)
"""What may stand between a verb and its table."""
_WHOLE: Final = frozenset({"EXTENSION", "TYPE", "DOMAIN", "OWNED"})
"""DROP of one of these drops columns and tables that use it: by CASCADE, or OWNED always."""
_NOT_COLUMNS: Final = frozenset(
    {"CHECK", "CONSTRAINT", "FOREIGN", "INDEX", "KEY", "PERIOD", "PRIMARY"}
)
_CONSTRAINTS: Final = frozenset({"CHECK", "EXCLUDE", "FOREIGN", "PRIMARY", "UNIQUE"})
_ENDS_ASSIGNMENTS: Final = frozenset({"WHERE", "FROM", "RETURNING", "ORDER", "LIMIT", "WHEN", ")"})


def in_sql(text: str, lexer: Lexer) -> Iterator[Said]:
    """What statements amount to, of what a reader should know of.

    Args:
        text: statements.
        lexer: of the engine.
    """
    for statement in statements(lexer(text)):
        yield from _Statement(text, statement, lexer).read()


class _Statement(Cursor):
    """One statement.

    Args:
        text: what it stands in.
        tokens: its own.
        lexer: for the statements that stand in its strings.
    """

    def __init__(self, text: str, tokens: Sequence[Token], lexer: Lexer) -> None:
        super().__init__(text, tokens)
        self._lexer = lexer

    def read(self) -> Iterator[Said]:
        """What it amounts to."""
        if self.words[:1] == ["CREATE"]:
            yield from self._created()
        if not _DESCRIBES.isdisjoint(self.words[:1]):
            return
        while not self.is_at_end:
            before = self.words[self.at - 1] if self.at else None
            word = self.words[self.at]
            self.at += 1
            if word in _VERBS and before not in _NO_VERB_AFTER:
                yield from self._verb(word, is_first=before is None)

    def _verb(self, word: str, *, is_first: bool) -> Iterator[Said]:
        rest = self.words[self.at :]
        match word:
            case "DELETE" if "FROM" in rest:
                yield from self._deleted()
            case "TRUNCATE" if rest and rest[0] != "(":  # else MySQL's function of that name
                self.skip("TABLE")
                yield from map(self._lost, self.names())
            case "UPDATE" if "SET" in rest:
                self.skip(*_MODIFIERS)
                yield from self._updated(self.name())
            case "MERGE" if "USING" in rest:
                self.skip(*_MODIFIERS)
                yield from self._merged(self.name())
            case "INSERT" if rest[:1] != ["("]:  # else MySQL's function of that name
                yield from self._inserted()
            case "REPLACE" if is_first or self.next("INTO"):
                self.skip("TABLE", *_MODIFIERS)  # LOAD DATA … REPLACE INTO TABLE
                yield from self._set(self.name(), None)
            case "DROP":
                yield from self._dropped()
            case "ALTER" if "TABLE" in rest[:2]:
                yield from self._altered()
            case "ALTER" if rest[:1] == ["TYPE"] and {"DROP", "ATTRIBUTE"} <= set(rest):
                yield Unnamed("drops an attribute of a type, and its values in all columns")
            case "RENAME" if is_first and self.skip("TABLE", "TABLES"):
                yield from self._renamed()
            case "DO" if is_first:
                yield from self._quoted()
            case "EXECUTE":
                yield from self._quoted()
            case _:
                pass

    # Rows -------------------------------------------------------------------------------------

    def _lost(self, table: str) -> Said:
        return Deletes(table) if table else Unnamed("deletes rows of a table that it does not name")

    def _deleted(self) -> Iterator[Said]:
        # MySQL: DELETE a, b FROM users AS a JOIN b; DELETE FROM a USING users AS a JOIN b
        self.skip("FROM", *_MODIFIERS)
        yield from map(self._lost, map(self._without_alias, list(self.names())))

    def _without_alias(self, name: str) -> str:
        """The table that has this alias in the rest of the statement, or this name."""
        for at in range(self.at + 1, len(self.tokens)):
            before = at - 1 if self.words[at - 1] != "AS" else at - 2
            is_name = self.tokens[before].kind in ("word", "name")
            if (
                self.tokens[at].identifier == name
                and is_name
                and self.words[before] not in ("FROM", "JOIN")
            ):
                return self.tokens[before].identifier
        return name

    def _updated(self, table: str) -> Iterator[Said]:
        self.go_past("SET")
        yield from self._set(table, self._assigned())

    def _set(self, table: str, columns: frozenset[str] | None) -> Iterator[Said]:
        if table:
            yield Updates(table, columns)

    def _assigned(self) -> frozenset[str]:
        """The columns on the left of assignments."""
        began, depth = self.at, 0
        while not self.is_at_end:
            word = self.words[self.at]
            if depth == 0 and word in _ENDS_ASSIGNMENTS:
                break
            depth += {"(": 1, ")": -1}.get(word, 0)
            self.at += 1
        columns: set[str] = set()
        for one in split(self.tokens[began : self.at]):
            words = [token.word for token in one]
            left = one[: words.index("=")] if "=" in words else ()
            if words[:1] == ["("]:
                columns.update(token.identifier for token in left if token.kind != "mark")
            elif left:
                columns.add(left[-1].identifier)
        return frozenset(columns)

    def _merged(self, table: str) -> Iterator[Said]:
        while not self.is_at_end:
            self.go_past("THEN")
            if self.skip("DELETE"):
                yield self._lost(table)
            elif self.skip("UPDATE"):
                yield from self._updated(table)

    def _inserted(self) -> Iterator[Said]:
        """An INSERT changes rows that are there only where it says so."""
        began = self.at
        self.skip(*_MODIFIERS)
        replaces = "REPLACE" in self.words[began : self.at]
        table = self.name()
        if replaces:
            yield from self._set(table, None)
        while not self.is_at_end:
            if self.next("UPDATE") and self.words[self.at - 1] in ("DO", "KEY"):
                self.skip("UPDATE")
                self.skip("SET")
                yield from self._set(table, self._assigned())
            elif self.next(*_OF_ROWS):  # of a WITH
                return
            else:
                self.at += 1

    # Tables ----------------------------------------------------------------------------------

    def _created(self) -> Iterator[Said]:
        self.at = 1
        replaces = self.skip("OR", "REPLACE")
        if replaces and self.skip("TABLE"):  # MariaDB
            yield DropTableOp(self.name())
        unique = self.skip("UNIQUE")
        self.skip("FULLTEXT", "SPATIAL")
        if self.skip("INDEX"):
            concurrently = self.skip("CONCURRENTLY")
            self.go_past("ON")
            yield CreateIndexOp(
                None, self.name(), [], unique=unique, postgresql_concurrently=concurrently
            )

    def _dropped(self) -> Iterator[Said]:
        cascades = "CASCADE" in self.words[self.at :]
        if self.skip("TABLE", "TABLES"):
            yield from (
                DropTableOp(name) if name else Unnamed("drops a table that it does not name")
                for name in self.names()
            )
        elif self.skip("SCHEMA", "DATABASE"):
            yield from map(DropsSchema, self.names())
        elif self.next(*_WHOLE) and (cascades or self.next("OWNED")):
            yield Unnamed(f"drops by DROP {self.words[self.at]} all that depends on it")

    def _renamed(self) -> Iterator[Said]:
        """Several tables, one after the other (MariaDB, MySQL)."""
        for one in split(self.rest()):
            inner = _Statement(self.text, one, self._lexer)
            old = inner.name()
            inner.skip("TO")
            yield RenameTableOp(old, inner.name().rpartition(".")[2])

    def _altered(self) -> Iterator[Said]:
        ignores = self.skip("IGNORE")  # MariaDB deletes the rows that break a key
        self.go_past("TABLE")
        table = self.name()
        if table:
            if ignores:
                yield Deletes(table)
            for action in split(self.rest()):
                yield from _Statement(self.text, action, self._lexer)._action(table)
        elif "DROP" in self.words[self.at :]:
            yield Unnamed("drops something of a table that it does not name")
            self.rest()

    def _action(self, table: str) -> Iterator[Said]:
        """One action of an ALTER TABLE."""
        match self.words:
            case ["RENAME", "TO" | "AS" | "=", *_] | ["RENAME", _]:
                self.at = 1
                self.skip("TO", "AS", "=")
                yield RenameTableOp(table, self.name())
            case ["RENAME", "CONSTRAINT" | "INDEX" | "KEY", _, "TO", *_]:
                pass
            case ["RENAME", _, _, *_]:
                self.at = 1
                if self.words[2] != "TO":
                    self.skip("COLUMN")
                column = self.name()
                self.skip("TO")
                yield AlterColumnOp(table, column, modify_name=self.name())
            case ["SET", "SCHEMA", _]:
                yield Moves(table, self.tokens[2].identifier)
            case ["ADD", *_]:
                yield from self._constrained(table)
            case ["DROP", "PARTITION" | "SYSTEM", _, *_] | ["TRUNCATE" | "DISCARD", *_]:
                yield Deletes(table)
            case ["DROP", word, _, *_] if word in _NOT_COLUMNS:
                pass
            case ["DROP", *_]:
                self.at = 1
                self.skip("COLUMN")
                yield DropColumnOp(table, self.name())
            case ["ALTER", *_]:
                self.at = 1
                self.skip("COLUMN")
                yield from self._column(table, self.name())
            case ["MODIFY" | "CHANGE" as verb, *_]:
                self.at = 1
                self.skip("COLUMN")
                column = self.name()
                new = self.name() if verb == "CHANGE" else column
                yield from self._modified(table, column, new)
            case _:
                pass

    def _constrained(self, table: str) -> Iterator[Said]:
        self.at = 1
        if self.skip("CONSTRAINT") and not self.next(*_CONSTRAINTS):
            self.name()
        if not self.next(*_CONSTRAINTS) or self.words[-2:] == ["NOT", "VALID"]:
            return
        if self.next("FOREIGN"):
            yield CreateForeignKeyOp(None, table, "", [], [])
        else:
            yield CreateCheckConstraintOp(None, table, "")

    def _column(self, table: str, column: str) -> Iterator[Said]:
        match self.words[self.at :]:
            case ["SET", "NOT", "NULL", *_]:
                yield AlterColumnOp(table, column, modify_nullable=False)
            case ["SET", "DATA", "TYPE", *_] | ["TYPE", *_]:
                self.skip("SET", "DATA")
                self.skip("TYPE")
                began = self.at
                while not self.is_at_end and not self.next("USING", "COLLATE"):
                    self.at += 1
                yield Rewrites(table, column, self.since(began))
            case _:
                pass

    def _modified(self, table: str, column: str, new: str) -> Iterator[Said]:
        """What MariaDB and MySQL say in the place of ALTER COLUMN: the whole definition."""
        rest = " ".join(self.words[self.at :])
        if "NOT NULL" in rest:
            yield AlterColumnOp(table, column, modify_nullable=False)
        began = self.at
        self.at += 1
        self.skip("PRECISION", "VARYING")
        if self.next("("):
            self.at = closing(self.tokens, self.at) + 1
        self.skip("UNSIGNED")
        yield Rewrites(table, column, self.since(began))
        if new != column:
            yield AlterColumnOp(table, column, modify_name=new)

    # Statements in strings ---------------------------------------------------------------------

    def _quoted(self) -> Iterator[Said]:
        """A block (``DO``), or a statement that is run from a string (``EXECUTE``)."""
        for token in self.rest():
            if token.kind == "string":
                yield from in_sql(_content(token.text), self._lexer)


def _content(string: str) -> str:
    """What a string says: between quotes, or between words in dollars."""
    if string.startswith("$"):
        tag = string.index("$", 1) + 1
        return string[tag:-tag]
    quote = string[-1]
    return string[string.index(quote) + 1 : -1].replace(quote * 2, quote)
