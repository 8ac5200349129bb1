"""Where the models of a project are, found without running it."""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Models", "models_in", "models_named", "models_of"]

_NOT_MODELS: Final = sys.stdlib_module_names | {"alembic", "sqlalchemy", "__future__"}
_BASE: Final = re.compile(
    r"^class (\w+)\([^)]*\b(?:DeclarativeBase|DeclarativeBaseNoMeta)\b"
    r"|^(\w+)(?:: \w+)? = (?:\w+\.)*declarative_base\(",
    re.MULTILINE,
)
_MODEL: Final = re.compile(r"^ +__table(?:name)?__\b", re.MULTILINE)
_ELSEWHERE: Final = frozenset({"tests", "test", "docs", "build", "dist", "node_modules", "venv"})
_DEEPEST: Final = 4
"""Folders within folders: models lie near the top of a project."""


class Models(NamedTuple):
    """Where the models are.

    Attributes:
        imports: the statements that load them.
        metadata: an expression, such as ``Base.metadata``.
    """

    imports: Sequence[str]
    metadata: str


def models_named(name: str) -> Models:
    """The models that ``app.models:Base.metadata`` names."""
    module, _, path = name.partition(":")
    return Models([f"from {module} import {path.partition('.')[0]}"], path)


# From an env.py ----------------------------------------------------------------------------


def models_of(environment: Path) -> Models | None:
    """What an ``env.py`` of Alembic's imports, and its ``target_metadata``.

    Args:
        environment: the file.

    Returns:
        None if the file does not say it plainly, which is: what is last assigned to the name
        outside of functions is imported, or an attribute of what is imported.
    """
    try:
        module = ast.parse(environment.read_text("utf-8-sig"))
    except (OSError, SyntaxError, ValueError):
        return None
    imports = [node for node in module.body if _loads_models(node)]
    expression: ast.expr = ast.Name("target_metadata")
    for node in module.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name("target_metadata")], value=ast.expr() as value)
                | ast.AnnAssign(target=ast.Name("target_metadata"), value=ast.expr() as value)
            ):
                expression = value
            case _:
                pass
    root = expression
    while isinstance(root, ast.Attribute):
        root = root.value
    names = set(_names(imports))
    if not isinstance(root, ast.Name) or names.isdisjoint({root.id, "*"}):
        return None
    return Models([ast.unparse(node) for node in imports], ast.unparse(expression))


def _loads_models(node: ast.stmt) -> bool:
    match node:
        case ast.Import(names):
            modules = [alias.name for alias in names]
        case ast.ImportFrom(module=str(name), level=0):
            modules = [name]
        case _:
            return False
    return not any(module.partition(".")[0] in _NOT_MODELS for module in modules)


def _names(imports: Sequence[ast.stmt]) -> Iterator[str]:
    for node in imports:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0]


# From the models themselves ----------------------------------------------------------------


def models_in(folder: Path) -> Models | None:
    """The declarative base of a project's models, and the modules that use it.

    Args:
        folder: of the project.

    Returns:
        None if there is no such base, or more than one.
    """
    sources = dict(_sources(folder))
    bases = [
        (module, found[1] or found[2])
        for module, text in sources.items()
        for found in _BASE.finditer(text)
    ]
    if len(bases) != 1:
        return None
    [(module, base)] = bases
    others = sorted(
        other
        for other, text in sources.items()
        if other != module and _MODEL.search(text) and re.search(rf"\({base}\b", text)
    )
    loading = [f"import {other}" for other in others]
    return Models([*loading, f"from {module} import {base}"], f"{base}.metadata")


def _sources(folder: Path, within: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """The modules of a folder, by their names."""
    for path in sorted(folder.iterdir()):
        name = path.name.removesuffix(".py")
        if not name.isidentifier() or name in _ELSEWHERE:
            continue
        if path.is_dir():
            if len(within) < _DEEPEST and not (path / "env.py").exists():
                yield from _sources(path, () if within == () and name == "src" else (*within, name))
        elif path.suffix == ".py":
            module = within if name == "__init__" else (*within, name)
            if module:
                yield ".".join(module), path.read_text("utf-8", errors="replace")
