"""The rows that stand in the way of a change of their table: how many, and an example.

A server names one of them at most. The statement that failed says what it asks of all rows: it is
read, and the rows that do not have it are counted.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orm.backends.tokens import Cursor, Lexer, Token, closing, split

__all__ = ["in_the_way", "in_the_way_ahead"]

_KINDS: Final = ("CHECK", "FOREIGN", "PRIMARY", "UNIQUE")
"""Of constraints."""
_FILLED: Final = frozenset({"AS", "AUTO_INCREMENT", "DEFAULT", "SERIAL"})
"""What gives a new column its values."""


class _Demand(NamedTuple):
    """What a statement asks of the rows of a table.

    Attributes:
        what: what fails, as people say it.
        rows: a query for the number of rows that are in the way, and an example of their values;
            None if the engine has none.
        how: what is wrong with these rows.
        names: of the table, and of what its rows are asked of.
        adds: whether the statement adds a rule: the rows must keep it after all its changes.
    """

    what: str
    rows: str | None
    how: str
    names: frozenset[str]
    adds: bool = True


def in_the_way(
    connection: Connection,
    statement: str,
    lexer: Lexer,
    *,
    no_value: Callable[[str, str], str | None] | None = None,
    when: str = "",
) -> Iterator[str]:
    """What a statement asks of rows that do not have it, as far as it can be told.

    Args:
        connection: on which nothing is left to be done: it is rolled back.
        statement: the ALTER TABLE or CREATE UNIQUE INDEX that rows have made fail.
        lexer: of the engine.
        no_value: makes, of a column and a type, the condition of a value that is none of the type;
            None if the engine has none, or makes none of this type.
        when: which rows were counted, if these are not those that the statement has met.

    Yields:
        Sentences for people, without a full stop.
    """
    tokens = [token for token in lexer(statement) if token.word != ";"]
    demands = list(_Statement(statement, tokens).demands(no_value))
    said = [sentence for one in demands if (sentence := _counted(connection, one, when))]
    if not said and len({one.what.partition(" ")[0] for one in demands}) == 1:
        said = [demands[-1].what]  # it is the only column, or key, that can be meant
    yield from said


def in_the_way_ahead(
    connection: Connection,
    statements: Iterable[str],
    lexer: Lexer,
    no_value: Callable[[str, str], str | None],
) -> str | None:
    """The first rows that will make a statement fail after others are done, or have committed.

    It looks up to the first statement that may change rows, and at no table or column that a
    statement before has made, renamed or changed.

    Args:
        connection: to the database that none of them has met yet. It is rolled back.
        statements: those that will be executed, in their order.
        lexer: of the engine.
        no_value: as for `in_the_way`.

    Returns:
        A sentence for people, without a full stop; None if no such rows are known.
    """
    changed: set[str] = set()
    for number, sql in enumerate(statements):
        tokens = lexer(sql)
        statement = _Statement(sql, tokens)
        if not statement.next("ALTER", "CREATE", "DROP", "RENAME"):
            break
        own = changed | set(map(_folded, _Statement(sql, tokens).changes()))
        for demand in statement.demands(no_value) if number else ():
            is_known = demand.names.isdisjoint(own if demand.adds else changed)
            if is_known and (said := _counted(connection, demand, "")):
                return said
        changed = own
    return None


def _counted(connection: Connection, demand: _Demand, when: str) -> str | None:
    if demand.rows is None:
        return None
    try:
        found = connection.exec_driver_sql(demand.rows).first()
    except DBAPIError:
        return None  # the revision may have made the column: the error is said without a number
    finally:
        connection.rollback()
    if found is None or not found[0]:
        return None
    count, *values = found
    example = f", such as {values[0] if len(values) == 1 else tuple(values)!r}" if values else ""
    return f"{demand.what}: {count} {demand.how}{example}{when}"


# What a statement asks -----------------------------------------------------------------------


class _Statement(Cursor):
    """An ALTER TABLE, one of its actions, or a CREATE INDEX.

    Names and conditions are those of the text, with their quotes.
    """

    def demands(self, no_value: Callable[[str, str], str | None] | None) -> Iterator[_Demand]:
        """What a statement asks."""
        if self.words[:3] == ["CREATE", "UNIQUE", "INDEX"]:
            self.go_past("ON")
            table, columns = self._named(), self._listed()
            self.go_past("WHERE")
            yield _unique(table, columns, self._written(self.rest()))
        elif self.next("ALTER") and "IGNORE" not in self.words[:3]:  # MariaDB, which deletes rows
            self.go_past("TABLE")
            table = self._named()
            for action in split(self.rest()):
                yield from _Statement(self.text, action)._of_action(table, no_value)

    def changes(self) -> Iterator[str]:
        """The names of tables and columns that mean something else after the statement."""
        if self.skip("ALTER"):
            self.go_past("TABLE")
            self._named()
            for action in split(self.rest()):
                one = _Statement(self.text, action)
                if not one.next("ADD"):
                    one.at = 1
                    one.skip("COLUMN", "TO")
                    yield one._named()
                    one.skip("TO")
                    yield one._named()
        elif self.next("CREATE", "DROP"):
            self.go_past("TABLE")  # an index changes no name
            yield from self.names()
        else:
            yield from (token.text for token in self.tokens)

    def _of_action(
        self, table: str, no_value: Callable[[str, str], str | None] | None
    ) -> Iterator[_Demand]:
        """What one of the actions of an ALTER TABLE asks."""
        if self.skip("ALTER"):
            self.skip("COLUMN")
            column = self._named()
            if self.words[self.at : self.at + 3] == ["SET", "NOT", "NULL"]:
                yield _required(table, column)
            elif "TYPE" in self.words[self.at : self.at + 3]:
                self.go_past("TYPE")
                began = self.at
                while not self.is_at_end and not self.next("COLLATE", "USING"):
                    self.at += 1
                yield _typed(table, column, self.since(began), no_value)
        elif self.next("MODIFY", "CHANGE"):
            is_renamed = self.next("CHANGE")
            self.skip("MODIFY", "CHANGE", "COLUMN")
            column = self._named()
            if is_renamed:
                self._named()
            definition = self._written(self.tokens[self.at :])
            if "AS" in self.words[self.at :]:
                return  # it is generated: what its values will be is not known
            if ("NOT", "NULL") in pairwise(self.words[self.at :]):
                yield _required(table, column)
            yield _typed(table, column, definition, no_value)
        elif self.skip("ADD"):
            if self.skip("CONSTRAINT") and not self.next(*_KINDS):
                self._named()
            if self.next(*_KINDS):
                yield from self._of_constraint(table)
            elif not self.next("INDEX", "KEY"):
                self.skip("COLUMN")
                yield from self._of_new_column(table, self._named())

    def _of_new_column(self, table: str, column: str) -> Iterator[_Demand]:
        definition = self.words[self.at :]
        if ("NOT", "NULL") in pairwise(definition) and _FILLED.isdisjoint(definition):
            what = f"{_plain(table)}.{_plain(column)} cannot be added NOT NULL without a default"
            rows = f"SELECT count(*) FROM {table}"
            yield _Demand(what, rows, "row(s) would have no value there", _names(table))

    def _of_constraint(self, table: str) -> Iterator[_Demand]:
        if ("NOT", "ENFORCED") in pairwise(self.words):
            return
        if self.skip("CHECK"):
            condition = self._written(self._enclosed())
            rows = f"SELECT count(*) FROM {table} WHERE NOT ({condition})"
            what = f"{_plain(table)} cannot have CHECK ({condition})"
            words = [token.text for token in self.tokens]
            yield _Demand(what, rows, "row(s) break it", _names(table, *words))
        elif self.next("UNIQUE", "PRIMARY"):
            is_primary, columns = self.next("PRIMARY"), self._listed()
            if is_primary:
                yield from (_required(table, column) for column in columns)
            yield _unique(table, columns, "")
        elif self.skip("FOREIGN"):
            own = self._listed()
            self.go_past("REFERENCES")
            yield _reference(table, own, self._named(), self._listed())

    def _named(self) -> str:
        """The name that comes next."""
        self.skip("IF", "EXISTS", "ONLY")
        began = self.at
        self.name()
        return self.since(began)

    def _enclosed(self) -> Sequence[Token]:
        """What stands in the parentheses that come next."""
        while not self.is_at_end and not self.next("("):
            self.at += 1
        began, self.at = self.at + 1, closing(self.tokens, self.at) + 1
        return self.tokens[began : self.at - 1]

    def _listed(self) -> list[str]:
        """The columns and expressions that come next in parentheses, without order and class."""
        return [self._written(_term(one)) for one in split(self._enclosed()) if one]

    def _written(self, tokens: Sequence[Token]) -> str:
        return self.text[tokens[0].start : tokens[-1].end] if tokens else ""


def _term(tokens: Sequence[Token]) -> Sequence[Token]:
    end = 0 if tokens[0].word == "(" else 1
    if end < len(tokens) and tokens[end].word == "(":
        end = closing(tokens, end) + 1
    return tokens[:end]


def _required(table: str, column: str) -> _Demand:
    return _Demand(
        f"{_plain(table)}.{_plain(column)} cannot become NOT NULL",
        f"SELECT count(*) FROM {table} WHERE {column} IS NULL",
        "row(s) have NULL there",
        _names(table, column),
        adds=False,
    )


def _typed(
    table: str, column: str, type_: str, no_value: Callable[[str, str], str | None] | None
) -> _Demand:
    rows = None
    if no_value is not None and (condition := no_value(column, type_)) is not None:
        misfits = f"FROM {table} WHERE {condition}"
        rows = f"SELECT count(*) OVER (), {column} {misfits} LIMIT 1"
    what = f"{_plain(table)}.{_plain(column)} cannot become {type_}"
    how = f"row(s) have a value there that is no {type_}"
    return _Demand(what, rows, how, _names(table, column), adds=False)


def _unique(table: str, terms: Sequence[str], where: str) -> _Demand:
    conditions = [f"{term} IS NOT NULL" for term in terms] + ([f"({where})"] if where else [])
    listed = ", ".join(terms)
    return _Demand(
        f"{_named(table, terms)} cannot be unique",
        f"SELECT count(*) OVER (), {listed} FROM {table} WHERE {' AND '.join(conditions)} "
        f"GROUP BY {listed} HAVING count(*) > 1 ORDER BY {listed} LIMIT 1",
        "value(s) are there more than once",
        _names(table, *terms),
    )


def _reference(table: str, columns: Sequence[str], parent: str, theirs: Sequence[str]) -> _Demand:
    same = " AND ".join(
        f"there.{its} = here.{column}" for its, column in zip(theirs, columns, strict=False)
    )
    present = " AND ".join(f"here.{column} IS NOT NULL" for column in columns)
    listed = ", ".join(f"here.{column}" for column in columns)
    return _Demand(
        f"{_named(table, columns)} cannot refer to {_named(parent, theirs)}",
        f"SELECT count(*) OVER (), {listed} FROM {table} AS here WHERE {present} AND NOT EXISTS "
        f"(SELECT 1 FROM {parent} AS there WHERE {same}) ORDER BY {listed} LIMIT 1",
        "row(s) have a value that is not there",
        _names(table, *columns, parent, *theirs),
    )


def _named(table: str, columns: Sequence[str]) -> str:
    names = [_plain(column) for column in columns]
    return _plain(table) + (f".{names[0]}" if len(names) == 1 else f" ({', '.join(names)})")


def _names(*names: str) -> frozenset[str]:
    return frozenset(map(_folded, names))


def _folded(name: str) -> str:
    return _plain(name).rpartition(".")[2].casefold()


def _plain(name: str) -> str:
    return re.sub(r"[\"`]", "", name)
