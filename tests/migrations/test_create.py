import json
import subprocess
import sys
from pathlib import Path

import pytest

from orm.migrations.files.lock import locked
from tests.migrations.support import ENGINES, Project

ORM = "from orm.cli import main; main()"
USERS = 'users = Table("users", metadata, Column("id", Integer, primary_key=True){})'
NICK = ', Column("nick", String(20), index=True)'
HANDLE = ', Column("handle", String(20), index=True)'


def created(project: Project, *arguments: str) -> str:
    """Create a revision; its text."""
    result = project.orm("create", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return Path(json.loads(result.stdout)["path"]).read_text()


def refused(project: Project, *arguments: str) -> str:
    result = project.orm("create", *arguments)
    assert result.exit_code != 0, result.output
    return result.stderr


@ENGINES
def test_the_next_revision_needs_no_database(project: Project) -> None:
    project.models(USERS.format(""))
    result = project.orm("create", "Create users")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip().endswith("0001_create_users.py")
    project.models(USERS.format(NICK))
    created(project, "add a nick")
    assert project.revisions == ["0001_create_users.py", "0002_add_a_nick.py"]
    assert project.is_untouched
    project.alembic("upgrade", "head")
    assert "No new upgrade operations" in project.alembic("check")


def test_the_first_revision_needs_no_folder(project: Project) -> None:
    (project.folder / "alembic" / "versions").rmdir()
    project.models(USERS.format(""))
    created(project, "create users")
    assert project.revisions == ["0001_create_users.py"]


@ENGINES
def test_nothing_changed_nothing_written(project: Project) -> None:
    result = project.orm("create", "nothing")
    assert result.exit_code == 0
    assert "nothing to write" in result.stdout
    assert json.loads(project.orm("create", "nothing", "--json").stdout) is None
    assert project.revisions == []


@pytest.mark.parametrize("option", [[], ["--empty"]])
def test_a_template_that_is_not_there_is_named(project: Project, option: list[str]) -> None:
    project.models(USERS.format(""))
    (project.folder / "alembic" / "script.py.mako").unlink()
    said = refused(project, "create users", *option)
    assert "script.py.mako, from which Alembic writes revisions: get it back" in said
    assert project.revisions == []


def test_an_empty_revision_is_for_writing_by_hand(project: Project) -> None:
    project.models(USERS.format(""))
    written = created(project, "fill in", "--empty")
    assert "create_table" not in written
    assert "generated" not in written
    assert "def upgrade() -> None:\n    pass\n" in written
    assert "create_table" in created(project, "create users")
    project.alembic("upgrade", "head")
    assert "users" in project.tables


# Names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("  Add   a/nick name ", "0001_add_a_nick_name.py"),
        ("../../etc/passwd", "0001_etc_passwd.py"),
        ("Überschrift für Ñandú", "0001_uberschrift_fur_nandu.py"),
        ("добавить имя", "0001_добавить_имя.py"),
        ("100% 'quoted' \"twice\" %(here)s", "0001_100_quoted_twice_here_s.py"),
        ("-- drop; --", "0001_drop.py"),
        ("line\nbreak\ttab", "0001_line_break_tab.py"),
        ("x" * 300, f"0001_{'x' * 40}.py"),
        ("word " * 20, "0001_word_word_word_word_word_word_word_word.py"),
    ],
)
def test_a_name_becomes_the_name_of_a_file(project: Project, name: str, file: str) -> None:
    result = project.orm("create", "--empty", "--", name)
    assert result.exit_code == 0, result.output
    assert project.revisions == [file]
    project.alembic("upgrade", "head")


@pytest.mark.parametrize("name", ['"""', 'say """hello"""', "back\\slash \\", '"', "\\N{x} \\x"])
def test_any_name_can_stand_in_the_file(project: Project, name: str) -> None:
    name = f"a {name}"
    written = created(project, "--empty", "--", name)
    assert written.startswith('"""a ')
    assert f"<base> -> 0001 (head), {name}" in project.alembic("history")
    project.alembic("revision", "-m", name)
    assert len(project.alembic("history").splitlines()) == 2


@pytest.mark.parametrize("name", ["", "   ", "/", "___", "…", "🎉"])
def test_nothing_to_name_a_file_by(project: Project, name: str) -> None:
    assert "no letter or digit" in refused(project, "--empty", "--", name)
    assert project.revisions == []


def test_what_cannot_be_printed_is_refused(project: Project) -> None:
    for name in ("bell \a", "not UTF-8 \udcff"):
        assert "cannot be printed" in refused(project, "--empty", name)
    assert project.revisions == []


# Two at once -------------------------------------------------------------------------------


def begin(project: Project, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ORM, "migrations", "create", name, "--empty"],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@ENGINES
def test_several_at_once_are_several_numbers(project: Project) -> None:
    for process in [begin(project, f"number {n}") for n in range(4)]:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert [name[:4] for name in project.revisions] == ["0001", "0002", "0003", "0004"]
    project.alembic("upgrade", "head")


@pytest.mark.slow
def test_who_comes_second_takes_the_next_number(project: Project) -> None:
    with locked(project.folder / "alembic" / "versions"):
        second = begin(project, "second")
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(3)
        project.revision(1, "pass")
    said, _ = second.communicate(timeout=120)
    assert second.returncode == 0, said
    assert project.revisions == ["0001_by_hand.py", "0002_second.py"]


# Files that cannot be built upon -----------------------------------------------------------


def test_two_heads_are_refused(project: Project) -> None:
    project.revision(1, "pass")
    text = (project.folder / "alembic/versions/0001_by_hand.py").read_text()
    (project.folder / "alembic/versions/0001_other.py").write_text(f"{text}\n")
    assert "both number 1" in refused(project, "more", "--empty")


def test_a_failing_revision_is_named(project: Project) -> None:
    project.revision(1, "pass", "op.execute('CREATE EXTENSION hstore')")
    said = refused(project, "more")
    assert "0001_by_hand.py" in said
    assert "line 10" in said
    assert "EXTENSION" in said


def test_a_revision_that_cannot_be_imported_is_named(project: Project) -> None:
    project.revision(1, "pass")
    file = project.folder / "alembic/versions/0001_by_hand.py"
    file.write_text(f"import absent_module\n{file.read_text()}")
    said = refused(project, "more")
    assert "0001_by_hand.py" in said
    assert "absent_module" in said


# What would hurt ---------------------------------------------------------------------------


@ENGINES
def test_what_would_hurt_is_said_in_the_file_and_on_the_screen(project: Project) -> None:
    old = ', Column("a", String(20)), Column("b", Integer), Column("c", String(9))'
    project.models(USERS.format(old) + '\nTable("logs", metadata, Column("id", Integer))')
    created(project, "start")
    project.models(USERS.format(', Column("a", String(5)), Column("b", Integer, nullable=False)'))
    result = project.orm("create", "hurt")
    written = (project.folder / "alembic/versions/0002_hurt.py").read_text().split("import")[0]
    for sentence in (
        "drops logs with all its rows",
        "drops users.c and all its values",
        "makes users.b NOT NULL",
        "changes users.a from VARCHAR(20) to String(length=5)",
    ):
        assert sentence in result.stdout
        assert sentence in " ".join(written.split())
    project.alembic("upgrade", "head")


@ENGINES
def test_plain_alembic_says_it_too(project: Project) -> None:
    project.models(USERS.format(NICK))
    project.alembic("revision", "--autogenerate", "-m", "start")
    project.alembic("upgrade", "head")
    project.models(USERS.format(""))
    assert "drops users.nick" in project.alembic("revision", "--autogenerate", "-m", "hurt")
    assert "drops users.nick" in (project.folder / "alembic/versions/0002_hurt.py").read_text()


@ENGINES
@pytest.mark.parametrize("default", ["", ', server_default=text("CURRENT_TIMESTAMP")'])
def test_a_column_that_rows_have_no_value_for_is_told(project: Project, default: str) -> None:
    project.models(USERS.format(""))
    created(project, "start")
    project.models(USERS.format(f', Column("at", DateTime, nullable=False{default})'))
    told = "adds users.at NOT NULL without a default" in project.orm("create", "more").stdout
    assert told == (not default)
    # Whatever a target with rows says to it, the next one can be built upon it.
    assert project.orm("create", "nothing").stdout.endswith("nothing to write.\n")


# Renames -----------------------------------------------------------------------------------


@pytest.fixture
def named(project: Project) -> Project:
    project.models(USERS.format(NICK))
    created(project, "start")
    project.alembic("upgrade", "head")
    project.query("INSERT INTO users (nick) VALUES ('x')")
    return project


@ENGINES
def test_a_script_has_to_say_whether_it_is_a_rename(named: Project) -> None:
    named.models(USERS.format(HANDLE))
    assert "--rename users.nick:handle" in refused(named, "rename")
    assert named.revisions == ["0001_start.py"]


@ENGINES
def test_a_renamed_column_keeps_what_is_in_it(named: Project) -> None:
    named.models(USERS.format(HANDLE))
    assert "renames users.nick to handle" in created(
        named, "rename", "--rename", "users.nick:handle"
    )
    if named.url.startswith("sqlite"):
        sql = named.orm("show", "0002").stdout
        assert 'RENAME COLUMN "nick" TO "handle"' in sql
        assert "_alembic_tmp_" not in sql  # nothing else of the table changes
    named.alembic("upgrade", "head")
    assert named.query("SELECT handle FROM users") == [("x",)]
    assert "No new upgrade operations" in named.alembic("check")
    assert named.query(named.indexes) == [("ix_users_handle",)]


@ENGINES
def test_no_rename_drops(named: Project) -> None:
    named.models(USERS.format(HANDLE))
    assert "drops users.nick" in created(named, "drop", "--no-rename")
    named.alembic("upgrade", "head")
    assert named.query("SELECT handle FROM users") == [(None,)]


@ENGINES
def test_a_renamed_table_keeps_its_rows_and_its_children(named: Project) -> None:
    posts = '\nTable("posts", metadata, Column("id", Integer, primary_key=True),' + (
        ' Column("user_id", ForeignKey("{}.id", ondelete="CASCADE")))'
    )
    named.models(USERS.format(NICK) + posts.format("users"))
    created(named, "posts")
    named.alembic("upgrade", "head")
    named.query("INSERT INTO posts (user_id) VALUES (1)")
    named.models(USERS.replace("users", "people").format(NICK) + posts.format("people"))
    assert "op.rename_table('users', 'people')" in created(
        named, "people", "--rename", "users:people"
    )
    named.alembic("upgrade", "head")
    assert named.query("SELECT nick FROM people") == [("x",)]
    assert named.query("SELECT count(*) FROM posts") == [(1,)]
    assert "No new upgrade operations" in named.alembic("check")


def test_what_cannot_be_a_rename_is_refused(named: Project) -> None:
    named.models(USERS.format(HANDLE))
    assert "possible: users.nick:handle" in refused(named, "x", "--rename", "users.nick:other")
    twice = ("--rename", "users.nick:handle")
    assert "another --rename" in refused(named, "x", *twice, *twice)
    assert "--empty" in refused(named, "x", "--empty", *twice)
    assert named.revisions == ["0001_start.py"]


@ENGINES
def test_another_type_is_no_probable_rename(named: Project) -> None:
    named.models(USERS.format(', Column("handle", Integer)'))
    assert "drops users.nick" in created(named, "change")


def test_an_index_that_the_naming_convention_does_not_name(project: Project) -> None:
    project.models(
        'metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})\n'
        'Table("users", metadata, Column("id", Integer, primary_key=True),'
        ' Column("age", Integer, index=True))'
    )
    for command in (("create", "start"), ("check",)):
        result = project.orm(*command)
        assert result.exit_code == 1
        assert "the index on users (age) has no name" in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
def test_columns_whose_enum_has_no_name(project: Project) -> None:
    """Which PostgreSQL needs, and other engines do not: met in the models of nova and manila."""
    project.models(USERS.format(', Column("mood", Enum("good", "bad")), Column("x", Enum("a"))'))
    for command in (("create", "start"), ("check",)):
        result = project.orm(*command)
        assert result.exit_code == 1
        assert "requires a name (users.mood, users.x)" in result.stderr
    project.models(USERS.format(', Column("mood", Enum("good", "bad", name="mood"))'))
    created(project, "start")
