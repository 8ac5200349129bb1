"""SQLite: what a table of the models is, the table becomes, by a rebuild that says all of it."""

import json
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from alembic.util import CommandError
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, select, types

from tests.migrations.support import Project
from tests.migrations.test_judge import created

pytestmark = pytest.mark.slow  # each replays and applies revisions

KEY = 'Column("id", Integer, primary_key=True)'
PARENT = f'Table("p", metadata, {KEY})\n'


def table(*parts: str, key: str = KEY) -> str:
    return f'Table("t", metadata, {", ".join((key, *parts))})\n'


def become(project: Project, old: str, new: str, *rows: str) -> Any:
    """The database has had the old models, with rows, and gets the new ones; what was written."""
    project.models(old)
    code, _, said = created(project, "start")
    assert code == 0, said
    project.upgrade("orm")
    for sql in rows:
        project.query(sql)
    project.models(new)
    code, made, said = created(project, "more", "--no-rename")
    assert code == 0, said
    assert made["left"] == []
    return made


def well(project: Project) -> None:
    problems = json.loads(project.orm("check", "--local", "--json").stdout)
    assert [p for p in problems if p["kind"] != "foreign_key"] == []
    assert created(project, "again")[1] is None


TEXTS = ["a", "it's", "(x)", "", "two\\nlines", "%s :x", '"q"']
CHANGES = {
    "a key for a table without one": (
        table(key='Column("id", Integer, nullable=False)'),
        table(),
    ),
    "another key": (
        table('Column("n", Integer, nullable=False)'),
        table('Column("n", Integer, primary_key=True)'),
    ),
    "a key and its order": (
        table('Column("n", Integer, primary_key=True)'),
        table(
            'Column("n", Integer)', 'PrimaryKeyConstraint("n", "id")', key='Column("id", Integer)'
        ),
    ),
    "a generated column": (
        table('Column("n", Integer, Computed("id * 2"))'),
        table('Column("n", Integer, Computed("id * 3"))'),
    ),
    "DEFERRABLE taken back": (
        PARENT + table('Column("n", ForeignKey("p.id", deferrable=True, initially="DEFERRED"))'),
        PARENT + table('Column("n", ForeignKey("p.id"))'),
    ),
    "CASCADE taken back": (
        PARENT + table('Column("n", ForeignKey("p.id", ondelete="CASCADE", onupdate="CASCADE"))'),
        PARENT + table('Column("n", ForeignKey("p.id"))'),
    ),
    "a collation": (
        table('Column("n", String(9))'),
        table('Column("n", String(9, collation="NOCASE"))'),
    ),
    "COLLATE taken back": (
        table('Column("n", String(9, collation="NOCASE"))'),
        table('Column("n", String(9))'),
    ),
    "STRICT": (table('Column("n", Text)'), table('Column("n", Text)', "sqlite_strict=True")),
    "no longer STRICT": (table("sqlite_strict=True"), table()),
    "WITHOUT ROWID": (table(), table("sqlite_with_rowid=False")),
    "AUTOINCREMENT": (table(), table("sqlite_autoincrement=True")),
    "no AUTOINCREMENT": (table("sqlite_autoincrement=True"), table()),
    "a CHECK without a name": (
        table('CheckConstraint(text("id > 0"), name=None)'),
        table('CheckConstraint(text("id > -1"), name=None)'),
    ),
    "a CHECK with capitals": (
        table('CheckConstraint("id > 0", name="Positive")'),
        table('CheckConstraint("id > -1", name="Positive")'),
    ),
    "labels of an enum": (
        table('Column("n", Enum("a", "b", native_enum=False, create_constraint=True, name="e"))'),
        table('Column("n", Enum("a", "c", native_enum=False, create_constraint=True, name="e"))'),
    ),
    "a parent and the reference to it": (
        PARENT + table('Column("n", ForeignKey("p.id"))'),
        table('Column("n", Integer)'),
    ),
    "a parent and the column that refers to it": (
        PARENT + table('Column("n", ForeignKey("p.id"))'),
        table(),
    ),
    **{
        f"the default {text!r}": (
            table('Column("n", String(20))'),
            table(f'Column("n", String(20), server_default={text!r})'.replace("\\\\", "\\")),
        )
        for text in TEXTS
    },
    **{
        f"no default {text!r}": (
            table(f'Column("n", String(20), server_default={text!r})'.replace("\\\\", "\\")),
            table('Column("n", String(20))'),
        )
        for text in TEXTS
    },
}
KEYED = ("another key", "a key and its order")


@pytest.mark.parametrize("names", [True, False], ids=["convention", "no names"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_table_becomes_that_of_the_models(project: Project, change: str, names: bool) -> None:
    plain = "" if names else "metadata = MetaData()\n"
    if names and "name=None" in CHANGES[change][0]:
        pytest.skip("the convention wants a name")
    old, new = (plain + models for models in CHANGES[change])
    values = "(id, n) VALUES (1, 1)" if change in KEYED else "(id) VALUES (1)"
    made = become(project, old, new, f"INSERT INTO t {values}")
    project.upgrade("orm")
    assert project.query("SELECT id FROM t") == [(1,)]
    well(project)
    assert "drop_constraint(None" not in Path(made["path"]).read_text()


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ('Column("k", Integer, primary_key=True), Column("o", Integer)', [(1, None), (2, None)]),
        ('Column("s", String(9), server_default="it\'s %s :x")', [("it's %s :x",)] * 2),
        ('Column("n", Integer, server_default=text("2 + 2"), nullable=False)', [(4,)] * 2),
    ],
)
def test_no_column_stays(project: Project, columns: str, rows: list[Any]) -> None:
    old = 'Table("t", metadata, Column("a", Integer), Column("b", Integer, Computed("a")))'
    become(project, old, f'Table("t", metadata, {columns})', "INSERT INTO t (a) VALUES (1), (2)")
    project.upgrade("orm")
    assert project.query("SELECT * FROM t") == rows
    well(project)


def test_what_goes_with_a_table_is_still_there(project: Project) -> None:
    old = table('Column("n", Integer)', "sqlite_autoincrement=True")
    new = table('Column("n", Integer, Computed("id * 2"))', "sqlite_autoincrement=True")
    child = 'Table("c", metadata, Column("t", ForeignKey("t.id", ondelete="CASCADE"), index=True))'
    become(
        project,
        old + child,
        new + child,
        "INSERT INTO t (id) VALUES (1), (99)",
        "INSERT INTO c VALUES (1)",
        "DELETE FROM t WHERE id = 99",
        "CREATE VIEW v AS SELECT id FROM t",
        "CREATE TABLE log (id INTEGER)",
        "CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES (NEW.id); END",
        "CREATE INDEX by_hand ON t (id DESC)",
    )
    project.upgrade("orm")
    assert project.query("SELECT * FROM c") == [(1,)]
    assert project.query("SELECT * FROM v") == [(1,)]
    project.query("INSERT INTO t DEFAULT VALUES")
    assert project.query("SELECT * FROM log") == [(100,)]
    assert project.query("SELECT n FROM t WHERE id = 100") == [(200,)]
    assert project.query("SELECT sql FROM sqlite_master WHERE name = 'by_hand'") == [
        ("CREATE INDEX by_hand ON t (id DESC)",)
    ]


# Values ------------------------------------------------------------------------------------

KEPT: dict[tuple[str, str], list[tuple[Any, Any]]] = {
    ("Date", "DateTime"): [("2024-01-02", datetime.fromisoformat("2024-01-02"))],
    ("String(30)", "DateTime"): [
        ("2024-01-02", datetime.fromisoformat("2024-01-02")),
        ("2024-01-02T03:04", datetime.fromisoformat("2024-01-02 03:04")),
        ("2024-01-02 03:04:05.6", datetime.fromisoformat("2024-01-02 03:04:05.600")),
    ],
    ("String(30)", "Date"): [("2024-02-29", date(2024, 2, 29))],
    ("String(30)", "Time"): [("09:30", time(9, 30)), ("23:59:58.5", time(23, 59, 58, 500000))],
    ("DateTime", "Date"): [("2024-01-02 00:00:00.000000", date(2024, 1, 2))],
    ("DateTime", "String(30)"): [("2024-01-02 00:00:00.000000", "2024-01-02 00:00:00.000000")],
    ("String(30)", "Integer"): [("12", 12), ("-7", -7)],
    ("Float", "Integer"): [(2.0, 2)],
    ("Integer", "Boolean"): [(0, False), (1, True)],
    ("Integer", "String(9)"): [(12, "12")],
    ("Float", "Text"): [(0.30000000000000004, "0.30000000000000004")],
    ("String(36)", "Uuid"): [
        ("12345678-1234-5678-1234-56781234ABCD", "12345678-1234-5678-1234-56781234abcd")
    ],
    ("String(36)", "JSON"): [('{"a": [1]}', {"a": [1]}), ("1.5", 1.5), ("null", None)],
    ("Integer", "JSON"): [(7, 7)],
}
REFUSED: dict[tuple[str, str], list[Any]] = {
    ("String(30)", "DateTime"): ["", "soon", "2024-02-30", "2024-01-02 25:00", "2024-01-02Z"],
    ("String(30)", "Date"): ["2024-1-2", "2024-01-02 03:04:05"],
    ("String(30)", "Time"): ["9:30", "24:00", "09:30+01:00"],
    ("DateTime", "Date"): ["2024-01-02 00:00:00.000001"],
    ("DateTime", "Time"): ["2024-01-02 09:30:00.000000"],
    ("String(30)", "Integer"): ["1.5", "one", "99999999999999999999"],
    ("Float", "Integer"): [2.5],
    ("Integer", "Boolean"): [2],
    ("Integer", "DateTime"): [1700000000],
    ("LargeBinary", "Text"): [b"\xff"],
    ("Text", "LargeBinary"): ["x"],
    ("String(36)", "Uuid"): ["none"],
    ("String(36)", "JSON"): ["none", "12345678901234567890"],
    ("Integer", 'Enum("a", "b")'): [1],
    ("String(30)", "String(2)"): ["DHL"],
    ("Text", "String(2)"): ["DHL"],
    ("Integer", "String(2)"): [123],
}


def column(kind: str, *more: str) -> str:
    return table(f'Column("n", {kind})', *more)


@pytest.mark.parametrize("more", [(), ("sqlite_with_rowid=False",)], ids=["alone", "more"])
@pytest.mark.parametrize("kinds", KEPT, ids=" to ".join)
def test_values_are_brought_into_the_new_form(
    project: Project, kinds: tuple[str, str], more: tuple[str, ...]
) -> None:
    """Also where more of the table differs, and it is rebuilt to the models' own."""
    old, new = kinds
    become(project, column(old), column(new, *more))
    for number, (stored, _) in enumerate(KEPT[kinds]):
        project.query("INSERT INTO t (id, n) VALUES (?, ?)", number, stored)
    project.query("INSERT INTO t (id, n) VALUES (99, NULL)")
    project.upgrade("orm")
    kind = eval(new, dict(vars(types)))
    made = Table("t", MetaData(), Column("id", Integer), Column("n", kind))
    with create_engine(f"sqlite:///{project.database}").connect() as connection:
        for number, (_, wanted) in enumerate(KEPT[kinds]):
            found = connection.scalar(select(made.c.n).where(made.c.id == number))
            assert str(found) == str(wanted)
            if new != "JSON":
                same = connection.scalars(select(made.c.id).where(made.c.n == found)).all()
                assert number in same  # it is stored as the new type stores it
        assert connection.scalar(select(made.c.n).where(made.c.id == 99)) is None
    well(project)


@pytest.mark.parametrize(
    ("kinds", "value"), [(kinds, value) for kinds, values in REFUSED.items() for value in values]
)
def test_values_that_the_new_type_cannot_hold_are_refused(
    project: Project, kinds: tuple[str, str], value: Any
) -> None:
    old, new = kinds
    become(project, column(old), column(new))
    project.query("INSERT INTO t (id, n) VALUES (1, ?)", value)
    before = project.query("SELECT * FROM t")
    said = project.refusal("orm")
    assert "t.n cannot become" in said
    assert "1 row(s)" in said
    assert repr(value) in said
    assert project.query("SELECT * FROM t") == before
    assert project.applied == ["0001"]
    project.query("UPDATE t SET n = NULL")  # as it says
    project.upgrade("orm")


def test_a_column_that_was_added_by_hand_is_not_lost(project: Project) -> None:
    become(project, table(), table("sqlite_strict=True"))
    project.query("ALTER TABLE t ADD COLUMN by_hand TEXT DEFAULT 'kept'")
    project.query("INSERT INTO t (id) VALUES (1)")
    said = project.refusal("orm")
    assert "the rebuild of t would lose" in said
    assert "column by_hand" in said
    assert "op.drop_column('t', 'by_hand')" in said
    assert project.query("SELECT by_hand FROM t") == [("kept",)]


# By hand -----------------------------------------------------------------------------------


def test_what_a_batch_says_anew_is_not_taken_from_the_old_table(project: Project) -> None:
    project.revision(1, "pass")
    project.alembic("upgrade", "head")
    project.query("CREATE TABLE p (id INTEGER PRIMARY KEY)")
    project.query(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, twice INTEGER AS (id * 2), a TEXT COLLATE NOCASE,"
        " n INTEGER, CONSTRAINT fk FOREIGN KEY (n) REFERENCES p (id) ON DELETE CASCADE"
        " DEFERRABLE INITIALLY DEFERRED)"
    )
    project.revision(
        2,
        "with op.batch_alter_table('t') as batch:",
        "    batch.drop_column('twice')",
        "    batch.add_column(sa.Column('twice', sa.Integer, sa.Computed('id * 3')))",
        "    batch.alter_column('a', type_=sa.String(9))",
        "    batch.drop_constraint('fk', type_='foreignkey')",
        "    batch.create_foreign_key('fk', 'p', ['n'], ['id'])",
    )
    project.alembic("upgrade", "head")
    [(sql,)] = project.query("SELECT sql FROM sqlite_master WHERE name = 't'")
    assert "id * 3" in sql
    assert not [word for word in ("id * 2", "COLLATE", "CASCADE", "DEFERR") if word in sql], sql


def test_a_column_without_a_type_gets_one(project: Project) -> None:
    project.revision(1, "op.execute('CREATE TABLE t (id INTEGER PRIMARY KEY, n)')")
    project.upgrade("orm")
    project.query("INSERT INTO t VALUES (1, '2024-01-02')")
    project.models(table('Column("n", DateTime)'))
    assert created(project, "more")[0] == 0
    project.upgrade("orm")
    assert project.query("SELECT * FROM t") == [(1, "2024-01-02 00:00:00.000000")]
    well(project)


def test_there_is_no_script_of_a_rebuild(project: Project) -> None:
    """Not even of one that says what the table is: it would lose triggers, and values."""
    shape = "sa.Table('t', sa.MetaData(), sa.Column('id', sa.Integer))"
    project.revision(
        1, f"with op.batch_alter_table('t', recreate='always', copy_from={shape}): pass"
    )
    with pytest.raises(CommandError, match=r"0001_by_hand.py .* rebuild of t needs the database"):
        project.alembic("upgrade", "head", "--sql")


def test_a_review_tells_what_a_rebuild_does_to_columns(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", project.url)
    project.revision(1, "pass")
    project.upgrade("orm")
    columns = 'sa.Column("id", sa.Integer), sa.Column("a", sa.{}), sa.Column({}, sa.Integer)'
    project.revision(
        1, f"op.create_table('t', {columns.format('String(9)', repr('gone'))})", "pass"
    )
    project.clear()
    project.upgrade("orm")
    project.query("INSERT INTO t VALUES (1, 'x', 2), (2, NULL, NULL)")
    gone = 'sa.Column("gone", sa.Integer)'
    shape = f"sa.Table('t', sa.MetaData(), {columns.format('Date', repr('new'))}, {gone})"
    project.revision(
        2,
        f"with op.batch_alter_table('t', recreate='always', copy_from={shape}) as batch:",
        "    batch.drop_column('gone')",
    )
    review = json.loads(project.orm("apply", "--remote", "--dry-run", "--json").stdout)["review"]
    assert [(one["kind"], one["column"], one["rows"]) for one in review] == [
        ("type", "a", 1),
        ("drop_column", "gone", 1),
    ]


REFERRING = """
metadata = MetaData()
Table("p", metadata, Column("id", Integer, primary_key=True))
Table("t", metadata, Column("id", Integer, primary_key=True), Column("p", ForeignKey("p.id"{})){})
"""


def test_what_the_engine_holds_equal_is_not_written(project: Project) -> None:
    project.models(REFERRING.format("", ""))
    assert created(project, "start")[0] == 0
    immediate = ', deferrable=True, initially="IMMEDIATE"'
    project.models(REFERRING.format(immediate, ""))
    assert created(project, "nothing")[:2] == (0, None)
    project.models(REFERRING.format(immediate, ', Column("a", Integer)'))
    code, made, said = created(project, "more")
    assert (code, made and made["left"]) == (0, []), said
    assert "foreign_key" not in project.file("0002_more.py").read_text()
