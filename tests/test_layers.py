"""Imports inside the library go down one list, never up."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LAYERS = (
    "cli",
    "demo",
    "web",
    "telemetry",
    "testing",
    # The way of a revision, from its end to its beginning; then what all rooms share.
    "migrations.wrangler",
    "migrations.running",
    "migrations.compare",
    "migrations.ledger",
    "migrations.files",
    "migrations",
    "database",
    "chain",
    "attempts",
    "connection",
    "session",
    "routing",
    "servers",
    "backends",
    "constraint",
    "bookmark",
    "model",
    "_given",
    "_numbers",
    "exceptions",
    "_cache",
    "_greenlet",
    "_lazy",
    "_version",
)
PACKAGE = Path(__file__).parents[1] / "orm"
FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if file != PACKAGE / "__init__.py"]
LAZY = {PACKAGE / "migrations" / "__init__.py"}
"""Packages whose names are those of rooms above them, imported when they are first asked for."""


def layer_of(module: str) -> str | None:
    """The longest layer that the name of a module begins with; None if there is none."""
    parts = module.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in LAYERS), None)


def imported_modules(file: Path) -> Iterator[str]:
    """Of ``orm.a.b`` the ``a.b``; each name that is imported from a package counts as a module."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} line {node.lineno}: imports are absolute"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            package, _, rest = module.partition(".")
            if package == "orm":
                yield rest


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_imports_go_down(file: Path) -> None:
    path = file.relative_to(PACKAGE).with_suffix("")
    layer = layer_of(".".join(path.parts))
    assert layer is not None, f"{path} has no place in the list yet"
    for module in imported_modules(file):
        imported = layer_of(module)
        assert imported is not None, f"{file.name} imports orm.{module}, which is no layer"
        if file not in LAZY or not imported.startswith(f"{layer}."):
            assert LAYERS.index(layer) <= LAYERS.index(imported), (
                f"{layer} imports {imported} above it"
            )


def test_models_know_nothing_of_routing() -> None:
    for file in (PACKAGE.parent / "models").glob("*.py"):
        assert {layer_of(module) for module in imported_modules(file)} <= {"model"}
