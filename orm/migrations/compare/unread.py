"""What a revision may lose after it has asked the database: its text is read, call by call.

Which branches it takes then is not known. Each call in its text that drops or deletes something may
happen, and so counts.
"""

import ast
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from alembic import op
from alembic.operations import BatchOperations
from alembic.operations.ops import DropColumnOp, DropTableOp, ExecuteSQLOp
from sqlalchemy import Delete
from sqlalchemy.types import TypeEngine

from orm.backends.tokens import Lexer
from orm.migrations.compare.effects.plain_sql import in_sql
from orm.migrations.compare.effects.said import Deletes, DropsSchema, Unnamed
from orm.migrations.internals import Recorded

__all__ = ["Unread", "unread"]

_CALLS: Final = frozenset({"drop_table", "drop_column", "alter_column"})
_DROPS: Final = frozenset({"drop", "drop_all"})
"""Methods of SQLAlchemy's tables and metadata; what they are given may be a connection."""


@dataclass
class Unread:
    """What stands in the text of a revision.

    Attributes:
        records: the operations that may lose something, and all statements.
        drops_unnamed: whether it drops or deletes something else, whose name the text does not say.
    """

    records: list[Recorded] = field(default_factory=list)
    drops_unnamed: bool = False


def unread(path: Path, module: ModuleType, records: list[Recorded], lexer: Lexer) -> Unread:
    """Look for what a revision drops or deletes somewhere in its text.

    Args:
        path: its file.
        module: the revision, as it was loaded.
        records: where its `op` notes each call. What is noted there meanwhile is taken away again.
        lexer: reads the statements in its strings.
    """
    reader = _Reader(vars(module), records, lexer)
    for statement in ast.parse(path.read_bytes()).body:
        if getattr(statement, "name", None) != "downgrade":
            reader.visit(statement)
    return reader.found


class _Reader(ast.NodeVisitor):
    def __init__(self, names: Mapping[str, Any], records: list[Recorded], lexer: Lexer) -> None:
        self.found = Unread()
        self._names: dict[str, Any] = {"op": op, **names}
        self._records = records
        self._lexer = lexer

    def _value(self, node: ast.expr) -> Any:
        """What an expression is; None if it takes local variables, or calls what may do things."""
        calls = (one.func for one in ast.walk(node) if isinstance(one, ast.Call))
        if all(self._only_describes(function) for function in calls):
            with suppress(Exception):
                return eval(compile(ast.Expression(node), "", "eval"), self._names)
        return None

    def _only_describes(self, function: ast.expr) -> bool:
        """Whether a function is one of `op`, a batch or SQLAlchemy, or makes a type."""
        while isinstance(function, ast.Attribute | ast.Call):
            function = function.value if isinstance(function, ast.Attribute) else function.func
        root = self._names.get(function.id) if isinstance(function, ast.Name) else None
        if root is op or isinstance(root, BatchOperations):
            return True
        if isinstance(root, type) and issubclass(root, TypeEngine):
            return True
        within = root.__name__ if isinstance(root, ModuleType) else getattr(root, "__module__", "")
        return str(within).partition(".")[0] == "sqlalchemy"

    def visit_With(self, node: ast.With) -> None:
        for item in node.items:
            if isinstance(item.optional_vars, ast.Name):
                self._names[item.optional_vars.id] = self._batch(item.context_expr)
        self.generic_visit(node)

    def _batch(self, node: ast.expr) -> Any:
        function = node.func if isinstance(node, ast.Call) else None
        if getattr(function, "attr", None) != "batch_alter_table":
            return None
        batch = self._value(node)
        return None if batch is None else batch.__enter__()

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.found.records.append(Recorded(ExecuteSQLOp(node.value), batch=False))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        parts = (one.value if isinstance(one, ast.Constant) else "unnamed" for one in node.values)
        if any(
            isinstance(said, Deletes | DropTableOp | DropColumnOp | DropsSchema | Unnamed)
            for said in in_sql("".join(map(str, parts)), self._lexer)
        ):
            self.found.drops_unnamed = True

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
        if name == "delete":
            statement = self._value(node)
            if isinstance(statement, Delete):
                self.found.records.append(Recorded(ExecuteSQLOp(statement), batch=False))
        elif name in _DROPS and node.args:
            self.found.drops_unnamed = True
        elif name in _CALLS:
            before = len(self._records)
            self._value(node)
            noted = self._records[before:]
            del self._records[before:]
            self.found.records.extend(noted)
            if not noted and name != "alter_column":
                self.found.drops_unnamed = True
