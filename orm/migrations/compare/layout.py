"""The statements of a revision file in lines that are not long, as a person would write them."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["lay_out"]

_LONGEST: Final = 100
"""Characters of a line."""
_INDENT: Final = "    "


def lay_out(path: Path) -> None:
    """Break the long lines of a revision that was just written; it says what it said.

    Args:
        path: its file. There are no comments within statements.
    """
    text = path.read_text("utf-8")
    path.write_text(_laid_out(text), "utf-8")


def _laid_out(text: str) -> str:
    lines = text.splitlines(keepends=True)
    for node in reversed(list(_statements(ast.parse(text)))):
        begin, end = node.lineno - 1, node.end_lineno or node.lineno
        if any(len(line.rstrip()) > _LONGEST for line in lines[begin:end]):
            indent = " " * node.col_offset
            made = _Statement(text).lines(node, _LONGEST - len(indent))
            lines[begin:end] = [f"{indent}{line}\n" for line in made]
    laid_out = "".join(lines)
    same = ast.dump(ast.parse(laid_out)) == ast.dump(ast.parse(text))
    return laid_out if same else text


def _statements(module: ast.Module) -> Iterator[ast.stmt]:
    """The calls of the function, in their order."""
    for function in module.body:
        if isinstance(function, ast.FunctionDef):
            found = [one for one in ast.walk(function) if isinstance(one, ast.Expr | ast.Raise)]
            yield from sorted(found, key=lambda one: one.lineno)


class _Statement:
    """Lays out parts of a file.

    Args:
        text: of the file.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def lines(self, node: ast.AST, room: int) -> list[str]:
        """Code that says the same.

        Args:
            node: a statement or an expression.
            room: how long a line may be.
        """
        said = ast.get_source_segment(self._text, node) or ""
        if "\n" not in said and len(said) <= room:
            return [said]
        match node:
            case ast.Expr(value):
                return self.lines(value, room)
            case ast.Raise(exc=ast.expr() as error):
                first, *rest = self.lines(error, room)
                return [f"raise {first}", *rest]
            case ast.Call(function, arguments, keywords):
                begin = f"{self._flat(function)}("
                if "\n" in said and arguments and arguments[0].lineno == node.lineno:
                    # as Alembic has it: op.create_table('users',
                    head, *arguments = arguments
                    begin += f"{self._flat(head)},"
                items = [self.lines(one, room - 5) for one in arguments]
                items += [self._keyword(one, room - 5) for one in keywords]
                return _block(begin, items, ")", comma=len(items) > 1)
            case ast.List(items):
                return _block("[", [self.lines(one, room - 5) for one in items], "]")
            case ast.Dict(keys, values):
                pairs = [
                    _after(f"{self._flat(key)}: ", self.lines(value, room - 5))
                    for key, value in zip(keys, values, strict=True)
                    if key is not None
                ]
                return _block("{", pairs, "}")
            case ast.Subscript(value, index):
                *before, last = self.lines(value, room)
                return [*before, f"{last}[{self._flat(index)}]"]
            case ast.Constant(str(value)):
                return _strings(value, room - 2)
            case _:
                return [said] if "\n" not in said else [ast.unparse(node)]

    def _keyword(self, keyword: ast.keyword, room: int) -> list[str]:
        lines = self.lines(keyword.value, room - len(keyword.arg or "") - 1)
        return _after(f"{keyword.arg}=" if keyword.arg else "**", lines)

    def _flat(self, node: ast.AST) -> str:
        return ast.get_source_segment(self._text, node) or ""


def _block(
    begin: str, items: Sequence[Sequence[str]], end: str, *, comma: bool = True
) -> list[str]:
    lines = [
        f"{_INDENT}{line}{',' if comma and number == len(item) else ''}"
        for item in items
        for number, line in enumerate(item, start=1)
    ]
    return [begin, *lines, end]


def _after(name: str, lines: Sequence[str]) -> list[str]:
    """What follows a name; several strings are one only within parentheses."""
    if len(lines) > 1 and lines[0].startswith(("'", '"')):
        return [f"{name}(", *(f"{_INDENT}{line}" for line in lines), ")"]
    return [f"{name}{lines[0]}", *lines[1:]]


def _strings(value: str, room: int) -> list[str]:
    """A string as several, which Python joins: their indentation changes nothing."""
    found: list[str] = []
    for line in value.splitlines(keepends=True):
        part = ""
        for word in re.findall(r"\s*\S+\s*", line) or [line]:
            if part and len(repr(part + word)) > room:
                found.append(part)
                part = ""
            part += word
        found.append(part)
    codes = [repr(part) for part in found]
    return [code if '"' in code else f'"{code[1:-1]}"' for code in codes]
