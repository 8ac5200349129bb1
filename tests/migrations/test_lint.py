import json
from pathlib import Path

import pytest

from orm.backends.postgresql.squawk import lint
from tests.migrations.support import POSTGRESQL, Project


def test_a_lock_is_told() -> None:
    found = lint("ALTER TABLE users ADD COLUMN x INTEGER NOT NULL;")
    assert found is not None
    assert [one.rpartition(" ")[2] for one in found] == ["(adding-required-field)"]


def test_what_is_safe_is_not_told() -> None:
    assert lint("CREATE TABLE users (id BIGINT PRIMARY KEY, name VARCHAR(20));") == []
    assert lint("") == []


def test_without_the_linter_it_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lint("DROP TABLE users;") is None


def test_each_finding_names_its_statement_once() -> None:
    found = lint(
        "CREATE TABLE users (id BIGINT);\n\n"
        "ALTER TABLE users\n    ADD COLUMN x INTEGER NOT NULL,\n"
        "    ADD COLUMN y INTEGER NOT NULL;\n\n"
        "ALTER TABLE users DROP COLUMN id;\n\n"
    )
    assert found is not None
    assert [(one.partition(":")[0], one.rpartition(" ")[2]) for one in found] == [
        ("ALTER TABLE users ADD COLUMN x INTEGER NOT NULL, ADD COLUMN y INTEGER NOT NULL",
         "(adding-required-field)"),
        ("ALTER TABLE users DROP COLUMN id", "(ban-drop-column)"),
    ]  # fmt: skip


@POSTGRESQL
def test_an_autocommit_block_is_nothing_to_tell(project: Project) -> None:
    project.revision(1, "op.create_table('users', sa.Column('email', sa.Text))")
    project.upgrade("orm")
    project.revision(
        2,
        "with op.get_context().autocommit_block():",
        "    op.create_index('ix', 'users', ['email'], postgresql_concurrently=True)",
        "    op.create_index('ix2', 'users', ['email'], postgresql_concurrently=True)",
    )
    project.revision(3, "op.create_index('ix3', 'users', ['email'])")
    project.models(
        "Table('users', metadata, Column('email', Text),"
        " *(Index(name, 'email') for name in ('ix', 'ix2', 'ix3')))"
    )
    notes = [
        one["message"]
        for one in json.loads(project.orm("check", "--local", "--json").stdout)
        if one["kind"] == "note"
    ]
    assert [one.rpartition(" ")[2] for one in notes] == ["(require-concurrent-index-creation)"]
    assert notes[0].startswith("0003_by_hand: CREATE INDEX ix3 ON users (email): ")
