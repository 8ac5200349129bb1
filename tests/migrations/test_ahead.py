"""Where DDL commits, rows that would stop a revision half way are found before it begins."""

import pytest

from tests.migrations.support import MYSQL, MySQLProject

TABLES = (
    "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True),"
    " sa.Column('a', sa.String(20)), sa.Column('p', sa.Integer), sa.Column('n', sa.Integer))"
)
FIRST = "op.add_column('t', sa.Column('x', sa.Integer))"
A_TYPE = "existing_type=sa.String(20)"
OTHER_CASE = f"op.alter_column('t', 'a', type_=sa.String(20, collation='utf8mb4_bin'), {A_TYPE})"
IN_THE_WAY = {
    f"op.alter_column('t', 'a', nullable=False, {A_TYPE})": "t.a cannot become NOT NULL: 1 row(s)",
    "op.create_unique_constraint('u', 't', ['a'])": "t.a cannot be unique: 1 value(s)",
    "op.create_index('i', 't', ['a', 'p'], unique=True)": "t (a, p) cannot be unique: 1 value(s)",
    "op.create_check_constraint('c', 't', 'p > 1')": "t cannot have CHECK (p > 1): 1 row(s)",
    "op.create_foreign_key('f', 't', 't', ['p'], ['id'])": "t.p cannot refer to t.id: 2 row(s)",
    "op.alter_column('t', 'a', type_=sa.Enum('b', 'c'), existing_type=sa.String(20))": (
        "t.a cannot become ENUM('b','c') NULL: 2 row(s)"
    ),
    "op.execute('ALTER TABLE t ADD COLUMN y INTEGER NOT NULL')": (
        "t.y cannot be added NOT NULL without a default: 3 row(s)"
    ),
    "op.execute('ALTER TABLE t ADD UNIQUE KEY (a)')": "t.a cannot be unique: 1 value(s)",
}


@pytest.fixture
def rows(project: MySQLProject) -> MySQLProject:
    project.revision(1, TABLES)
    project.upgrade("orm")
    project.query("INSERT INTO t (id, a, p) VALUES (1, 'a', 7), (2, 'a', 7), (3, NULL, 1)")
    return project


@pytest.mark.parametrize("command_line", ["orm", "alembic"])
@pytest.mark.parametrize("line", IN_THE_WAY)
@MYSQL
def test_nothing_is_changed(rows: MySQLProject, line: str, command_line: str) -> None:
    rows.revision(2, FIRST, line)
    said = rows.refusal(command_line)
    assert f"what is pending would stop half way. {IN_THE_WAY[line]}" in said
    assert "Nothing was changed" in said
    assert rows.columns("t") == ["id", "a", "p", "n"]
    assert rows.applied == ["0001"]


@pytest.mark.parametrize("line", IN_THE_WAY)
@MYSQL
def test_a_later_revision_is_looked_at_as_well(rows: MySQLProject, line: str) -> None:
    rows.revision(2, FIRST)
    rows.revision(3, line)
    assert "would stop half way" in rows.refusal("orm")
    assert rows.applied == ["0001"]


@pytest.mark.parametrize(
    "lines",
    [
        ['op.execute("UPDATE t SET a = id, p = 3")'],
        ["op.drop_table('t')", TABLES],
        ["op.drop_column('t', 'a')", "op.add_column('t', sa.Column('a', sa.String(20)))"],
        ["op.execute('ALTER TABLE t RENAME COLUMN a TO b')", FIRST.replace("'x'", "'a'")],
        [OTHER_CASE],
    ],
)
@MYSQL
def test_what_a_statement_before_has_changed_is_not_judged(
    rows: MySQLProject, lines: list[str]
) -> None:
    rows.query("DELETE FROM t WHERE id = 2")
    rows.query("INSERT INTO t (id, a, p) VALUES (4, 'A', 7)")  # the same, but in the new collation
    rows.revision(2, *lines, "op.create_unique_constraint('u', 't', ['a'])")
    rows.upgrade("orm")
    assert rows.applied == ["0002"]


@MYSQL
def test_what_the_same_statement_changes_is_not_judged(rows: MySQLProject) -> None:
    rows.query("UPDATE t SET a = 'A' WHERE id = 2")  # the same, but in the new collation
    both = "MODIFY a VARCHAR(20) COLLATE utf8mb4_bin, ADD UNIQUE KEY (a)"
    rows.revision(2, FIRST, f"op.execute('ALTER TABLE t {both}')")
    rows.upgrade("orm")
    assert rows.applied == ["0002"]


@pytest.mark.parametrize("project", ["mysql"], indirect=True)
def test_a_rule_that_is_not_enforced_is_kept_by_all_rows(rows: MySQLProject) -> None:
    rows.revision(2, FIRST, "op.execute('ALTER TABLE t ADD CHECK (p > 1) NOT ENFORCED')")
    rows.upgrade("orm")


@MYSQL
def test_what_a_statement_asks_of_the_column_that_it_changes_is_judged(rows: MySQLProject) -> None:
    rows.revision(2, FIRST, "op.execute('ALTER TABLE t DROP n, MODIFY a VARCHAR(30) NOT NULL')")
    assert "t.a cannot become NOT NULL: 1 row(s)" in rows.refusal("orm")
    assert rows.applied == ["0001"]


@MYSQL
def test_what_was_done_of_a_half_done_revision_is_not_judged(project: MySQLProject) -> None:
    project.revision(1, TABLES)
    project.upgrade("orm")
    new = "op.execute('ALTER TABLE t ADD COLUMN y INTEGER NOT NULL')"
    project.revision(2, FIRST, new, "op.execute('ALTER TABLE absent ADD z INTEGER')")
    assert "its first 2 statements stay" in project.refusal("orm")
    project.query("INSERT INTO t (id, y) VALUES (1, 1)")
    project.revision(2, FIRST, new, "op.execute('ALTER TABLE t ADD z INTEGER')")
    project.upgrade("orm")
    assert project.columns("t") == ["id", "a", "p", "n", "x", "y", "z"]
