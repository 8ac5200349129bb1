"""Revision files, read without running them: fast, and safe whatever a file contains."""

import ast
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orm.exceptions import MigrationError
from orm.migrations.revision import Revision

__all__ = ["read", "read_file"]

_OURS: Final = frozenset({"models", "orm"})
_MAY_IMPORT_OURS: Final = re.compile(r"\b(models|orm)\b")
_BRANCHING: Final = ("branch_labels", "depends_on")


def read(folder: Path) -> list[Revision]:
    """The revisions in a folder, by the names of their files.

    Raises:
        MigrationError: the first file that cannot be a revision, and why.
    """
    # What Alembic takes for a revision: not an editor's lock file, and not a package.
    files = (file for file in folder.glob("*.py") if not file.name.startswith((".#", "__init__")))
    return [read_file(file) for file in sorted(files)]


def read_file(file: Path) -> Revision:
    """Read one revision.

    Raises:
        MigrationError: the file cannot be a revision; says why, and what to do.
    """
    try:
        # As Python itself reads it: any line ending, with or without a byte order mark.
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MigrationError(
            f"{file} is not UTF-8 (byte {error.start}): save it in that encoding"
        ) from error
    try:
        module = ast.parse(text, file)
    except SyntaxError as error:
        raise MigrationError(
            f"{file} is not valid Python, line {error.lineno}: {error.msg}"
        ) from error
    except ValueError as error:  # a null byte, in Python 3.11
        raise MigrationError(f"{file} is not valid Python: {error}") from error

    values, functions = _top_level(module)
    if "revision" not in values:
        raise MigrationError(
            f'{file} names no revision: give it one (revision = "…"), or delete the file'
        )
    if "downgrade" in functions:
        raise MigrationError(
            f"{file} has a downgrade function, and migrations only go forward: delete the function"
        )
    if "upgrade" not in functions:
        raise MigrationError(f"{file} has no upgrade function: write one, or delete the file")
    for name in _BRANCHING:
        if not _is_none(values.get(name)):
            raise MigrationError(f"{file} sets {name}, and revisions follow in one line: delete it")
    if _MAY_IMPORT_OURS.search(text):
        for imported in _imports(module):
            if imported.partition(".")[0] in _OURS:
                raise MigrationError(
                    f"{file} imports {imported}, which changes over time, and a revision must "
                    "not: write out what it needs (sa.table, sa.column, plain SQL)"
                )
    down = values.get("down_revision")
    return Revision(
        id=_text(file, "revision", values["revision"]),
        down=None if down is None or _is_none(down) else _text(file, "down_revision", down),
        name=file.stem,
        path=file,
        message=(ast.get_docstring(module) or "").partition("\n\n")[0],
        checksum=hashlib.sha256(text.encode()).hexdigest(),
        text=text,
        replaces=_replaced(file, values.get("replaces")),
    )


def _top_level(module: ast.Module) -> tuple[dict[str, ast.expr], set[str]]:
    """What a module assigns to names, and the names of its functions."""
    values: dict[str, ast.expr] = {}
    functions: set[str] = set()
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                values[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                values[name] = value
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                functions.add(name)
            case _:
                pass
    return values, functions


def _imports(module: ast.Module) -> Iterator[str]:
    """The modules that are imported anywhere in a module."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _replaced(file: Path, value: ast.expr | None) -> tuple[str, ...]:
    """The ends of what a checkpoint stands for: ``"0001:0017"`` ends with ``"0017"``."""
    match value:
        case None | ast.Constant(None):
            return ()
        case ast.Constant(str(one)):
            ends = [one]
        case ast.Tuple(several) if all(isinstance(one, ast.Constant) for one in several):
            ends = [str(one.value) for one in several if isinstance(one, ast.Constant)]
        case _:
            ends = []
    if not ends or not all(ends):
        raise MigrationError(
            f'{file} must write out what it replaces, as in replaces = "0001:0017", or the heads '
            'of another folder, as in replaces = ("4a5b6c7d8e9f",)'
        )
    return tuple(end.rpartition(":")[2] for end in ends)


def _is_none(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and value.value is None)


def _text(file: Path, name: str, value: ast.expr) -> str:
    if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
        return value.value
    if isinstance(value, ast.Tuple | ast.List):
        raise MigrationError(f"{file} merges branches ({name}): revisions follow in one line")
    raise MigrationError(f'{file} must write its {name} out, as in {name} = "0002"')
