"""One revision file for several engines, out of what each of them needs."""

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby
from typing import Final

__all__ = ["merged"]

_NAME: Final = "op.get_context().dialect.name"
_INDENT: Final = "    "
_Placed = tuple["_Statement", frozenset[str]]
"""A statement, and the engines that need it."""


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement of a revision.

    Attributes:
        text: its lines and the comments before it, without their indentation.
        node: what it says.
    """

    text: str
    node: ast.stmt

    @property
    def code(self) -> str:
        """The same for statements that do the same."""
        return ast.dump(self.node)

    def indented(self, depth: int) -> str:
        """Its lines at a depth of blocks."""
        text = textwrap.indent(self.text, _INDENT * depth)
        [node] = ast.parse(f"if True:\n{text}").body
        assert isinstance(node, ast.If)
        if [ast.dump(inner) for inner in node.body] == [self.code]:
            return text
        # A string of several lines has become another one.
        return textwrap.indent(ast.unparse(self.node), _INDENT * depth)


def merged(texts: Mapping[str, str]) -> str:
    """The text of a revision that does on each engine what that engine's own text does.

    What all of them do is said once, and the rest under a condition.

    Args:
        texts: of the revision that each engine needs, by its name; they have the same ids.
    """
    engines = list(texts)
    found: list[_Placed] = []
    for engine, text in texts.items():
        found = list(_aligned(found, list(_statements(text, engine)), engine))
    lines: list[str] = []
    for those, group in groupby(found, key=lambda placed: placed[1]):
        everywhere = len(those) == len(engines)
        if not everywhere:
            lines.append(f"{_INDENT}if {_condition(sorted(those, key=engines.index))}:")
        lines += [statement.indented(1 if everywhere else 2) for statement, _ in group]
    body = "\n".join(lines) or f"{_INDENT}pass"
    return f"{_head(list(texts.values()))}{body}\n"


def _condition(engines: Sequence[str]) -> str:
    if len(engines) == 1:
        return f'{_NAME} == "{engines[0]}"'
    names = ", ".join(f'"{engine}"' for engine in engines)
    return f"{_NAME} in ({names})"


def _aligned(
    found: Sequence[_Placed], more: Sequence[_Statement], engine: str
) -> Iterator[_Placed]:
    """All statements, in an order that is each engine's own."""
    codes = [statement.code for statement, _ in found], [statement.code for statement in more]
    matcher = SequenceMatcher(None, *codes, autojunk=False)
    for kind, start, end, its_start, its_end in matcher.get_opcodes():
        if kind == "equal":
            yield from ((statement, those | {engine}) for statement, those in found[start:end])
        else:
            yield from found[start:end]
            yield from ((statement, frozenset({engine})) for statement in more[its_start:its_end])


# One text ----------------------------------------------------------------------------------


def _statements(text: str, engine: str) -> Iterator[_Statement]:
    """What a revision does on an engine."""
    function = _upgrade(text)
    yield from _of_block(text.splitlines(keepends=True), function, function.body, engine)


def _of_block(
    lines: Sequence[str], block: ast.stmt, nodes: Sequence[ast.stmt], engine: str
) -> Iterator[_Statement]:
    last = block.lineno
    for node in nodes:
        assert node.end_lineno is not None
        own = "".join(
            line for line in lines[last : node.end_lineno] if not line.lstrip().startswith("# ###")
        )
        last = node.end_lineno
        match node:
            case ast.Pass():
                pass
            case ast.If(test, inner, []) if ast.unparse(test).startswith(f"{_NAME} "):
                if eval(ast.unparse(test).replace(_NAME, repr(engine))):
                    yield from _of_block(lines, node, inner, engine)
            case _:
                # The lines of an operation that follow its first one are not indented by Alembic.
                text = re.sub(rf"^ {{1,{node.col_offset}}}", "", own, flags=re.MULTILINE)
                yield _Statement(text.strip("\n"), node)


def _upgrade(text: str) -> ast.FunctionDef:
    return next(
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and node.name == "upgrade"
    )


def _head(texts: Sequence[str]) -> str:
    """What stands before the body of the function, with what any of the texts imports."""
    first, *others = texts
    lines = first.splitlines(keepends=True)[: _upgrade(first).lineno]
    ours = {ast.dump(node) for node in _imports(first)}
    missing = {
        ast.dump(node): ast.get_source_segment(text, node)
        for text in others
        for node in _imports(text)
        if ast.dump(node) not in ours
    }
    after = max(node.end_lineno or 0 for node in _imports(first))
    lines[after:after] = [f"{source}\n" for source in missing.values()]
    return "".join(lines)


def _imports(text: str) -> list[ast.stmt]:
    """The imports, and the classes that Alembic takes for some."""
    return [
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef)
    ]
