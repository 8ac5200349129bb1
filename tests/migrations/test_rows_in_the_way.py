"""Rows that do not fit into the new models: `apply` says what to do with them, and it works."""

from pathlib import Path

import pytest

from tests.migrations.support import ENGINES, MySQLProject, Project
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


@pytest.mark.parametrize("project", ["postgresql", "asyncpg", "mariadb", "mysql"], indirect=True)
def test_they_are_counted(project: Project) -> None:
    """By the statement that they make fail, with the column or key, and an example."""
    project.revision(
        1,
        "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True, autoincrement=False),"
        " sa.Column('a', sa.String(20)), sa.Column('p', sa.Integer))",
    )
    project.upgrade("orm")
    project.query(
        "INSERT INTO t (id, a, p) VALUES (1, 'a', 7), (2, 'a', 7), (3, 'b', 2), (4, NULL, 1)"
    )
    a_type = "existing_type=sa.String(20)"
    told = {
        f"op.alter_column('t', 'a', nullable=False, {a_type})": (
            "t.a cannot become NOT NULL: 1 row(s) have NULL there"
        ),
        f"op.alter_column('t', 'a', type_=sa.Integer(), {a_type}, postgresql_using='a::integer')": (
            "t.a cannot become INTEGER"
        ),
        f"op.alter_column('t', 'a', new_column_name='b', type_=sa.Date(), nullable=False, {a_type},"
        " postgresql_using='a::date')": "t.a cannot become ",
        "op.create_unique_constraint('u', 't', ['a'])": (
            "t.a cannot be unique: 1 value(s) are there more than once, such as 'a'"
        ),
        "op.create_index('i', 't', ['a', 'p'], unique=True)": (
            "t (a, p) cannot be unique: 1 value(s) are there more than once, such as ('a', 7)"
        ),
        "op.execute('CREATE UNIQUE INDEX i ON t (p DESC, a)')": (
            "t (p, a) cannot be unique: 1 value(s) are there more than once, such as (7, 'a')"
        ),
        "op.create_check_constraint('c', 't', 'p > 2 AND p % 7 = 0')": (
            "t cannot have CHECK (p > 2 AND p % 7 = 0): 2 row(s) break it"
        ),
        "op.create_foreign_key('f', 't', 't', ['p'], ['id'])": (
            "t.p cannot refer to t.id: 2 row(s) have a value that is not there, such as 7"
        ),
        "op.execute('ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (p)')"
        if isinstance(project, MySQLProject)
        else "op.execute('ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (p)')": (
            "t.p cannot be unique: 1 value(s) are there more than once, such as 7"
        ),
    }
    for line, sentence in told.items():
        project.revision(2, line)
        said = project.refusal("orm").replace("%%", "%")
        assert sentence in said, said
        assert "Update or delete such rows in the same revision, before this statement" in said
        if "sa.Integer()" in line and not isinstance(project, MySQLProject):
            assert (
                f"{sentence}: 3 row(s) have a value there that is no INTEGER, such as 'a'" in said
            )


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
def test_a_column_of_the_same_revision(project: Project) -> None:
    """Of which nothing is left when the rows are counted."""
    project.revision(1, "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))")
    project.upgrade("orm")
    project.query("INSERT INTO t (id) VALUES (1)")
    project.revision(
        2,
        "op.add_column('t', sa.Column('a', sa.Integer))",
        "op.alter_column('t', 'a', nullable=False)",
    )
    said = project.refusal("orm")
    assert "t.a cannot become NOT NULL\n" in said
    assert "in the same revision" in said


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
