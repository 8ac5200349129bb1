"""Views and triggers that a change of the models would leave broken: the engine is asked."""

import json

import pytest

from tests.migrations.support import Project

USERS = """
Table("users", metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(9), nullable=False),
    Column("touched", Integer, nullable=False),
)
"""
NOTES = """
Table("notes", metadata,
    Column("id", Integer, primary_key=True),
    Column("text", String(9), nullable=False),
)
"""
BEFORE = USERS + NOTES
TABLE_GONE = USERS
COLUMN_GONE = BEFORE.replace('    Column("touched", Integer, nullable=False),\n', "")
RENAMED = BEFORE.replace("touched", "seen")

TOUCHES = {
    "sqlite": ["CREATE TRIGGER touch AFTER UPDATE OF name ON users BEGIN"
               " UPDATE users SET touched = 1 WHERE id = new.id; END"],
    "mariadb": ["CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW SET NEW.touched = 1"],
    "postgresql": ["CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS"
                   " 'BEGIN NEW.touched = 1; RETURN NEW; END'",
                   "CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW"
                   " EXECUTE FUNCTION touch()"],
}  # fmt: skip
TOUCHES["mysql"] = TOUCHES["mariadb"]
LOGS = {
    "sqlite": ["CREATE TRIGGER log AFTER DELETE ON users BEGIN"
               " INSERT INTO notes (id, text) VALUES (old.id, 'gone'); END"],
    "mariadb": ["CREATE TRIGGER log AFTER DELETE ON users FOR EACH ROW"
                " INSERT INTO notes (id, text) VALUES (OLD.id, 'gone')"],
    "postgresql": ["CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS"
                   " 'BEGIN INSERT INTO notes VALUES (OLD.id, $$gone$$); RETURN OLD; END'",
                   "CREATE TRIGGER log AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION log()"],
}  # fmt: skip
LOGS["mysql"] = LOGS["mariadb"]
VIEW = {engine: ["CREATE VIEW texts AS SELECT text FROM notes"] for engine in TOUCHES}

EVENT = {
    engine: ["CREATE EVENT sweep ON SCHEDULE EVERY 1 DAY STARTS CURRENT_TIMESTAMP + INTERVAL 1 DAY"
             " DO BEGIN DECLARE day CHAR(9); SET day = DATE_FORMAT(NOW(), '%Y'); "
             "UPDATE users SET touched = 0 WHERE name = day; END"]
    for engine in ("mariadb", "mysql")
}  # fmt: skip

ENGINES = pytest.mark.parametrize("project", list(TOUCHES), indirect=True)


def begun(project: Project, statements: list[str]) -> None:
    """A database with the models, and what a revision makes beside them."""
    project.models(BEFORE)
    done = project.orm("create", "users")
    assert done.exit_code == 0, done.output
    lines = "\n    ".join(f"op.execute({statement!r})" for statement in statements)
    project.revision(2, lines)
    project.upgrade("orm")
    done = project.orm("check")
    assert done.output == "All is well.\n", done.output


def engine_of(project: Project, request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["project"])


@ENGINES
@pytest.mark.parametrize(
    ("made", "models", "options", "what"),
    [
        (TOUCHES, COLUMN_GONE, ["--no-rename"], "trigger on users"),
        (TOUCHES, RENAMED, ["--rename", "users.touched:seen"], "trigger on users"),
        (LOGS, TABLE_GONE, ["--no-rename"], "trigger on users"),
        (VIEW, TABLE_GONE, ["--no-rename"], "view texts"),
    ],
)
def test_what_a_new_revision_would_break_is_said(
    project: Project,
    request: pytest.FixtureRequest,
    made: dict[str, list[str]],
    models: str,
    options: list[str],
    what: str,
) -> None:
    engine = engine_of(project, request)
    begun(project, made[engine])
    project.models(models)
    done = project.orm("create", "next", *options)
    if engine == "sqlite" and models == RENAMED:  # which it renames in triggers, too
        assert done.exit_code == 0, done.output
        return
    assert done.exit_code == 1, done.output
    assert what in done.output


@ENGINES
def test_a_trigger_that_is_dropped_before_and_made_anew_is_well(
    project: Project, request: pytest.FixtureRequest
) -> None:
    engine = engine_of(project, request)
    begun(project, TOUCHES[engine])
    project.models(RENAMED)
    on = " ON users" if engine == "postgresql" else ""
    anew = [statement.replace("touched", "seen") for statement in TOUCHES[engine]]
    if engine == "postgresql":
        anew[0] = anew[0].replace("CREATE", "CREATE OR REPLACE", 1)
    project.revision(
        3,
        f"op.execute('DROP TRIGGER touch{on}')\n"
        "    op.execute('ALTER TABLE users RENAME COLUMN touched TO seen')\n    "
        + "\n    ".join(f"op.execute({statement!r})" for statement in anew),
    )
    done = project.orm("check")
    assert done.output == "All is well.\n", done.output


@ENGINES
def test_check_names_what_a_revision_has_broken(
    project: Project, request: pytest.FixtureRequest
) -> None:
    engine = engine_of(project, request)
    if engine == "sqlite":
        pytest.skip("SQLite renames in triggers, too")
    begun(project, TOUCHES[engine])
    project.models(RENAMED)
    project.revision(3, "op.execute('ALTER TABLE users RENAME COLUMN touched TO seen')")
    done = project.orm("check", "--json")
    assert done.exit_code == 1, done.output
    [finding] = json.loads(done.output)
    assert finding["subject"] == "a trigger on users"
    assert "touched" in finding["message"]
    assert "drop it in a revision, or make it anew" in finding["message"]


@ENGINES
def test_a_trigger_that_refuses_rows_is_not_broken(
    project: Project, request: pytest.FixtureRequest
) -> None:
    engine = engine_of(project, request)
    refuses = {
        "sqlite": ["CREATE TRIGGER no BEFORE INSERT ON users BEGIN"
                   " SELECT RAISE(ABORT, 'never'); END"],
        "mariadb": ["CREATE TRIGGER no BEFORE INSERT ON users FOR EACH ROW"
                    " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'never'"],
        "postgresql": ["CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
                       " 'BEGIN RAISE EXCEPTION $$never$$; END'",
                       "CREATE TRIGGER no BEFORE INSERT ON users FOR EACH ROW"
                       " EXECUTE FUNCTION no()"],
    }  # fmt: skip
    begun(project, refuses["mariadb" if engine == "mysql" else engine])


FUNCTION = (
    "CREATE FUNCTION touched_ones(part text) RETURNS bigint LANGUAGE sql AS"
    " 'SELECT count(*) FROM users WHERE touched > 0 AND name LIKE part || $$%$$'"
)
PROCEDURE = (
    "CREATE PROCEDURE touch_all() LANGUAGE sql AS 'UPDATE users SET touched = 1 WHERE id % 2 = 0'"
)


@pytest.mark.parametrize("project", ["postgresql", "asyncpg"], indirect=True)
def test_a_function_in_sql_that_a_new_revision_would_break_is_said(project: Project) -> None:
    begun(project, [FUNCTION, PROCEDURE])
    project.models(COLUMN_GONE)
    done = project.orm("create", "next", "--no-rename")
    assert done.exit_code == 1, done.output
    said = " ".join(done.output.split())
    assert 'the function touched_ones(text) (column "touched" does not exist' in said
    assert "the function touch_all()" in said


MYSQL = pytest.mark.parametrize("project", ["mariadb", "mysql"], indirect=True)


@MYSQL
def test_an_event_that_a_new_revision_would_break_is_said(
    project: Project, request: pytest.FixtureRequest
) -> None:
    begun(project, EVENT[engine_of(project, request)])
    project.models(COLUMN_GONE)
    done = project.orm("create", "next", "--no-rename")
    assert done.exit_code == 1, done.output
    assert "event sweep" in done.output
    assert "Unknown column 'touched'" in " ".join(done.output.split())


@MYSQL
@pytest.mark.parametrize("does", ["ALTER TABLE absent DROP COLUMN x", "SELECT absent FROM users"])
def test_what_an_event_does_that_may_commit_is_not_run(project: Project, does: str) -> None:
    begun(project, [f"CREATE EVENT odd ON SCHEDULE EVERY 1 DAY DO {does}"])


@MYSQL
def test_an_event_is_compared(project: Project, request: pytest.FixtureRequest) -> None:
    begun(project, EVENT[engine_of(project, request)])
    done = project.orm("check", "--local")
    assert done.output == "All is well.\n", done.output
    project.query("ALTER EVENT sweep ON SCHEDULE EVERY 2 DAY")
    done = project.orm("check", "--local")
    assert done.exit_code == 1
    assert "event sweep differs" in done.output
    project.query("DROP EVENT sweep")
    assert "and the database does not have it" in project.orm("check", "--local").output


@MYSQL
def test_an_event_is_in_a_checkpoint(project: Project, request: pytest.FixtureRequest) -> None:
    begun(project, EVENT[engine_of(project, request)])
    done = project.orm("squash")
    assert done.exit_code == 0, done.output
    done = project.orm("reset", "--local", "--yes")
    assert done.exit_code == 0, done.output
    assert project.query("SELECT event_name FROM information_schema.events"
                         " WHERE event_schema = DATABASE()") == [("sweep",)]  # fmt: skip
    assert project.orm("check", "--local").output == "All is well.\n"
