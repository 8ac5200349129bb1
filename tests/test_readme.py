"""What the README shows is what runs."""

import ast
import asyncio
import inspect
import re
from pathlib import Path
from runpy import run_path
from textwrap import indent
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from orm import Database, migrations
from orm.testing.postgresql import Cluster

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text("utf-8")
FIRST, WEB, LAG, CLUSTER = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_first_example_is_a_part_of_the_program_that_is_run() -> None:
    program = (REPOSITORY / "examples" / "first.py").read_text("utf-8")
    assert indent(FIRST, "    ") in program


def test_web_example_is_an_application_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (REPOSITORY / "examples" / "web.py").read_text("utf-8")
    assert WEB in program
    for name in ("pyproject.toml", "alembic"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    monkeypatch.chdir(tmp_path)
    asyncio.run(migrations.apply(f"sqlite+aiosqlite:///{tmp_path}/app.db", folder=REPOSITORY))
    app = run_path(str(REPOSITORY / "examples" / "web.py"))["app"]
    with TestClient(app) as client:
        written = client.post("/posts", params={"title": "new"})
        bookmark = {"x-bookmark": written.headers["x-bookmark"]}
        assert client.get("/posts", headers=bookmark).json() == ["new"]


async def test_example_on_a_cluster(postgresql_cluster: Cluster) -> None:
    names = {"Database": Database, "text": text}
    exec(CLUSTER, names)
    test: Any = names["test_a_reader_without_a_bookmark"]
    await test(postgresql_cluster)


async def test_example_of_lag(db: Database) -> None:
    code = compile(LAG, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, {"db": db})
    assert inspect.iscoroutine(running)
    await running


def test_tree_shows_every_part_of_the_library() -> None:
    shown = set(re.findall(r"^  ([a-z_]+)(?:\.py|/) ", README, re.MULTILINE))
    parts = {path.stem for path in (REPOSITORY / "orm").iterdir() if path.suffix != ".typed"}
    assert shown == {part for part in parts if not part.startswith("_")}
