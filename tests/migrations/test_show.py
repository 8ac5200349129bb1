import json

import pytest

from tests.migrations.support import ENGINES, Project

USERS = "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True))"


def test_each_dialect_has_its_own_sql(project: Project) -> None:
    project.revision(1, USERS)
    project.revision(
        2,
        "with op.batch_alter_table('users') as batch:",
        "    batch.add_column(sa.Column('at', sa.DateTime(timezone=True)))",
        "    batch.alter_column('id', new_column_name='number', existing_type=sa.Integer)",
    )
    dialects = ("sqlite", "postgresql", "mysql")
    options = [option for dialect in dialects for option in ("--dialect", dialect)]
    result = project.orm("show", "0002", "--json", *options)
    assert result.exit_code == 0, result.output
    scripts = json.loads(result.stdout)["sql"]
    assert "_alembic_tmp_users" in scripts["sqlite"]
    assert "alembic_version" not in scripts["sqlite"]
    assert "ALTER TABLE users ADD COLUMN at TIMESTAMP WITH TIME ZONE" in scripts["postgresql"]
    assert "ALTER TABLE users RENAME id TO number" in scripts["postgresql"]
    assert "ALTER TABLE users RENAME COLUMN id TO number" in scripts["mysql"]
    told = project.orm("show", "0002", *options).stdout
    assert [line for line in told.splitlines() if line in {f"-- {d}" for d in dialects}] == [
        f"-- {dialect}" for dialect in dialects
    ]
    assert project.is_untouched


def test_only_that_revision_is_shown(project: Project) -> None:
    project.revision(1, USERS)
    project.revision(2, "op.execute(sa.text('INSERT INTO users VALUES (:id)').bindparams(id=7))")
    assert project.orm("show", "0002").stdout == "INSERT INTO users VALUES (7);\n"
    shown = project.orm("show", "0002", "--dialect", "postgresql").stdout
    assert shown == "INSERT INTO users VALUES (7);\n"


@ENGINES
def test_without_a_dialect_it_is_the_local_database_s(project: Project) -> None:
    project.revision(1, "op.create_table('t', sa.Column('at', sa.DateTime(timezone=True)))")
    shown = project.orm("show", "0001")
    assert shown.exit_code == 0, shown.output
    assert ("at TIMESTAMP WITH TIME ZONE" in shown.stdout) == project.url.startswith("postgresql")
    assert project.is_untouched


def test_what_is_asked_of_the_schema_is_not_shown(project: Project) -> None:
    project.revision(1, USERS)
    project.revision(
        2,
        "if 'age' not in [c['name'] for c in sa.inspect(op.get_bind()).get_columns('users')]:",
        "    with op.batch_alter_table('users', recreate='always') as batch:",
        "        batch.add_column(sa.Column('age', sa.Integer))",
    )
    shown = project.orm("show", "0002").stdout
    kinds = [line.split()[0] for line in shown.splitlines() if line and line[0] != "\t"]
    assert kinds == ["CREATE", ");", "INSERT", "FROM", "DROP", "PRAGMA", "ALTER", "PRAGMA"]


def test_a_statement_that_fails_is_not_shown(project: Project) -> None:
    project.revision(
        1,
        "try:",
        "    op.execute('DROP INDEX nothing')",
        "except sa.exc.OperationalError:",
        "    op.execute('CREATE TABLE t (a)')",
    )
    assert project.orm("show", "0001").stdout == "CREATE TABLE t (a);\n"


@ENGINES
def test_names_are_those_that_the_revision_says(project: Project) -> None:
    project.revision(
        1,
        "op.create_table('t', sa.Column('a', sa.Integer, unique=True), sa.CheckConstraint('a > 0',"
        " name='positive'))",
        "with op.batch_alter_table('t') as batch:",
        "    batch.create_index(None, ['a'])",
    )
    shown = project.orm("show", "0001").stdout
    for said in ("CONSTRAINT positive CHECK", "UNIQUE (a)", "INDEX ix_t_a"):
        assert said in shown
    assert "uq_t_a" not in shown, "a name of today's convention"


def test_nothing_is_shown_as_nothing(project: Project) -> None:
    project.revision(1, "pass")
    assert project.orm("show", "0001").stdout == "-- nothing\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0009"], "no revision '0009'"),
        (["0001", "--dialect", "nothing"], "no dialect 'nothing'"),
        (["0001", "--dialect", "postgresql"], "0001_by_hand.py cannot be written as a script"),
    ],
)
def test_what_cannot_be_shown_is_said(project: Project, arguments: list[str], message: str) -> None:
    project.revision(1, "op.get_bind().execute(sa.text('SELECT 1')).one()")
    result = project.orm("show", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_line_that_is_broken_before_it_is_said(project: Project) -> None:
    project.revision(1, "pass")
    project.revision(2, "pass")
    project.file("0001_by_hand.py").unlink()
    result = project.orm("show", "0002")
    assert result.exit_code == 1
    assert "0002_by_hand.py follows 0001, and there is no such file" in result.stderr
