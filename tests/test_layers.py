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
    "migrations",
    "database",
    "connection",
    "session",
    "routing",
    "servers",
    "backends",
    "constraint",
    "bookmark",
    "model",
    "exceptions",
    "_greenlet",
    "_lazy",
    "_version",
)
PACKAGE = Path(__file__).parents[1] / "orm"
FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if file != PACKAGE / "__init__.py"]


def layer_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_layers(file: Path) -> Iterator[str]:
    """Of `orm.a.b` the `a`; importing from `orm` itself counts by the names that are imported."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} line {node.lineno}: imports are absolute"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            package, _, rest = f"{module}.".partition(".")
            if package == "orm":
                yield rest.partition(".")[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_imports_go_down(file: Path) -> None:
    layer = layer_of(file)
    assert layer in LAYERS, f"{layer} has no place in the list yet"
    for imported in imported_layers(file):
        assert imported in LAYERS, f"{file.name} imports orm.{imported}, which is no layer"
        assert LAYERS.index(layer) <= LAYERS.index(imported), f"{layer} imports {imported} above it"


def test_models_know_nothing_of_routing() -> None:
    for file in (PACKAGE.parent / "models").glob("*.py"):
        assert set(imported_layers(file)) <= {"model"}
