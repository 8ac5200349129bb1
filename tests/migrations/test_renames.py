"""A rename and another change of the same table or column in one revision; names that follow."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.migrations.support import Project
from tests.migrations.test_judge import created

pytestmark = pytest.mark.slow  # each replays and applies revisions
ALL = pytest.mark.parametrize(
    "project", ["sqlite", "postgresql", "mariadb", "mysql"], indirect=True
)
POSTGRESQL = pytest.mark.parametrize("project", ["postgresql"], indirect=True)
CONVENTION = pytest.mark.parametrize("convention", [True, False])

ID = 'Column("id", Integer, primary_key=True)'
USERS = f'Table("users", metadata, {ID}, Column("nick", {{}}){{}})'
HANDLE = USERS.replace("nick", "handle")
PEOPLE = USERS.replace("users", "people")
NICK = "String(40)"
CHECK = """, CheckConstraint("{0} <> 'y'", "not_y"), Column("more", Integer)"""
OTHER = 'String(30), nullable=False, server_default="x", unique=True'


class Case(NamedTuple):
    """Models that follow those with users, and what of them is a rename."""

    new: str
    rename: str
    query: str
    value: object = "3"

    @property
    def column(self) -> str:
        """The column with the value."""
        return "users.handle" if self.query == OF_COLUMN else "people.nick"


OF_COLUMN = "SELECT handle FROM users"
OF_TABLE = "SELECT nick FROM people"
CASES = {
    "column, much": Case(
        HANDLE.format(OTHER, CHECK.format("handle")), "users.nick:handle", OF_COLUMN
    ),
    "column, keys": Case(
        HANDLE.format(
            'String(50), comment="so", index=True, unique=True',
            ', Column("by", ForeignKey("users.id"))',
        ),
        "users.nick:handle",
        OF_COLUMN,
    ),
    "column, type": Case(HANDLE.format("Integer", ""), "users.nick:handle", OF_COLUMN, 3),
    "table, much": Case(PEOPLE.format(OTHER, CHECK.format("nick")), "users:people", OF_TABLE),
    "table, keys": Case(
        PEOPLE.format(
            'String(50), comment="so", index=True, unique=True',
            ', Column("by", ForeignKey("people.id"))',
        ),
        "users:people",
        OF_TABLE,
    ),
    "table, type": Case(PEOPLE.format("Integer", ""), "users:people", OF_TABLE, 3),
}


def models(project: Project, code: str, convention: bool) -> None:
    if convention:  # which names a CHECK by its own name
        project.models(
            code.replace('CheckConstraint("age > 0")', 'CheckConstraint("age > 0", "x")')
        )
    else:
        project.models(f"metadata = MetaData()\n{code}")


def begun(project: Project) -> None:
    code, _, said = created(project, "start")
    assert code == 0, said


def well(project: Project) -> None:
    project.upgrade("orm")
    found = json.loads(project.orm("check", "--local", "--json").stdout)
    assert [one for one in found if one["kind"] != "foreign_key"] == []
    assert created(project, "again")[1] is None


@ALL
@CONVENTION
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_rename_and_a_change(project: Project, case: Case, convention: bool) -> None:
    models(project, USERS.format(NICK, ""), convention)
    begun(project)
    project.upgrade("orm")
    project.query("INSERT INTO users (nick) VALUES ('3')")
    models(project, case.new, convention)
    code, made, said = created(project, "both", "--rename", case.rename)
    assert made is not None
    if case.value == 3 and project.url.startswith(("mariadb", "mysql")):
        # A text that becomes a number there is left to be written by hand.
        assert [one["subject"] for one in made["left"]] == [f"column {case.column}"]
        return
    assert code == 0, said
    assert made["left"] == []
    well(project)
    assert project.query(case.query) == [(case.value,)]


FULL = f"""
Table("users", metadata, {ID}, Column("nick", String(40), unique=True),
    Column("age", Integer), CheckConstraint("age > 0"), Column("boss_id", ForeignKey("users.id")),
    Column("count", Integer, Identity(), nullable=False))
"""
FULL_PEOPLE = FULL.replace("users", "people")
POSTS = f'\nTable("posts", metadata, {ID}, Column("user_id", ForeignKey("{{}}.id", name="by")))'
NAMES = """
SELECT conname::text FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    AND contype <> 'n'
UNION ALL SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
    AND relkind IN ('S', 'i')
ORDER BY 1"""


@ALL
@pytest.mark.parametrize("first", ["users:people", "people.nick:handle"])
def test_a_table_and_its_column(project: Project, first: str) -> None:
    models(project, USERS.format(NICK, ""), True)
    begun(project)
    project.upgrade("orm")
    project.query("INSERT INTO users (nick) VALUES ('3')")
    models(project, PEOPLE.replace("nick", "handle").format(NICK, ""), True)
    other = {"users:people", "people.nick:handle"} - {first}
    code, made, said = created(project, "both", "--rename", first, "--rename", *other)
    assert code == 0, said
    assert {effect["kind"] for effect in made["effects"]} == {"rename"}
    well(project)
    assert project.query("SELECT handle FROM people") == [("3",)]


def test_a_rename_that_is_never_possible(project: Project) -> None:
    models(project, USERS.format(NICK, ""), True)
    begun(project)
    models(project, PEOPLE.format(NICK, ""), True)
    asked = ["--rename=users:people", "--rename=people.nick:handle"]
    result = project.orm("create", "both", *asked)
    assert result.exit_code == 1
    assert "--rename people.nick:handle: the models do not have the new name" in result.stderr
    assert len(project.revisions) == 1


def names(project: Project) -> list[str]:
    """Of the constraints, indexes and sequences of the application's tables."""
    return [name for (name,) in project.query(NAMES) if not name.startswith(("orm_", "alembic_"))]


def names_of_models(project: Project, code: str, convention: bool) -> list[str]:
    """What they are where the models make all."""
    project.clear()
    for file in project.revisions:
        project.file(file).unlink()
    models(project, code, convention)
    assert created(project, "anew")[0] == 0
    project.upgrade("orm")
    return names(project)


@POSTGRESQL
@CONVENTION
@pytest.mark.parametrize("at_once", [True, False])
def test_a_table_is_reborn(project: Project, convention: bool, at_once: bool) -> None:
    """By the name that another one had, in the same revision or in the next one."""
    models(project, FULL + POSTS.format("users"), convention)
    begun(project)
    project.upgrade("orm")
    project.query("INSERT INTO users (nick, age) VALUES ('x', 3)")
    both = FULL_PEOPLE + FULL + POSTS.format("people")
    if not at_once:
        models(project, FULL_PEOPLE + POSTS.format("people"), convention)
        code, made, said = created(project, "rename", "--rename", "users:people")
        assert code == 0, said
        assert made is not None
        assert [one["kind"] for one in made["effects"]] == ["rename"]
        well(project)
        assert [name for name in names(project) if "users" in name] == []
    models(project, both, convention)
    hints = ["--rename", "users:people"] if at_once else []
    code, _, said = created(project, "reborn", *hints)
    assert code == 0, said
    well(project)
    assert project.query("INSERT INTO people (nick) VALUES ('y') RETURNING id, count") == [(2, 2)]
    assert project.query("INSERT INTO users (nick) VALUES ('y') RETURNING id, count") == [(1, 1)]
    assert project.query("SELECT nick, age FROM people ORDER BY id") == [("x", 3), ("y", None)]
    followed = names(project)
    assert followed == names_of_models(project, both, convention)


@ALL
@CONVENTION
@pytest.mark.parametrize("by_hand", [True, False])
def test_names_that_a_new_table_needs(project: Project, convention: bool, by_hand: bool) -> None:
    """Also after a rename that was written by hand, and of which the names know nothing."""
    models(project, FULL.replace(", Identity()", ""), convention)
    begun(project)
    project.upgrade("orm")
    project.query("INSERT INTO users (nick, age, count) VALUES ('x', 3, 4)")
    if by_hand:
        project.revision(2, "op.rename_table('users', 'people')")
    models(project, (FULL_PEOPLE + FULL).replace(", Identity()", ""), convention)
    hints = () if by_hand else ("--rename", "users:people")
    code, _, said = created(project, "reborn", *hints)
    assert code == 0, said
    well(project)
    assert project.query("SELECT nick, age, count FROM people") == [("x", 3, 4)]
    assert project.query("SELECT nick FROM users") == []


@POSTGRESQL
@CONVENTION
def test_names_of_a_column(project: Project, convention: bool) -> None:
    new = FULL.replace("nick", "handle").replace("boss", "chief")
    new = new.replace('"count"', '"number"')
    models(project, FULL, convention)
    begun(project)
    project.upgrade("orm")
    models(project, new, convention)
    hints = ["users.nick:handle", "users.boss_id:chief_id", "users.count:number"]
    code, made, said = created(project, "names", *(f"--rename={hint}" for hint in hints))
    assert code == 0, said
    assert made is not None
    assert {one["kind"] for one in made["effects"]} == {"rename"}
    well(project)
    assert names(project) == names_of_models(project, new, convention)


@ALL
@pytest.mark.parametrize("key", ["unique=True", "unique=True, index=True"])
def test_what_only_gets_another_name_is_not_added(project: Project, key: str) -> None:
    models(project, USERS.format(f"String(40), {key}", ""), True)
    begun(project)
    project.upgrade("orm")
    project.query("INSERT INTO users (nick) VALUES ('3')")
    models(project, HANDLE.format(f"String(40), {key}", ""), True)
    code, made, said = created(project, "rename", "--rename", "users.nick:handle")
    assert code == 0, said
    assert made is not None
    assert [one["kind"] for one in made["effects"]] == ["rename"]
    well(project)


@ALL
def test_duplicates_break_a_unique_index(project: Project) -> None:
    models(project, USERS.format(NICK, ""), True)
    begun(project)
    project.upgrade("orm")
    project.query("INSERT INTO users (nick) VALUES ('it'), ('it')")
    models(project, USERS.format(f"{NICK}, index=True, unique=True", ""), True)
    code, made, said = created(project, "once")
    assert code == 0, said
    assert made is not None
    [effect] = made["effects"]
    told = "creates a unique index on users: it fails if two rows have the same there"
    assert told in effect["message"]
    assert "creates a unique index on users" in Path(made["path"]).read_text()
    reviewed = project.orm("apply", "--local", "--dry-run", "--json").stdout
    assert told in reviewed
    said = project.refusal("orm")
    assert any(
        words in said
        for words in (
            "users.nick cannot be unique: 1 value(s) are there more than once, such as 'it'",
            "Key (nick)=(it) is duplicated",
            "Duplicate entry 'it' for key",
        )
    )
    project.query("DELETE FROM users WHERE id = 1")
    well(project)


@ALL
def test_a_column_is_reborn(project: Project) -> None:
    models(project, USERS.format("String(40), unique=True", ""), True)
    begun(project)
    project.upgrade("orm")
    project.query("INSERT INTO users (nick) VALUES ('3')")
    both = USERS.format("String(50), unique=True", ', Column("handle", String(40), unique=True)')
    models(project, both, True)
    code, _, said = created(project, "reborn", "--rename", "users.nick:handle")
    assert code == 0, said
    well(project)
    assert project.query("SELECT handle, nick FROM users") == [("3", None)]


@pytest.mark.parametrize("asked", ["users.nick", "nick:", ":handle", "users"])
def test_a_rename_has_two_names(project: Project, asked: str) -> None:
    project.models(USERS.format(NICK, ""))
    created(project, "users")
    project.models(USERS.format(NICK, "").replace("nick", "handle"))
    said = project.orm("create", "handle", "--rename", asked)
    assert said.exit_code == 1
    assert (
        "a rename has two names, TABLE.OLD:NEW for a column and OLD:NEW for a table" in said.stderr
    )
    assert "(possible: users.nick:handle)" in said.stderr


def test_a_rename_with_a_change_is_thought_of(project: Project) -> None:
    """What was printed keeps the values; else nothing would have said that it may be a rename."""
    project.models(USERS.format(NICK, ""))
    created(project, "users")
    project.upgrade("orm")
    project.query("INSERT INTO users (id, nick) VALUES (1, '3')")
    project.models(HANDLE.format("Integer", ""))
    said = project.orm("create", "handle")
    assert said.exit_code == 0
    command = "orm migrations create --amend --rename users.nick:handle"
    assert "column users.nick is gone and handle is new: if it was renamed" in said.stderr
    assert said.stderr.rstrip().endswith(command)
    said = project.orm(*command.split()[2:])
    assert said.exit_code == 0
    assert "is gone" not in said.stderr
    project.upgrade("orm")
    assert project.query("SELECT handle FROM users") == [(3,)]


@pytest.mark.parametrize("project", ["mysql"], indirect=True)
def test_what_stands_in_the_way_of_a_rename_is_named(project: Project) -> None:
    checked = USERS.format(NICK, CHECK.format("nick"))
    models(project, checked, True)
    begun(project)
    models(project, checked.replace("nick", "handle"), True)
    code, _, said = created(project, "rename", "--rename", "users.nick:handle")
    assert code == 1
    assert "column users.nick cannot be renamed on mysql: " in said
    assert "ck_users_not_y" in said
    assert 'orm migrations create --empty "rename"' in said
    assert project.revisions == ["0001_start.py"]
