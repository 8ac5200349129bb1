"""What the pages about the code name exists: each file, each class, each function."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.test_layers import LAYERS

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PAGES: Final = ("architecture.md", "glossary.md")
PICTURES: Final = [
    DOCS / picture
    for picture in re.findall(r"\((images/\w+\.svg)\)", (DOCS / PAGES[0]).read_text("utf-8"))
]
FILE: Final = re.compile(r"[\w.-]+/[\w./-]*|\w+\.(?:py|md|toml)")
NAME: Final = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")


def defined(file: Path) -> Iterator[str]:
    """The names of a module, and `Class.member` for what each of its classes has."""
    for node in ast.parse(file.read_text("utf-8")).body:
        yield from names_of(node)
        if isinstance(node, ast.ClassDef):
            for member in ast.walk(node):
                yield from (f"{node.name}.{name}" for name in names_of(member))


def names_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            for part in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(part, ast.Name):
                    yield part.id
                elif isinstance(part, ast.Attribute):
                    yield part.attr


NAMES: Final = {name for file in (REPOSITORY / "orm").rglob("*.py") for name in defined(file)}
OTHERS: Final = {
    "orm",  # the command
    "orm.backends",  # the entry point group
    "orm_revisions",  # the table
    "ORM_REMOTE_URL",
    "logging",
    "max_wait",
    "db",
    "postgresql_cluster",
    "repair",
}
"""What code spans of the pages stand for besides files and names of the library."""


def missing(code: str) -> str | None:
    """The file or name in a piece of code that does not exist; None if there is none."""
    code = code.removesuffix("()")
    if FILE.fullmatch(code):
        return None if (REPOSITORY / code).exists() else code
    if NAME.fullmatch(code):
        return None if code in NAMES | OTHERS else code
    return None


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_exists(page: str) -> None:
    prose = re.sub(r"\{\w+\}`[^`]*`", "", (DOCS / page).read_text("utf-8"))
    codes = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose)
    assert len(codes) > 30
    assert [code for code in codes if missing(code)] == []


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.stem)
def test_what_a_picture_names_exists(picture: Path) -> None:
    lines = re.findall(r'class="code[^>]*>([^<]+)<', picture.read_text("utf-8"))
    codes = [code for line in lines for code in line.split(" → ")]
    assert len(codes) > 5
    assert [code for code in codes if missing(code)] == []


def test_layers_are_those_of_the_imports() -> None:
    page = (DOCS / "architecture.md").read_text("utf-8")
    listed = re.findall(r"^\| `orm/(\w+)(?:/|\.py)` ", page, re.MULTILINE)
    assert listed == [layer for layer in LAYERS if re.fullmatch(r"[a-z]\w*", layer)]


@pytest.mark.parametrize("package", ["routing", "servers", "migrations"])
def test_every_part_of_a_package_has_its_line(package: str) -> None:
    page = (DOCS / "architecture.md").read_text("utf-8")
    listed = re.findall(rf"^\| `orm/{package}/(\w+)(?:/|\.py)` ", page, re.MULTILINE)
    parts = {path.stem for path in (REPOSITORY / "orm" / package).iterdir()}
    parts = {part for part in parts if not part.startswith("_")}
    if package == "migrations":  # its rooms; the files beside them are their helpers
        parts = {part for part in parts if (REPOSITORY / "orm" / package / part).is_dir()}
    assert sorted(listed) == sorted(parts)


@pytest.mark.parametrize("code", ["orm/routing/nowhere.py", "Nothing", "Router.nothing", "a.b"])
def test_what_does_not_exist_is_found(code: str) -> None:
    assert missing(code) == code
