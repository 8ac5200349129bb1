from pathlib import Path

import pytest

from orm.backends.postgresql.squawk import lint


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
