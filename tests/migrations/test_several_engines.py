"""A project whose revisions have to suit SQLite and PostgreSQL."""

import json
from os import environ
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.migrations.support import Project
from tests.migrations.test_judge import ID, created

pytestmark = pytest.mark.slow  # each replays and applies revisions

ENGINES = '[tool.orm]\nengines = ["sqlite", "postgresql"]\n'
FIRST = f"""
from sqlalchemy.dialects import postgresql
Table("users", metadata, {ID}, Column("age", Integer, nullable=False),
    Column("mood", Enum("good", "bad", name="mood", create_constraint=True)),
    Column("more", JSON().with_variant(postgresql.JSONB(), "postgresql")),
    Column("at", DateTime(timezone=True), server_default=func.now(), nullable=False),
    Column("yes", Boolean(create_constraint=True, name="yes"), server_default=true()),
    CheckConstraint("age > 0", "age"))
Table("a", metadata, {ID}, Column("b_id", ForeignKey("b.id"), index=True))
Table("b", metadata, {ID}, Column("a_id", ForeignKey("a.id"), index=True))
"""
SECOND = (
    FIRST.replace('"good", "bad"', '"good", "so so", "bad"')
    .replace('"age > 0"', '"age > 1"')
    .replace('Column("yes"', 'Column("state", Enum("on", "off", name="state")), Column("yes"')
    .replace(
        'Column("more"', 'Column("day", Date, server_default=func.current_date()), Column("more"'
    )
)
RENAMED = SECOND.replace('"age"', '"years"').replace('"age > 1"', '"years > 1"')


@pytest.fixture
def both(project: Project, postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Its local database is SQLite's, the remote one PostgreSQL's."""
    with (project.folder / "pyproject.toml").open("a") as settings:
        settings.write(ENGINES)
    monkeypatch.setenv("ORM_REMOTE_URL", postgresql_url)
    return project


def applied(project: Project) -> None:
    for target in ("--local", "--remote"):
        result = project.orm("apply", target, "--yes")
        assert result.exit_code == 0, result.output
        result = project.orm("check", target, "--json")
        assert json.loads(result.stdout) == [], result.stderr


def test_a_revision_suits_both(both: Project) -> None:
    both.models(FIRST)
    code, made, said = created(both, "start")
    assert code == 0, said
    text = Path(made["path"]).read_text()
    assert "sa.func.now()" in text
    assert "sa.true()" in text
    assert text.count("op.create_table('users'") == 1
    applied(both)

    both.models(SECOND)
    code, made, said = created(both, "more")
    assert code == 0, said
    assert made["left"] == []
    text = Path(made["path"]).read_text()
    assert 'if op.get_context().dialect.name == "postgresql":' in text
    assert 'if op.get_context().dialect.name == "sqlite":' in text
    applied(both)
    assert created(both, "again")[1] is None

    both.models(RENAMED)
    code, made, said = created(both, "rename", "--rename", "users.age:years")
    assert code == 0, said
    applied(both)


LABELS = f"""
Table("users", metadata, {ID}, Column("role", Enum({{}}, name="role"), nullable=False),
    Column("by", String({{}})))
"""


@pytest.mark.parametrize("change", ["label", "length"])
def test_both_refuse_what_is_not_in_the_new_type(both: Project, change: str) -> None:
    both.models(LABELS.format("'customer', 'staff', 'admin'", 40))
    assert created(both, "start")[0] == 0
    applied(both)
    remote = create_engine(environ["ORM_REMOTE_URL"].replace("+asyncpg", "+psycopg"))
    insert = "INSERT INTO users (id, role, by) VALUES (1, 'staff', 'DHL')"
    both.query(insert)
    with remote.begin() as connection:
        connection.execute(text(insert))
    label = change == "label"
    both.models(
        LABELS.format("'customer', 'admin', 'guest'", 40)
        if label
        else LABELS.format("'customer', 'staff', 'admin'", 2)
    )
    assert "users" in both.orm("check").stderr
    code, made, said = created(both, "less")
    assert code == 0, said
    column, value = ("users.role", "staff") if label else ("users.by", "DHL")
    review = "takes 'staff' from the enum of users.role" if label else "changes users.by from"
    assert review in Path(made["path"]).read_text()
    assert review in " ".join(one["message"] for one in made["effects"])
    for target in ("--local", "--remote"):
        said = both.orm("apply", target, "--yes", "--allow-data-loss").stderr
        assert f"{column} c" in said or f"{column} has" in said
        assert "1 row(s)" in said or not label
        assert f"'{value}'" in said or target == "--remote"
    update = "UPDATE users SET role = 'customer', by = 'D'"
    both.query(update)
    with remote.begin() as connection:
        connection.execute(text(update))
    remote.dispose()
    both.orm("apply", "--local", "--yes", "--allow-data-loss")
    both.orm("apply", "--remote", "--yes", "--allow-data-loss")
    applied(both)
    assert created(both, "again")[1] is None


def test_what_is_for_one_engine_only_is_named(both: Project) -> None:
    both.models("")
    both.revision(1, "op.execute('CREATE EXTENSION IF NOT EXISTS plpgsql')")
    said = both.orm("check").stderr
    assert "0001_by_hand.py cannot be replayed in an empty sqlite database in line 9" in said
    assert 'put it under if op.get_context().dialect.name == "…"' in said
    both.revision(
        1,
        "if op.get_context().dialect.name == 'postgresql':",
        "    op.execute('CREATE EXTENSION IF NOT EXISTS plpgsql')",
    )
    assert both.orm("check").exit_code == 0
    both.revision(1, "op.execute('PRAGMA user_version = 3')")
    said = both.orm("check").stderr
    assert "0001_by_hand.py cannot be replayed in an empty postgresql database in line 9" in said


ON_POSTGRESQL = "if op.get_context().dialect.name == 'postgresql':"


def test_a_squashed_history_suits_both(both: Project) -> None:
    both.models(FIRST)
    assert created(both, "start")[0] == 0
    both.models(SECOND)
    assert created(both, "more")[0] == 0
    view = "op.execute('CREATE VIEW grown AS SELECT id FROM users WHERE age > 17')"
    both.revision(3, ON_POSTGRESQL, f"    {view}")
    result = both.orm("squash")
    assert result.exit_code == 0, result.output
    assert both.revisions == ["0004_checkpoint.py"]
    written = both.file("0004_checkpoint.py").read_text()
    assert written.count("op.create_table('users'") == 1
    applied(both)
    remote = create_engine(environ["ORM_REMOTE_URL"].replace("+asyncpg", "+psycopg"))
    with remote.connect() as connection:
        assert connection.scalars(text("SELECT id FROM grown")).all() == []
    remote.dispose()


def test_what_a_checkpoint_lacks_on_one_engine_names_it(both: Project) -> None:
    both.models(f'Table("users", metadata, {ID})')
    assert created(both, "start")[0] == 0
    secured = "op.execute('ALTER TABLE users ENABLE ROW LEVEL SECURITY')"
    both.revision(2, ON_POSTGRESQL, f"    {secured}")
    result = both.orm("squash")
    assert result.exit_code == 1
    lacks = "on postgresql, the database has row level security users, and 0003 does not make it"
    assert lacks in result.output
    assert lacks in both.file("0003_checkpoint.py").read_text()


def test_a_difference_on_one_engine_names_it(both: Project) -> None:
    both.models(FIRST)
    assert created(both, "start")[0] == 0
    both.models(FIRST.replace('"good", "bad"', '"bad", "good"'))
    messages = [p["message"] for p in json.loads(both.orm("check", "--json").stdout)]
    assert any(message.startswith("on postgresql, type mood") for message in messages)
    assert any(message.startswith("on sqlite, constraint") for message in messages)


def test_models_for_one_engine_only(both: Project) -> None:
    both.models(f'from sqlalchemy.dialects.postgresql import *\nTable("t", metadata, {ID},'
                ' Column("at", INET))')  # fmt: skip
    code, _, said = created(both, "start")
    assert code == 1
    assert "empty sqlite database" in said
    assert "with_variant" in said
    assert both.revisions == []


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ('"sqlite"', "is not a list"),
        ("[]", "is not a list"),
        ("[3]", "is not a list"),
        ('["postgresql"]', "does not name sqlite"),
        ('["sqlite", "nosuch"]', "names 'nosuch'"),
    ],
)
def test_bad_values(project: Project, value: str, why: str) -> None:
    with (project.folder / "pyproject.toml").open("a") as settings:
        settings.write(f"[tool.orm]\nengines = {value}\n")
    for command in (["check"], ["create", "x"]):
        result = project.orm(*command)
        assert isinstance(result.exception, SystemExit), result.exception
        assert why in result.stderr
        assert "[tool.orm] engines" in result.stderr


INDEX = ', Index("ix_it", "age", postgresql_concurrently=True)'


def test_an_index_without_a_lock_is_no_matter_of_a_transaction(
    project: Project, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local database, SQLite's, is the only one that the revisions are tried on."""
    monkeypatch.setenv("ORM_REMOTE_URL", postgresql_url)
    table = f'Table("users", metadata, {ID}, Column("age", Integer)'
    project.models(table + INDEX + ")")
    assert created(project, "start")[0] == 0
    project.models(table + INDEX + INDEX.replace("ix_it", "ix_more") + ")")
    assert created(project, "more")[0] == 0
    applied(project)
    assert "CONCURRENTLY" not in "".join(project.file(one).read_text() for one in project.revisions)


def test_a_checkpoint_of_an_index_without_a_lock_suits_both(both: Project) -> None:
    table = f'Table("users", metadata, {ID}, Column("age", Integer)'
    both.models(table + ")")
    assert created(both, "start")[0] == 0
    both.models(table + INDEX + ")")
    assert created(both, "index")[0] == 0
    applied(both)
    assert both.orm("squash").exit_code == 0
    assert both.orm("check").output == "All is well.\n"
    applied(both)


def test_a_label_gets_another_name_as_the_guide_says(both: Project) -> None:
    table = f'Table("users", metadata, {ID}, Column("mood", Enum("good", "bad", name="mood")))'
    both.models(table)
    assert created(both, "start")[0] == 0
    applied(both)
    insert = "INSERT INTO users (id, mood) VALUES (1, 'good'), (2, 'bad')"
    both.query(insert)
    engine = create_engine(environ["ORM_REMOTE_URL"].replace("asyncpg", "psycopg"))
    with engine.begin() as connection:
        connection.execute(text(insert))
    both.models(table.replace("good", "fine"))
    code, made, said = created(both, "fine")
    assert code == 0, said
    first = (
        "def upgrade() -> None:\n"
        "    if op.get_context().dialect.name == 'postgresql':\n"
        "        op.execute(\"ALTER TYPE mood RENAME VALUE 'good' TO 'fine'\")\n"
        "    else:\n"
        "        op.execute(\"UPDATE users SET mood = 'fine' WHERE mood = 'good'\")\n"
    )
    file = Path(made["path"])
    file.write_text(file.read_text().replace("def upgrade() -> None:\n", first))
    applied(both)
    moods = "SELECT mood FROM users ORDER BY id"
    assert both.query(moods) == [("fine",), ("bad",)]
    with engine.begin() as connection:
        assert connection.execute(text(moods)).all() == [("fine",), ("bad",)]
    engine.dispose()
