"""Labels of an enum that the database keeps as a string, and strings that get shorter."""

import json
from pathlib import Path

import pytest

from tests.migrations.support import Project
from tests.migrations.test_judge import created

pytestmark = [
    pytest.mark.slow,  # each replays and applies revisions
    pytest.mark.parametrize("project", ["postgresql", "mariadb", "mysql"], indirect=True),
]

USERS = 'Table("users", metadata, Column("id", Integer, primary_key=True), Column("role", {}))'
ENUM = 'Enum({}, name="role", native_enum=False)'
OWN = "class Own(TypeDecorator):\n    impl = {}\n    cache_ok = True\n\n"


def begun(project: Project, models: str) -> None:
    project.models(models)
    assert created(project, "start")[0] == 0
    project.upgrade("orm")
    project.query("INSERT INTO users (id, role) VALUES (1, 'staff'), (2, 'staff'), (3, 'admin')")
    project.query("INSERT INTO users (id) VALUES (4)")


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("other", ["'admin', 'new'", "'admin', 'administrator'"])
def test_a_label_that_rows_have_is_not_removed(project: Project, own: bool, other: str) -> None:
    """Also where the length of the string changes, and in a type of one's own."""

    def models(labels: str) -> str:
        enum = ENUM.format(labels)
        return OWN.format(enum) + USERS.format("Own()") if own else USERS.format(enum)

    begun(project, models("'customer', 'staff', 'admin'"))
    project.models(models(other))
    said = project.orm("check").output
    assert "column users.role may have rows with 'customer', 'staff', which the enum of" in said
    code, made, said = created(project, "less")
    assert code == 0, said
    assert made is not None
    assert "takes 'customer', 'staff' from the enum of" in made["effects"][0]["message"]
    said = project.refusal("orm")
    assert "users.role cannot lose labels that rows have: 'staff' in 2 row(s). Update" in said
    assert "UPDATE users SET role = … WHERE role IN ('staff')" in said.replace("`", "")
    assert project.query("SELECT role FROM users ORDER BY id")[0] == ("staff",)
    project.query("UPDATE users SET role = 'admin' WHERE role = 'staff'")
    project.upgrade("orm")
    assert json.loads(project.orm("check", "--local", "--json").stdout) == []
    assert created(project, "again")[:2] == (0, None)


def test_labels_go_and_all_else_changes(project: Project) -> None:
    begun(project, USERS.format(ENUM.format("'customer', 'staff', 'admin'")))
    enum = ENUM.format("'staff', 'admin'")
    project.models(
        USERS.format(f'{enum}, server_default="staff", nullable=False, index=True')[:-1]
        + ', Column("n", Integer), Column("twice", Integer, Computed("n * 2", persisted=True)))'
    )
    code, _, said = created(project, "more")
    assert code == 0, said
    project.query("UPDATE users SET role = 'admin' WHERE role IS NULL")
    project.upgrade("orm")
    assert json.loads(project.orm("check", "--local", "--json").stdout) == []
    assert created(project, "again")[:2] == (0, None)


def test_a_label_in_another_case_is_another_one(project: Project) -> None:
    begun(project, USERS.format(ENUM.format("'staff', 'admin'")))
    project.models(USERS.format(ENUM.format("'Staff', 'admin'")))
    assert created(project, "case")[0] == 0
    assert "have: 'staff' in 2 row(s). Update" in project.refusal("orm")
    project.query("UPDATE users SET role = 'Staff' WHERE role = 'staff'")
    project.upgrade("orm")
    assert created(project, "again")[:2] == (0, None)


def test_no_label_stays(project: Project) -> None:
    begun(project, USERS.format(ENUM.format("'customer', 'staff', 'admin'")))
    project.models(USERS.format(f"{ENUM.format(repr('other'))}, nullable=False, index=True"))
    assert created(project, "none")[0] == 0
    assert "'admin' in 1 row(s), 'staff' in 2 row(s). Update" in project.refusal("orm")
    project.query("UPDATE users SET role = 'other'")
    project.upgrade("orm")
    assert created(project, "again")[:2] == (0, None)


def test_a_view_on_the_column_does_not_stand_in_the_way(project: Project) -> None:
    begun(project, USERS.format(ENUM.format("'customer', 'staff', 'admin'")))
    project.revision(2, "op.execute('CREATE VIEW roles AS SELECT role FROM users')")
    project.models(USERS.format(ENUM.format("'customer', 'staff', 'new'")))
    code, made, said = created(project, "less")
    assert code == 0, said
    assert made is not None
    assert Path(made["path"]).read_text().count("alter_column") == 1
    assert "'admin' in 1 row(s)" in project.refusal("orm")
    project.query("UPDATE users SET role = NULL WHERE role = 'admin'")
    project.upgrade("orm")
    assert created(project, "again")[:2] == (0, None)


def test_a_string_that_is_too_long_is_not_cut(project: Project) -> None:
    begun(project, USERS.format("String(40)"))
    project.models(USERS.format("String(3)"))
    code, _, said = created(project, "shorter")
    assert code == 0, said
    said = project.refusal("orm")
    assert "'role'" in said or "users.role" in said
    assert project.query("SELECT role FROM users ORDER BY id")[0] == ("staff",)
    project.query("UPDATE users SET role = 'abc'")
    project.upgrade("orm")
    assert created(project, "again")[:2] == (0, None)


@pytest.mark.parametrize("name", ["t", "u"])
def test_a_string_becomes_an_enum_only_where_every_value_is_a_label(
    project: Project, name: str
) -> None:
    key = 'Column("id", Integer, primary_key=True)'
    project.models(f'Table("t", metadata, {key}, Column("a", String(50), index=True))')
    assert project.orm("create", "start").exit_code == 0
    project.upgrade("orm")
    project.query("INSERT INTO t (id, a) VALUES (1, 'red'), (2, 'pink'), (3, NULL)")
    enum = 'Enum("red", "blue", native_enum=False, length=30, name="color")'
    project.models(f'Table("{name}", metadata, {key}, Column("a", {enum}, unique=True))')
    rename = ["--rename", "t:u"] if name == "u" else []
    done = project.orm("create", "colors", *rename)
    assert done.exit_code == 0, done.output
    refused = project.orm("apply", "--local", "--yes")
    assert refused.exit_code == 1, refused.output
    assert f"{name}.a" in refused.stderr
    project.query(f"UPDATE {project_table(project)} SET a = 'blue' WHERE a = 'pink'")
    project.upgrade("orm")
    assert project.orm("check", "--local").exit_code == 0


def project_table(project: Project) -> str:
    """The table of the test, by the name that it has now."""
    return "u" if "u" in project.tables else "t"
