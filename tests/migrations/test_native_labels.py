"""Labels of an ENUM of MariaDB and MySQL that get other names, with rows that have the old ones."""

import json

import pytest

from tests.migrations.support import MYSQL, MySQLProject

pytestmark = MYSQL

ENUM = 'Enum({}, name="state")'
TABLE = """
class Own(TypeDecorator):
    impl = {enum}
    cache_ok = True

Table("users", metadata, Column("id", Integer, primary_key=True),
    Column("state", {type}, nullable=False), Column("n", Integer{more}))
"""


def models(project: MySQLProject, labels: str, *, own: bool = False, more: str = "") -> None:
    enum = ENUM.format(labels)
    project.models(TABLE.format(enum=enum, type="Own()" if own else enum, more=more))


def begun(project: MySQLProject, labels: str, *, own: bool = False) -> None:
    models(project, labels, own=own)
    assert project.orm("create", "users").exit_code == 0
    project.upgrade("orm")
    project.query("INSERT INTO users (id, state) VALUES (1, 'new'), (2, 'old'), (3, 'new')")


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("more", ["", ', server_default="1", comment="and more", index=True'])
def test_rows_get_the_new_label_between_two_steps(
    project: MySQLProject, own: bool, more: str
) -> None:
    begun(project, "'new', 'old'", own=own)
    models(project, "\"it's fresh\", 'old'", own=own, more=more)
    said = project.orm("create", "labels")
    assert said.exit_code == 0, said.output

    refused = " ".join(project.refusal("orm").split())
    assert "its first statement stays" in refused
    assert "2 row(s) have a value there" in refused
    assert "such as 'new'" in refused
    assert "Update or delete such rows in the same revision, before this statement" in refused
    rows = "SELECT state FROM users ORDER BY id"
    assert project.query(rows) == [("new",), ("old",), ("new",)]

    # What the message says is done: between the statement that was done and the one that failed.
    file = project.file("0002_labels.py")
    lines = file.read_text().splitlines()
    at = int(refused.split("failed in line ")[1].partition(",")[0])
    while not lines[at].startswith("    op.") and not lines[at].startswith("    with"):
        at -= 1
    update = "UPDATE users SET state = 'it''s fresh' WHERE state IN ('new')"
    lines.insert(at, f'    op.execute("{update}")')
    file.write_text("\n".join(lines) + "\n")
    project.upgrade("orm")
    assert project.query(rows) == [("it's fresh",), ("old",), ("it's fresh",)]
    assert json.loads(project.orm("check", "--local", "--json").stdout) == []


def test_labels_that_only_go_or_only_come_are_one_step(project: MySQLProject) -> None:
    begun(project, "'new', 'old', 'gone'")
    models(project, "'old', 'new'")
    assert project.orm("create", "fewer").exit_code == 0
    assert project.file("0002_fewer.py").read_text().count("alter_column") == 1
    models(project, "'older', 'old', 'new'")
    assert project.orm("create", "more").exit_code == 0
    assert project.file("0003_more.py").read_text().count("alter_column") == 1
    project.upgrade("orm")
    assert project.query("SELECT state FROM users ORDER BY id") == [("new",), ("old",), ("new",)]


def test_a_label_in_another_case_or_with_an_accent_is_one_step(project: MySQLProject) -> None:
    """To most collations it is the same label, which an ENUM cannot have twice."""
    begun(project, "'new', 'old', 'a'")
    models(project, "'New', 'old', 'ä'")
    assert project.orm("create", "case").exit_code == 0
    project.upgrade("orm")
    assert project.query("SELECT state FROM users ORDER BY id") == [("New",), ("old",), ("New",)]
    assert json.loads(project.orm("check", "--local", "--json").stdout) == []
