"""Columns that models call by a key, which is not the name that the database has."""

import json

import pytest

from tests.migrations.support import ENGINES, Project
from tests.migrations.test_judge import created

pytestmark = [pytest.mark.slow, ENGINES]

P = 'Table("p", metadata, Column("id", Integer, key="pk", primary_key=True), {})\n'
C = (
    'Table("c", metadata, Column("id", Integer, key="ck", primary_key=True), '
    'Column("p_id", ForeignKey("p.pk", name="of"), key="parent"), '
    'Column("n", {}, key="number"), {})\n'
)
NAME = 'Column("name", String(9), key="called", server_default="x")'
OLD = P.format(NAME) + C.format("Integer", 'Index("ix_n", "number"), UniqueConstraint("parent")')
NEW = {
    "a column": P.format(f'{NAME}, Column("more", Integer, key="less", index=True)')
    + C.format("Integer", 'Index("ix_n", "number"), UniqueConstraint("parent")'),
    "an index": P.format(NAME) + C.format("Integer", 'Index("ix_n", "number", "parent")'),
    "a type": P.format(NAME)
    + C.format("String(20)", 'Index("ix_n", "number"), UniqueConstraint("parent")'),
    "NOT NULL": P.format(NAME)
    + C.format("Integer, nullable=False", 'Index("ix_n", "number"), UniqueConstraint("parent")'),
    "another key": OLD.replace("number", "other"),
    "the name of another": P.format(
        'Column("name", String(9), key="old"), Column("called", Integer, key="name")'
    )
    + C.format("Integer", 'Index("ix_n", "number"), UniqueConstraint("parent")'),
    "no column": P.format(NAME)
    + C.format("Integer", "").replace('Column("n", Integer, key="number"), ', ""),
    "a generated column": P.format(NAME)
    + C.format(
        "Integer",
        'Column("twice", Integer, Computed("n * 2", persisted=True), key="double"),'
        ' Index("ix_n", "number"), UniqueConstraint("parent"), CheckConstraint("n > 0", "few")',
    ),
}


def begun(project: Project) -> None:
    project.models(OLD)
    assert created(project, "start")[0] == 0
    project.upgrade("orm")
    project.query("INSERT INTO p (id, name) VALUES (1, 'x')")
    project.query("INSERT INTO c (id, p_id, n) VALUES (1, 1, 7)")


def is_well(project: Project) -> bool:
    problems = json.loads(project.orm("check", "--local", "--json").stdout)
    return [p for p in problems if p["kind"] != "foreign_key"] == []


@pytest.mark.parametrize("new", NEW.values(), ids=NEW.keys())
def test_it_is_written(project: Project, new: str) -> None:
    begun(project)
    project.models(new)
    code, _, said = created(project, "--no-rename", "more")
    assert code == 0, said
    project.upgrade("orm")
    assert is_well(project)
    assert project.query("SELECT p_id FROM c") == [(1,)]
    assert created(project, "again")[1] is None


def test_a_rename_keeps_the_values(project: Project) -> None:
    begun(project)
    project.models(OLD.replace('"n"', '"m"').replace('"p_id"', '"q_id"'))
    code, _, said = created(project, "--rename", "c.n:m", "--rename", "c.p_id:q_id", "names")
    assert code == 0, said
    project.upgrade("orm")
    assert is_well(project)
    assert project.query("SELECT q_id, m FROM c") == [(1, 7)]
    assert created(project, "again")[1] is None


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_checkpoint_is_written(project: Project, by_hand: bool) -> None:
    """Also of a table that differs from the models, of which it takes what is the same."""
    begun(project)
    last = "op.create_index('ix_more', 'p', ['name'])" if by_hand else "op.execute('SELECT 1')"
    project.revision(2, last)
    done = project.orm("squash")
    assert done.exit_code == 0, done.output
    assert (project.orm("check").exit_code == 0) is not by_hand
    text = project.file("0003_checkpoint.py").read_text()
    assert "server_default='x'" in text
    project.upgrade("orm")
