"""How a SQLite database is defined, in a form in which two can be compared.

SQLite keeps the text of each CREATE statement, changed by later ALTER TABLE. Here that text is
taken apart, and what means the same reads the same: whitespace, comments, upper and lower case, and
the quotes of names make no difference, nor does the order of what stands in a CREATE TABLE, whether
a constraint stands in its column or after the columns, nor what would be so without being said
(NULL, ON DELETE NO ACTION, COLLATE BINARY, parentheses around a default).
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, text

from orm.backends.things import Thing

__all__ = ["definitions"]

_OBJECTS: Final = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<literal>x?'(?:[^']|'')*')
    |(?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
    |(?P<other>[\w$.]+|.)""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_OF_TABLES: Final = frozenset({"constraint", "primary", "unique", "check", "foreign"})
_OF_COLUMNS: Final = frozenset(
    {"constraint", "primary", "unique", "check", "references", "not", "null", "default", "collate"}
    | {"generated", "as"}
)
_KEYWORDS: Final = _OF_TABLES | _OF_COLUMNS
_WHOLE: Final = re.compile(r"'(-?(?:0|[1-9]\d*))'")
"""A number in quotes: the affinity of a column that has one makes the same of it without them."""


def definitions(connection: Connection) -> dict[Thing, str]:
    """Each thing of the schema, and its definition (`orm.backends.Migrations.definitions`)."""
    found: dict[Thing, str] = {}
    for kind, name, table, sql in connection.execute(text(_OBJECTS)):
        if name.startswith("sqlite_"):
            continue
        name, table, tokens = name.lower(), table.lower(), list(_tokens(sql))
        if kind == "table" and tokens[1] == "table":
            found.update(_table(name, tokens))
        elif kind == "index":
            found[Thing(kind, table, name)] = _said(t for t in tokens if t != "asc")
        else:
            found[Thing(kind, table, name)] = _said(tokens)
    return found


def _tokens(sql: str) -> Iterator[str]:
    for token in _TOKEN.finditer(sql):
        match token.lastgroup:
            case "literal":
                yield token[0]
            case "name":
                name = token[0][1:-1].lower()
                yield f'"{name}"' if name in _KEYWORDS else name
            case "other":
                yield token[0].lower()
            case _:
                pass


def _said(tokens: Iterator[str] | Sequence[str]) -> str:
    said = ""
    for token in tokens:
        said += token if not said or said[-1] == "(" or token in "),." else f" {token}"
    return said


class _Words:
    """The tokens of one definition, read from left to right."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._tokens)

    def are(self, *words: str) -> bool:
        """Whether these come next."""
        return tuple(self._tokens[self._at : self._at + len(words)]) == words

    def skip(self, *words: str) -> bool:
        """Read these, if they come next; whether they did."""
        found = self.are(*words)
        self._at += len(words) if found else 0
        return found

    def take(self) -> str:
        """Read the next one."""
        self._at += 1
        return self._tokens[self._at - 1]

    def group(self) -> str:
        """Read what is in parentheses; without those that make no difference."""
        begin, end = self._at, _closing(self._tokens, self._at)
        self._at = end + 1
        while self._tokens[begin] == "(" and _closing(self._tokens, begin) == end:
            begin, end = begin + 1, end - 1
        return _said(self._tokens[begin : end + 1])


def _closing(tokens: Sequence[str], opening: int) -> int:
    depth = 0
    for at in range(opening, len(tokens)):
        depth += (tokens[at] == "(") - (tokens[at] == ")")
        if depth == 0:
            return at
    return len(tokens) - 1


def _table(name: str, tokens: Sequence[str]) -> Iterator[tuple[Thing, str]]:
    opening = tokens.index("(")
    end = _closing(tokens, opening)
    options = _said(tokens[end + 1 :])
    yield Thing("table", name, name), options
    columns: dict[str, list[str]] = {}
    constraints: list[tuple[str | None, str]] = []
    for item in _split(tokens[opening + 1 : end]):
        words = _Words(item)
        if item[0] in _OF_TABLES:
            constraints += _constraints(words, columns)
        else:
            token = words.take()
            column = token[1:-1] if token[1:-1] in _KEYWORDS else token
            constraints += _column(words, token, columns.setdefault(column, []))
    for column, said in columns.items():
        is_rowid = said[0] == "integer" and "without rowid" not in options
        if is_rowid and any(text == f"primary key ({column})" for _, text in constraints):
            said = [part for part in said if part != "not null"]  # never NULL, said or not
        yield Thing("column", name, column), " ".join(filter(None, said))
    for constraint, definition in constraints:
        yield Thing("constraint", name, constraint or definition), definition


def _split(tokens: Sequence[str]) -> Iterator[list[str]]:
    """By the commas outside of parentheses."""
    items: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if depth == 0 and token == ",":
            items.append([])
        else:
            items[-1].append(token)
    yield from filter(None, items)


def _column(words: _Words, column: str, said: list[str]) -> Iterator[tuple[str | None, str]]:
    """Its constraints; what else there is to say of it is added to `said`, its type first."""
    kind: list[str] = []
    while words and not any(words.are(word) for word in _OF_COLUMNS):
        kind.append(words.take())
    parts: dict[str, str] = {}
    name: str | None = None
    while words:
        if words.skip("constraint"):
            name = words.take()
            continue
        if words.skip("primary", "key"):
            order = " desc" if words.skip("desc") else ""
            words.skip("asc")
            yield name, f"primary key ({column}{order}){_conflict(words)}"
            if words.skip("autoincrement"):
                parts["autoincrement"] = "autoincrement"
        elif words.skip("unique"):
            yield name, f"unique ({column}){_conflict(words)}"
        elif words.skip("check"):
            yield name, f"check ({words.group()})"
        elif words.are("references"):
            yield name, f"foreign key ({column}) {_references(words)}"
        elif words.skip("not", "null"):
            parts["null"] = f"not null{_conflict(words)}"
        elif words.skip("default"):
            parts["default"] = f"default {_default(words)}"
        elif words.skip("collate"):
            if (collation := words.take()) != "binary":
                parts["collate"] = f"collate {collation}"
        elif words.skip("as"):
            parts["as"] = f"as ({words.group()})"
            if words.skip("stored"):
                parts["as"] += " stored"
        else:  # NULL, GENERATED ALWAYS, VIRTUAL
            words.take()
        name = None
    order_of = ("collate", "null", "default", "as", "autoincrement")
    said += [_said(kind), *(parts[part] for part in order_of if part in parts)]


def _constraints(words: _Words, columns: dict[str, list[str]]) -> Iterator[tuple[str | None, str]]:
    """One constraint that stands after the columns."""
    name = words.take() if words.skip("constraint") else None
    if words.skip("check"):
        yield name, f"check ({words.group()})"
    elif words.skip("foreign", "key"):
        yield name, f"foreign key ({words.group()}) {_references(words)}"
    else:
        kind = "unique" if words.skip("unique") else f"{words.take()} {words.take()}"
        key = words.group().replace(" asc", "")
        if key.endswith(" autoincrement"):
            key = key.removesuffix(" autoincrement")
            columns[key].append("autoincrement")
        yield name, f"{kind} ({key}){_conflict(words)}"


def _conflict(words: _Words) -> str:
    if not words.skip("on", "conflict"):
        return ""
    how = words.take()
    return "" if how == "abort" else f" on conflict {how}"


def _default(words: _Words) -> str:
    if words.are("("):
        said = words.group()
    else:
        first = words.take()
        said = first + words.take() if first in "+-" else first
    said = said.replace("- ", "-", 1) if said.startswith("- ") else said
    return _WHOLE.sub(r"\1", said) if _WHOLE.fullmatch(said) else said


def _references(words: _Words) -> str:
    words.skip("references")
    parts = [f"references {words.take()}"]
    if words.are("("):
        parts[0] += f" ({words.group()})"
    actions: dict[str, str] = {}
    while True:
        event = next((e for e in ("delete", "update") if words.skip("on", e)), None)
        if event is not None:
            action = words.take()
            if action in ("set", "no"):
                action += f" {words.take()}"
            if action != "no action":
                actions[event] = f"on {event} {action}"
        elif words.skip("match"):  # SQLite takes no notice of it
            words.take()
        elif words.skip("not", "deferrable"):
            if words.skip("initially"):
                words.take()
        elif words.skip("deferrable"):
            if words.skip("initially") and words.take() == "deferred":
                actions["timing"] = "deferrable initially deferred"
        else:
            break
    order = ("delete", "update", "timing")
    return " ".join((*parts, *(actions[part] for part in order if part in actions)))
