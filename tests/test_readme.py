"""What the README shows is what runs."""

import ast
import inspect
import re
from pathlib import Path
from textwrap import indent

from orm import Database

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text("utf-8")
FIRST, LAG = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_first_example_is_a_part_of_the_program_that_is_run() -> None:
    program = (REPOSITORY / "examples" / "first.py").read_text("utf-8")
    assert indent(FIRST, "    ") in program


async def test_example_of_lag(db: Database) -> None:
    code = compile(LAG, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, {"db": db})
    assert inspect.iscoroutine(running)
    await running


def test_tree_shows_every_part_of_the_library() -> None:
    shown = set(re.findall(r"^  ([a-z_]+)(?:\.py|/) ", README, re.MULTILINE))
    parts = {path.stem for path in (REPOSITORY / "orm").iterdir() if path.suffix != ".typed"}
    assert shown == {part for part in parts if not part.startswith("_")}
