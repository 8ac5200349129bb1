"""A revision that was written is read by people: no line of it is long."""

import ast
from pathlib import Path

import pytest

from tests.migrations.support import Project
from tests.migrations.test_judge import ID, created
from tests.migrations.test_several_engines import ENGINES

pytestmark = pytest.mark.slow  # each replays and applies revisions

LONGEST = 100
OLD = f"""
Table("customers_of_the_shop", metadata, {ID},
    Column("mood", Enum("good", "so so", "bad", name="mood")),
    Column("number_of_orders", String(200)), Column("joined_the_shop", String(40)))
"""
NEW = f"""
Table("customers_of_the_shop", metadata, {ID},
    Column("mood", Enum("good", "it's \\"so so\\"", name="mood")),
    Column("number_of_orders", Integer), Column("joined_the_shop", String(20)),
    Column("of_what", JSON, server_default='{{"a": "{"long " * 30}"}}'),
    CheckConstraint("number_of_orders > 1 AND number_of_orders <> 17 AND number_of_orders <> 18 AND"
        " number_of_orders <> 19 AND number_of_orders <> 20", name="orders"))
"""


def lines_of(path: str) -> list[str]:
    text = Path(path).read_text()
    ast.parse(text)
    return text.splitlines()


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("project", ["postgresql", "mariadb"], indirect=True)
def test_no_line_is_long(project: Project, several: bool) -> None:
    engine = project.url.partition("+")[0]
    if several:
        pyproject = project.folder / "pyproject.toml"
        other = ENGINES.replace("[tool.orm]\n", "").replace("postgresql", engine)
        pyproject.write_text(pyproject.read_text() + other)
    project.models(OLD)
    code, made, said = created(project, "start")
    assert code == 0, said
    project.upgrade("orm")
    project.query("INSERT INTO customers_of_the_shop (id, mood) VALUES (1, 'good')")
    project.models(NEW if engine == "postgresql" else NEW.replace("Integer), C", "String(300)), C"))
    code, made, said = created(project, "more")
    assert code == 0, said
    long = [line for line in lines_of(made["path"]) if len(line) > LONGEST]
    assert long == []
    project.upgrade("orm")
    assert project.orm("check", "--local").output == "All is well.\n"


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
def test_a_guard_of_several_lines_says_what_it_said(project: Project) -> None:
    """With a quote and a line break in a label, and where rows are in the way."""
    project.models(OLD.replace('"bad"', '"it\'s\\nbad"'))
    assert created(project, "start")[0] == 0
    project.upgrade("orm")
    project.query("INSERT INTO customers_of_the_shop (mood) VALUES ('it''s\nbad')")
    project.models(OLD.replace(', "bad"', ""))
    code, made, said = created(project, "less")
    assert code == 0, said
    text = Path(made["path"]).read_text()
    assert '"DO $guard$ DECLARE lost text; BEGIN\\n"' in text
    said = project.refusal("orm")
    assert "customers_of_the_shop.mood cannot lose labels that rows have: " in said
    assert (
        "in 1 row(s). Update these rows in the same revision, before this statement: UPDATE" in said
    )


@pytest.mark.parametrize("project", ["mysql"], indirect=True)
def test_what_is_not_written_is_said_in_short_lines(project: Project) -> None:
    columns = [f"a_column_of_some_name_{number}" for number in range(6)]
    listed = ", ".join(f'Column("{name}", Numeric(9, {{}}))' for name in columns)
    table = f'Table("some_table_of_some_name", metadata, {ID}, {listed})'
    project.models(table.replace("{}", "4"))
    assert created(project, "start")[0] == 0
    project.models(table.replace("{}", "2"))
    code, made, said = created(project, "rounds")
    assert code == 1, said
    lines = lines_of(made["path"])
    assert [line for line in lines if len(line) > LONGEST] == []
    assert any("not written yet: " in line for line in lines)
