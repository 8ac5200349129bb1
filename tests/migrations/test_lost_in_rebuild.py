"""What Alembic's rebuild of a table drops in silence is kept, or the revision is refused."""

import re

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.util import CommandError
from sqlalchemy import create_engine

from orm.backends import Thing, migrations_for
from tests.migrations.support import Project

DROP = ("with op.batch_alter_table('t') as batch:", "    batch.drop_column('gone')")
RENAME = (
    "with op.batch_alter_table('t') as batch:",
    "    batch.alter_column('a', new_column_name='z')",
)


@pytest.fixture
def made(project: Project) -> Project:
    project.revision(1, "pass")
    project.alembic("upgrade", "head")
    return project


def schema(project: Project) -> dict[str, str]:
    rows = project.query("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: sql for name, sql in rows if not name.startswith(("orm_", "alembic_"))}


def refused(project: Project, message: str) -> None:
    """The revision is refused, and the database is as it was."""
    before = schema(project), project.query("SELECT * FROM t")
    with pytest.raises(CommandError, match=message):
        project.alembic("upgrade", "head")
    assert (schema(project), project.query("SELECT * FROM t")) == before
    assert project.applied == ["0001"]


# Kept --------------------------------------------------------------------------------------


def test_triggers(made: Project) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, gone TEXT)")
    made.query("CREATE TABLE log (line TEXT)")
    made.query("CREATE TRIGGER noted AFTER INSERT ON t BEGIN INSERT INTO log VALUES (NEW.a); END")
    made.query("CREATE TRIGGER elsewhere AFTER INSERT ON log BEGIN UPDATE t SET a = 'logged'; END")
    made.query("INSERT INTO t VALUES (1, 'x', 'y')")
    made.revision(2, *DROP)
    made.alembic("upgrade", "head")
    assert made.query("SELECT line FROM log") == [("x",)]  # copying rows is no INSERT
    made.query("INSERT INTO t VALUES (2, 'b')")
    assert made.query("SELECT line FROM log") == [("x",), ("b",)]
    assert made.query("SELECT a FROM t") == [("logged",), ("logged",)]


def test_a_trigger_dropped_on_purpose_stays_dropped(made: Project) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY, gone TEXT)")
    made.query("CREATE TRIGGER noted AFTER INSERT ON t BEGIN UPDATE t SET gone = 'n'; END")
    made.revision(2, "op.execute('DROP TRIGGER noted')", *DROP)
    made.alembic("upgrade", "head")
    assert set(schema(made)) == {"t"}


@pytest.mark.parametrize("rows", [3, 0])
def test_autoincrement_never_gives_an_id_again(made: Project, rows: int) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, gone TEXT)")
    made.query("INSERT INTO t VALUES (1, 'x'), (2, 'x'), (3, 'x'), (99, 'x')")
    made.query("DELETE FROM t WHERE id > ?", rows)
    made.revision(2, *DROP)
    made.alembic("upgrade", "head")
    made.query("INSERT INTO t DEFAULT VALUES")
    assert made.query("SELECT max(id) FROM t") == [(100,)]
    assert made.query("SELECT name, seq FROM sqlite_sequence") == [("t", 100)]


def test_collations(made: Project) -> None:
    made.query(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a VARCHAR(9) COLLATE NOCASE, b TEXT, gone TEXT)"
    )
    made.query("INSERT INTO t VALUES (1, 'X', 'X', 'y')")
    made.revision(2, *DROP)
    made.alembic("upgrade", "head")
    assert made.query("SELECT a = 'x', b = 'x' FROM t") == [(1, 0)]


INDEXES = {
    "descending": "CREATE INDEX i ON t (a DESC)",
    "expression": "CREATE UNIQUE INDEX i ON t (lower(a))",
    "partial": "CREATE INDEX i ON t (a) WHERE b > 0 AND a LIKE 'x%'",
    "collation": "CREATE INDEX i ON t (a COLLATE NOCASE, b)",
}


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("change", [DROP, RENAME], ids=["drop", "rename"])
def test_indexes(made: Project, index: str, change: tuple[str, ...]) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER, gone TEXT)")
    made.query(INDEXES[index])
    made.revision(2, *change)
    made.alembic("upgrade", "head")
    wanted = INDEXES[index]
    if change is RENAME:
        wanted = wanted.replace("(a", '("z"').replace(" a ", ' "z" ')
    assert schema(made)["i"] == wanted


def test_an_index_goes_with_its_column_or_when_it_is_dropped(made: Project) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT, gone TEXT)")
    for column in ("a", "b", "gone"):
        made.query(f"CREATE INDEX ix_{column} ON t ({column})")
    made.revision(2, *DROP, "    batch.drop_index('ix_a')")
    made.alembic("upgrade", "head")
    assert set(schema(made)) == {"t", "ix_b"}


HOSTILE = (
    "select",
    "unique",
    "Ä \"b'",
    "a b",
    "x,y",
    "it(s)",
    "1st",
    "[x]",
    "a.b",
    "per%c",
    "co:l",
)


@pytest.mark.parametrize("table", ["t", "Ä \"b'", "a.b"])
def test_keys_of_columns_with_any_name(made: Project, table: str) -> None:
    for name in HOSTILE:
        made.query(f"DROP TABLE IF EXISTS {quoted(table)}")
        one, two, three, four = (quoted(f"{name}{suffix}") for suffix in ("", "2", "3", "4"))
        made.query(
            f"CREATE TABLE {quoted(table)} (id INTEGER PRIMARY KEY, {one} VARCHAR(5) DEFAULT ')' "
            f"COLLATE NOCASE UNIQUE, {two} INTEGER CONSTRAINT {three} UNIQUE, gone INTEGER, {three}"
            f" INTEGER REFERENCES {quoted(table)} (id) ON DELETE CASCADE, {four} INTEGER, "
            f"CONSTRAINT {one} UNIQUE ({four}, {one}), CONSTRAINT {two} FOREIGN KEY ({four}) "
            f"REFERENCES {quoted(table)} (id) ON DELETE SET NULL)"
        )
        before = defined(made)
        with create_engine(f"sqlite:///{made.database}").connect() as connection:
            operations = Operations(MigrationContext.configure(connection))
            with operations.batch_alter_table(table) as batch:
                batch.drop_column("gone")
            connection.commit()
        after = defined(made)
        del before[Thing("column", table.lower(), "gone")]
        assert after == before, name


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def defined(project: Project) -> dict[Thing, str]:
    with create_engine(f"sqlite:///{project.database}").connect() as connection:
        found = migrations_for(connection.engine.url).definitions(connection)
    return {thing: text for thing, text in found.items() if not thing.table.startswith("orm_")}


def test_a_key_goes_with_its_column_or_by_its_name(made: Project) -> None:
    made.query(
        'CREATE TABLE t (id INTEGER PRIMARY KEY, "a" INT UNIQUE, gone INT UNIQUE, b INT, c INT, '
        "CONSTRAINT both UNIQUE (a, gone), CONSTRAINT named UNIQUE (b), UNIQUE (c))"
    )
    made.revision(
        2,
        "names = {'uq': 'uq_%(table_name)s_%(column_0_name)s'}",
        "with op.batch_alter_table('t', naming_convention=names) as batch:",
        "    batch.drop_column('gone')",
        "    batch.drop_constraint('named')",
        "    batch.drop_constraint('uq_t_c')",
    )
    made.alembic("upgrade", "head")
    keys = made.query(
        "SELECT group_concat(c.name) FROM pragma_index_list('t') i, pragma_index_info(i.name) c "
        "GROUP BY i.name"
    )
    assert keys == [("a",)]


@pytest.mark.parametrize(
    "check", ["CHECK (a > 0)", "CHECK(\n a > 0 and\n a <> ':x' )", "CONSTRAINT c CHECK (a > 0)"]
)
@pytest.mark.parametrize("change", [DROP, RENAME], ids=["drop", "rename"])
def test_checks(made: Project, check: str, change: tuple[str, ...]) -> None:
    made.query(f"CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER {check}, gone TEXT)")
    made.revision(2, *change)
    made.alembic("upgrade", "head")
    name = "z" if change is RENAME else "a"
    made.query(f"INSERT INTO t ({name}) VALUES (1)")
    with pytest.raises(Exception, match="CHECK constraint failed"):
        made.query(f"INSERT INTO t ({name}) VALUES (-1)")


def test_a_check_goes_with_its_column_or_by_its_name(made: Project) -> None:
    made.query(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, gone TEXT CHECK (gone <> ''),"
        " CONSTRAINT positive CHECK (a > 0))"
    )
    made.revision(2, *DROP, "    batch.drop_constraint(op.f('positive'), type_='check')")
    made.alembic("upgrade", "head")
    assert "CHECK" not in schema(made)["t"]


def test_generated_columns(made: Project) -> None:
    made.query(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, gone TEXT,"
        " twice INTEGER GENERATED ALWAYS AS (a * 2) STORED,"
        " thrice INTEGER GENERATED ALWAYS AS (a * 3) VIRTUAL)"
    )
    made.query("INSERT INTO t (a) VALUES (4)")
    made.revision(2, *DROP)
    made.alembic("upgrade", "head")
    made.query("UPDATE t SET a = 5")
    assert made.query("SELECT a, twice, thrice FROM t") == [(5, 10, 15)]


def test_kinds_of_tables(made: Project) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY, gone TEXT) WITHOUT ROWID, STRICT")
    made.revision(2, *DROP)
    made.alembic("upgrade", "head")
    [(without, strict)] = made.query("SELECT wr, strict FROM pragma_table_list WHERE name = 't'")
    assert (without, strict) == (1, 1)


@pytest.mark.parametrize("change", [DROP, RENAME], ids=["drop", "rename"])
def test_views(made: Project, change: tuple[str, ...]) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, gone TEXT)")
    made.query("CREATE VIEW v AS SELECT a AS seen FROM t")
    made.query("CREATE VIEW over AS SELECT seen FROM v")
    made.query("INSERT INTO t VALUES (1, 'x', 'y')")
    made.revision(2, *change)
    made.alembic("upgrade", "head")
    assert made.query("SELECT * FROM over") == [("x",)]


# Refused -----------------------------------------------------------------------------------


def test_a_view_of_what_is_dropped(made: Project) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY, gone TEXT)")
    made.query("CREATE VIEW v AS SELECT gone FROM t")
    made.revision(2, *DROP)
    refused(made, r"would break view v \(no such column: gone\): drop it")


def test_a_trigger_that_uses_what_is_dropped(made: Project) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY, gone TEXT)")
    made.query("CREATE TRIGGER noted AFTER INSERT ON t BEGIN UPDATE t SET gone = 'n'; END")
    made.revision(2, *DROP)
    refused(made, r"would break a trigger on t \(no such column: gone\)")


def test_an_index_on_an_expression_of_what_is_dropped(made: Project) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY, gone TEXT)")
    made.query("CREATE INDEX i ON t (lower(gone))")
    made.revision(2, *DROP)
    refused(made, "rebuild of t would lose its index i .no such column: gone.: drop it")


def test_a_check_of_what_is_dropped_and_what_is_not(made: Project) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, gone TEXT, CHECK (a <> gone))")
    made.revision(2, *DROP)
    refused(made, r"rebuild of t would lose CHECK \(a <> gone\): it names a column")


def test_an_unnamed_check_on_a_column_whose_type_changes(made: Project) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT CHECK (a IN ('x', 'y')))")
    lines = (
        "with op.batch_alter_table('t'{}) as batch:",
        "    batch.alter_column('a', type_=sa.String(5))",
    )
    made.revision(2, lines[0].format(""), lines[1])
    refused(made, r"would lose CHECK \(a IN .* on a: .*table_args")
    restated = ", table_args=[sa.CheckConstraint('a > 1', name='c')]"
    made.revision(2, lines[0].format(restated), lines[1])
    made.alembic("upgrade", "head")
    assert "IN (" not in schema(made)["t"]


LOST = {
    "ON CONFLICT REPLACE on a": "a TEXT UNIQUE ON CONFLICT REPLACE",
    "COLLATE NOCASE on a": "a NUMERIC COLLATE NOCASE",
    "PRIMARY KEY (id DESC)": "PRIMARY KEY (id DESC)",
}


@pytest.mark.parametrize("lost", LOST)
def test_what_cannot_be_carried_over(made: Project, lost: str) -> None:
    made.query(f"CREATE TABLE t (id INTEGER NOT NULL, gone TEXT, {LOST[lost]})")
    made.revision(2, *DROP)
    refused(made, f"rebuild of t would lose {re.escape(lost)}.*plain SQL")


def test_a_table_left_over_by_another_rebuild(made: Project) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY, gone TEXT)")
    made.query("CREATE TABLE _alembic_tmp_t (id INTEGER)")
    made.revision(2, *DROP)
    refused(made, "_alembic_tmp_t is in the way.*DROP TABLE _alembic_tmp_t")


@pytest.mark.parametrize(
    "lines",
    [
        (
            "with op.batch_alter_table('t') as batch:",
            "    batch.create_unique_constraint('u', ['a'])",
        ),
        (
            "with op.batch_alter_table('t') as batch:",
            "    batch.create_index('u', ['a'], unique=True)",
        ),
        ("op.create_index('u', 't', ['a'], unique=True, sqlite_where=sa.text('id > 0'))",),
        (
            "with op.batch_alter_table('t') as batch:",
            "    batch.create_unique_constraint('u', ['a'])",
            "    batch.alter_column('a', type_=sa.Date())",
        ),
    ],
)
def test_rows_that_a_new_key_does_not_allow(made: Project, lines: tuple[str, ...]) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL)")
    made.query("INSERT INTO t (a) VALUES ('2024-01-02'), ('2024-01-03'), ('2024-01-02')")
    made.revision(2, *lines)
    wanted = r"t\.a cannot be unique: 1 value\(s\) are there more than once, such as '2024-01-02'"
    refused(made, wanted)


def test_rows_that_a_new_key_of_several_columns_does_not_allow(made: Project) -> None:
    made.query("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER)")
    made.query("INSERT INTO t (a, b) VALUES ('x', 1), ('x', 2), ('x', 1), ('x', NULL), ('x', NULL)")
    made.revision(
        2,
        "with op.batch_alter_table('t') as batch:",
        "    batch.create_unique_constraint('u', ['a', 'b'])",
    )
    refused(made, r"t \(a, b\) cannot be unique: 1 value\(s\) .* such as \('x', 1\)\. Update")


def test_the_first_key_that_rows_break_is_named(made: Project) -> None:
    """Of several; and each time the same value of it."""
    names = [f"c{number}" for number in range(8)]
    columns = ", ".join(f"{name} TEXT" for name in names)
    made.query(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})")
    for value in ("b", "b", "a", "a"):
        made.query(
            f"INSERT INTO t ({', '.join(names)}) VALUES ({', '.join('?' * 8)})", *[value] * 8
        )
    made.revision(
        2,
        "with op.batch_alter_table('t') as batch:",
        *(f"    batch.create_unique_constraint('u{name}', ['{name}'])" for name in reversed(names)),
    )
    refused(made, r"t\.c0 cannot be unique: 2 value\(s\) .* such as 'a'\. Update")
