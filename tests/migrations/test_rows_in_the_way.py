"""Rows that do not fit into the new models: `apply` says what to do with them, and it works."""

from pathlib import Path

import pytest

from tests.migrations.support import ENGINES, Project
from tests.migrations.test_judge import created

pytestmark = pytest.mark.slow  # each replays and applies revisions

KEY = 'Column("id", Integer, primary_key=True)'
OLD = f'Table("t", metadata, {KEY}, Column("a", Text))'
NEW = {  # what becomes of the column, and what makes the rows fit
    "NOT NULL": ('Column("a", Text, nullable=False)', "UPDATE t SET a = 'z' WHERE a IS NULL"),
    "a CHECK": (
        """Column("a", Text), CheckConstraint("a > 'b'", name="c")""",
        "UPDATE t SET a = 'z'",
    ),
    "UNIQUE": ('Column("a", Text), UniqueConstraint("a", name="u")', "UPDATE t SET a = id"),
    "a unique index": ('Column("a", Text, index=True, unique=True)', "UPDATE t SET a = id"),
    "a reference": ('Column("a", Integer, ForeignKey("t.id"))', "UPDATE t SET a = id"),
    "another type": ('Column("a", Integer)', "UPDATE t SET a = 7"),
}


@pytest.mark.parametrize("case", NEW.values(), ids=NEW.keys())
@ENGINES
def test_they_are_changed_in_the_same_revision(project: Project, case: tuple[str, str]) -> None:
    new, mend = case
    project.models(OLD)
    assert created(project, "start")[0] == 0
    project.upgrade("orm")
    project.query("INSERT INTO t (id, a) VALUES (1, 'a'), (2, 'a'), (3, NULL)")
    project.models(f'Table("t", metadata, {KEY}, {new})')
    _, made, _ = created(project, "more")
    said = project.orm("apply", "--local", "--yes").stderr
    assert "0002_more.py failed" in said
    assert "in the same revision" in said
    file = Path(made["path"])
    start = "def upgrade() -> None:\n"
    file.write_text(file.read_text().replace(start, f'{start}    op.execute("{mend}")\n'))
    project.upgrade("orm")
    assert project.orm("check", "--local").exit_code == 0


@ENGINES
def test_a_new_column_of_a_key(project: Project) -> None:
    """Which a new column of a key that is alone would be given by itself."""
    project.models(OLD)
    assert created(project, "start")[0] == 0
    project.upgrade("orm")
    project.query("INSERT INTO t (id, a) VALUES (1, 'a')")
    project.models(OLD[:-1] + ', Column("b", Integer, primary_key=True))')
    created(project, "more")
    said = project.orm("apply", "--local", "--yes").stderr
    assert "nullable" in said
    assert "alembic_tmp" not in said


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
def test_a_deferred_constraint(project: Project) -> None:
    """Which PostgreSQL checks after the change of a row, and lets no table change before."""
    parent = 'Column("p", ForeignKey("t.id", deferrable=True, initially="DEFERRED"))'
    project.models(OLD[:-1] + f", {parent})")
    assert created(project, "start")[0] == 0
    project.upgrade("orm")
    project.query("INSERT INTO t (id, p) VALUES (1, 1), (2, 1)")
    project.models(OLD[:-1].replace("Text", "Text, nullable=False") + f", {parent})")
    file = Path(created(project, "more")[1]["path"])
    text, start = file.read_text(), "def upgrade() -> None:\n"
    assert "in the same revision" in project.orm("apply", "--local", "--yes").stderr
    change = """    op.execute("UPDATE t SET a = 'z', p = 2")\n"""
    file.write_text(text.replace(start, start + change))
    check = "op.execute('SET CONSTRAINTS ALL IMMEDIATE')"
    assert check in project.orm("apply", "--local", "--yes").stderr
    file.write_text(text.replace(start, f"{start}{change}    {check}\n"))
    project.upgrade("orm")
