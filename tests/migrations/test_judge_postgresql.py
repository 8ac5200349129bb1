"""What Alembic does not write for PostgreSQL: `create` writes it, and rows keep their values."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.migrations.support import Project
from tests.migrations.test_judge import created

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("project", ["postgresql"], indirect=True),
]


class Case(NamedTuple):
    """Models, rows in them, and what a query says when they have become others."""

    old: str
    new: str
    rows: str = ""
    query: str = "SELECT true"
    want: object = True


ID = 'Column("id", Integer, primary_key=True)'
PLAIN = 'Column("id", Integer, primary_key=True, autoincrement=False)'


def t(*more: str, key: str = ID, name: str = "t") -> str:
    """A table of the models."""
    return f'Table("{name}", metadata, {", ".join((key, *more))})'


def a(kind: str) -> str:
    """A table with a column ``a``."""
    return t(f'Column("a", {kind})')


NEXT = "INSERT INTO t DEFAULT VALUES RETURNING {}"
NINTH = "INSERT INTO t (id) VALUES (99) RETURNING a"
TWO = "INSERT INTO t (id, a) VALUES (1, 7), (2, 8)"
SMALL = 'postgresql.DOMAIN("small", Integer, check="VALUE < 9")'
MOOD = 'Enum({}, name="mood")'
B = ', Column("b", Integer)'
PARENT = t('Column("b", Integer)', name="p", key=PLAIN)
CHILD = t('Column("p", ForeignKey("p.id"))')
SPANS = 'Column("span", postgresql.INT4RANGE)'
OWN = "pg_get_serial_sequence('t', 'a')"

INHERITS = 'Table("c", metadata, Column({}, Integer), postgresql_inherits="p")'

CASES = {
    "a column that is inherited": Case(
        f"{PARENT}\n{INHERITS.format(repr('w'))}",
        t('Column("b", BigInteger, CheckConstraint("b > 0", "ck"))', name="p", key=PLAIN)
        + f"\n{INHERITS.format(repr('w'))}",
        "INSERT INTO c VALUES (1, 2, 3)",
        "SELECT id + b + w FROM c",
        6,
    ),
    "a column beside inherited ones": Case(
        f"{PARENT}\n{INHERITS.format(repr('w'))}",
        f"{PARENT}\n{INHERITS.format(repr('v')).replace('Integer', 'Date')}",
        "INSERT INTO c VALUES (1, 2, 3)",
        "SELECT id + b FROM c WHERE v IS NULL",
        3,
    ),
    "a key of another column": Case(
        t('Column("a", Integer, nullable=False)', key=PLAIN),
        t(
            'Column("a", Integer, primary_key=True)', key='Column("id", Integer, nullable=False)'
        ).replace("True)", "True, autoincrement=False)"),
        TWO,
        "SELECT sum(id + a) FROM t",
        18,
    ),
    "a composite key": Case(
        t('Column("a", Integer, nullable=False)', key=PLAIN),
        t('Column("a", Integer, primary_key=True)', key=PLAIN),
        TWO,
        "SELECT sum(id + a) FROM t",
        18,
    ),
    "a deferrable key of a new table": Case(
        t(),
        f'{t()}\nTable("new", metadata, Column("a", Integer), PrimaryKeyConstraint('
        '"a", name="k", deferrable=True, initially="DEFERRED", postgresql_include=["b"]),'
        ' Column("b", Integer))',
    ),
    "a key to a table without one": Case(
        'Table("t", metadata, Column("a", Integer))',
        t('Column("a", Integer)'),
        "INSERT INTO t (a) VALUES (7), (8)",
        "SELECT count(DISTINCT id) FROM t WHERE id IS NOT NULL",
        2,
    ),
    "a key that others refer to": Case(
        PARENT + "\n" + CHILD,
        PARENT.replace('Column("b", Integer)', 'Column("b", Integer, primary_key=True)')
        .replace('Column("id", Integer, primary_key=True', 'Column("id", Integer, unique=True')
        .replace('"b", Integer, primary_key=True', '"b", Integer, primary_key=True')
        + "\n"
        + CHILD,
        "INSERT INTO p VALUES (1, 2); INSERT INTO t VALUES (1, 1)",
        "SELECT p FROM t",
        1,
    ),
    "UNIQUE beside a key of the same column": Case(
        t('Column("a", Integer)'), t('Column("a", Integer)', 'UniqueConstraint("id")')
    ),
    "another generated expression": Case(
        a('Integer, Computed("id * 2", persisted=True)'),
        a('Integer, Computed("id * 3", persisted=True), unique=True'),
        "INSERT INTO t (id) VALUES (5)",
        "SELECT a FROM t",
        15,
    ),
    "a generated column from a plain one": Case(
        a("Integer"),
        a('Integer, Computed("id + 6", persisted=True)'),
        TWO,
        "SELECT sum(a) FROM t",
        15,
    ),
    "a plain column from a generated one": Case(
        a('Integer, Computed("id * 2", persisted=True)'),
        a("BigInteger, nullable=False, index=True"),
        "INSERT INTO t (id) VALUES (5)",
        "SELECT a FROM t",
        10,
    ),
    "what a generated column is made of": Case(
        t('Column("a", Integer)', 'Column("b", Integer, Computed("a * 2", persisted=True))'),
        t('Column("a", BigInteger)', 'Column("b", Integer, Computed("a * 2", persisted=True))'),
        TWO,
        "SELECT sum(b) FROM t",
        30,
    ),
    "a CHECK inside a column": Case(
        t('Column("a", Integer, CheckConstraint("a > 9", name="big"))', B.strip(", ")),
        t(
            'Column("a", BigInteger, CheckConstraint("a > 6", name="big"))',
            'Column("b", Integer, Identity(), CheckConstraint("b > a", name="bigger"))',
        ),
    ),
    "identity added": Case(a("Integer"), a("Integer, Identity(), nullable=False"), TWO, NINTH, 9),
    "identity removed": Case(
        a("Integer, Identity(), nullable=False"), a("Integer"), TWO, "SELECT max(a) FROM t", 8
    ),
    "identity changed": Case(
        a("Integer, Identity(), nullable=False"),
        a("BigInteger, Identity(always=True, increment=5), nullable=False"),
        "INSERT INTO t DEFAULT VALUES",
        NEXT.format("a"),
        2,
    ),
    "identity in place of a default": Case(
        a('Integer, server_default="3", nullable=False'),
        a("Integer, Identity(), nullable=False"),
        "INSERT INTO t (id) VALUES (1)",
        NINTH,
        4,
    ),
    "a generated column in place of identity": Case(
        a("Integer, Identity(), nullable=False"),
        a('Integer, Computed("id", persisted=True)'),
        "INSERT INTO t DEFAULT VALUES",
        "SELECT a FROM t",
        1,
    ),
    "identity of a new column": Case(
        t(),
        a("Integer, Identity(start=5), nullable=False"),
        "INSERT INTO t DEFAULT VALUES",
        "SELECT a FROM t",
        5,
    ),
    "serial to identity": Case(
        t('Column("a", Integer)'),
        t('Column("a", Integer)', key='Column("id", Integer, Identity(), primary_key=True)'),
        "INSERT INTO t DEFAULT VALUES",
        NEXT.format("id"),
        2,
    ),
    "identity to serial": Case(
        t('Column("a", Integer)', key='Column("id", Integer, Identity(), primary_key=True)'),
        t('Column("a", Integer)'),
        "INSERT INTO t DEFAULT VALUES",
        NEXT.format("id"),
        2,
    ),
    "an explicit sequence": Case(
        a("Integer"),
        'numbers = Sequence("numbers", start=7, metadata=metadata)\n'
        + a("Integer, numbers, server_default=numbers.next_value()"),
        "",
        NEXT.format("a"),
        7,
    ),
    "a sequence's options": Case(
        'numbers = Sequence("numbers", start=7, metadata=metadata)\n' + a("Integer"),
        'numbers = Sequence("numbers", start=7, increment=3, metadata=metadata)\n' + a("Integer"),
        "SELECT nextval('numbers')",
        "SELECT nextval('numbers')",
        8,
    ),
    "a collation": Case(
        a('String(9, collation="C")'),
        a('String(9, collation="POSIX")'),
        "INSERT INTO t (a) VALUES ('x')",
        "SELECT a FROM t",
        "x",
    ),
    "an exclusion constraint": Case(
        t(SPANS),
        t(SPANS, 'postgresql.ExcludeConstraint(("span", "&&"), name="apart")'),
        "INSERT INTO t (span) VALUES ('[1,3)'), ('[3,5)')",
    ),
    "a deferrable UNIQUE": Case(
        t('Column("a", Integer)', 'UniqueConstraint("a")'),
        t('Column("a", Integer)', 'UniqueConstraint("a", deferrable=True, initially="DEFERRED")'),
        TWO,
    ),
    "NULLS NOT DISTINCT": Case(
        t('Column("a", Integer)', 'UniqueConstraint("a")'),
        t('Column("a", Integer)', 'UniqueConstraint("a", postgresql_nulls_not_distinct=True)'),
        TWO,
    ),
    "an index's method, class, columns and options": Case(
        t('Column("a", Text)', 'Index("x", "a")', 'Index("y", "a")', 'Index("z", "a")'),
        t(
            'Column("a", Text)',
            'Index("x", "a", postgresql_using="hash")',
            'Index("y", "a", postgresql_ops={"a": "text_pattern_ops"})',
            'Index("z", "a", postgresql_include=["id"], postgresql_with={"fillfactor": 50})',
        ),
        "INSERT INTO t (a) VALUES ('x')",
    ),
    "comments": Case(
        t('Column("a", Integer, comment="one")', 'CheckConstraint("a > 0", name="a", comment="x")'),
        t(
            'Column("a", Integer, comment="it\'s")',
            'CheckConstraint("a > 0", name="a", comment="y")',
            'comment="two"',
        ),
        TWO,
    ),
    "an unnamed CHECK": Case(
        "metadata.naming_convention = {}\n" + t('Column("a", Integer)', 'CheckConstraint("a > 0")'),
        "metadata.naming_convention = {}\n"
        + t('Column("a", Integer)', 'CheckConstraint("a > 1")', 'UniqueConstraint("a")'),
        TWO,
    ),
    "labels of a string enum": Case(
        a('Enum("x", "y", name="mood", native_enum=False, create_constraint=True)'),
        a('Enum("x", "longer", name="mood", native_enum=False, create_constraint=True)'),
        "INSERT INTO t (a) VALUES ('x')",
        "SELECT a FROM t",
        "x",
    ),
    "an enum of a new column": Case(
        t(),
        a(MOOD.format("'x', 'y'") + ', server_default="y"'),
        "INSERT INTO t DEFAULT VALUES",
        "SELECT a::text FROM t",
        "y",
    ),
    "labels added, and used": Case(
        a(MOOD.format("'x', 'y'")),
        a(MOOD.format("'w', 'x', 'it\\'s', 'y'") + ', server_default="w", nullable=False'),
        "INSERT INTO t (a) VALUES ('y')",
        "SELECT enum_range(NULL::mood)::text",
        "{w,x,it's,y}",
    ),
    "labels moved and removed": Case(
        t(
            f'Column("a", {MOOD.format("1, 2").replace("1, 2", repr("x") + ", " + repr("y"))}, '
            'server_default="x", index=True)',
            "CheckConstraint(\"a <> 'y'\", name='no')",
        ),
        t(
            f'Column("a", {MOOD.format(repr("z") + ", " + repr("x"))}, '
            'server_default="z", index=True)',
            "CheckConstraint(\"a <> 'z' OR id > 0\", name='no')",
        ),
        "INSERT INTO t DEFAULT VALUES",
        "SELECT a::text FROM t",
        "x",
    ),
    "an enum becomes a string": Case(
        a(MOOD.format("'x', 'y'")),
        a("String(9)"),
        "INSERT INTO t (a) VALUES ('y')",
        "SELECT a || count(t) FROM t LEFT JOIN pg_type ON typname = 'mood' GROUP BY a",
        "y1",
    ),
    "a string becomes an enum": Case(
        a('String(9), server_default="x"'),
        a(MOOD.format("'x', 'y'") + ', server_default="y"'),
        "INSERT INTO t (a) VALUES ('x')",
        "SELECT a::text FROM t",
        "x",
    ),
    "an enum's table is gone": Case(
        t() + "\n" + t('Column("a", Enum("x", name="mood"))', name="u"),
        t(),
        "",
        "SELECT count(*) FROM pg_type WHERE typname = 'mood'",
        0,
    ),
    "JSON with a default": Case(
        t(),
        t(
            'Column("a", JSON, server_default=\'{{"it\\\'s":1}}\')'.replace("{{", "{").replace(
                "}}", "}"
            )
        ),
        "INSERT INTO t DEFAULT VALUES",
        "SELECT a ->> 'it''s' FROM t",
        "1",
    ),
    "a circle of tables is gone": Case(
        t('Column("u", ForeignKey("u.id", name="f"))')
        + "\n"
        + t('Column("t", ForeignKey("t.id", name="g", use_alter=True))', name="u")
        + "\n"
        + t(name="v"),
        t(name="v"),
    ),
    "a parent and the reference to it": Case(
        PARENT + "\n" + CHILD,
        t(),
        "INSERT INTO p VALUES (1, 2); INSERT INTO t VALUES (1, 1)",
        "SELECT id FROM t",
        1,
    ),
    "a schema": Case(
        t(),
        t()
        + "\n"
        + t(
            'Column("a", Enum("x", name="mood", schema="other"))',
            'Column("t", ForeignKey("t.id"))',
            'schema="other"',
            name="u",
        ),
    ),
    "text to numbers": Case(
        a('String(9), server_default="1"'),
        a('Integer, server_default="2"'),
        "INSERT INTO t (a) VALUES ('7')",
        "SELECT a FROM t",
        7,
    ),
    "a boolean from numbers": Case(
        a("Integer"), a("Boolean"), "INSERT INTO t (a) VALUES (1)", "SELECT a FROM t", True
    ),
    "a timestamp in UTC": Case(
        a("DateTime"),
        a("DateTime(timezone=True)"),
        "INSERT INTO t (a) VALUES ('2024-01-02 10:00')",
        "SELECT a = '2024-01-02 10:00Z' FROM t",
        True,
    ),
    "a domain of a column that is there": Case(
        a("Integer"),
        a(SMALL),
        TWO,
        "SELECT sum(a) || ' ' || pg_typeof(max(a)) FROM t",
        "15 integer",
    ),
    "an extension that the models make": Case(
        t(),
        t('Column("a", postgresql.CITEXT, index=True)')
        + "\nfrom sqlalchemy import event"
        + "\nmake = DDL('CREATE EXTENSION IF NOT EXISTS citext')"
        + "\nevent.listen(metadata, 'before_create', make)",
    ),
    "a domain of a new column": Case(t(), t(f'Column("a", {SMALL})')),
    "an array of other numbers": Case(
        a("ARRAY(Integer)"),
        a("ARRAY(BigInteger)"),
        "INSERT INTO t (a) VALUES ('{1, 2}')",
        "SELECT a::text FROM t",
        "{1,2}",
    ),
    "an array of labels": Case(
        a("ARRAY(Text)"),
        a(f"ARRAY({MOOD.format('1, 2')})".replace("1, 2", '"ok", "sad"')),
        "INSERT INTO t (a) VALUES ('{ok, sad}')",
        "SELECT a::text FROM t",
        "{ok,sad}",
    ),
    "a number in place of an array": Case(a("ARRAY(Text)"), a("Integer")),
    "an array in place of a number": Case(a("Integer"), a("ARRAY(Text)")),
    "an option of a table": Case(
        t(),
        t('postgresql_with={"fillfactor": 50}', 'prefixes=["UNLOGGED"]'),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_it_is_written(project: Project, case: Case) -> None:
    begun(project, case)
    project.models(MORE + case.new)
    code, _, said = created(project, "more")
    if case.old.partition("\n")[2] != case.new:  # UNIQUE beside a key makes nothing
        assert code == 0, said
    project.upgrade("orm")
    if case.want is not True or case.query != "SELECT true":
        assert project.query(case.query) == [(case.want,)]
    problems = json.loads(project.orm("check", "--local", "--json").stdout)
    assert [p for p in problems if p["kind"] != "foreign_key"] == []
    assert created(project, "again")[1] is None


MORE = "from sqlalchemy.dialects import postgresql\n"


def begun(project: Project, case: Case) -> None:
    project.models(MORE + case.old)
    assert created(project, "start")[0] == 0
    project.upgrade("orm")
    for statement in filter(None, case.rows.split("; ")):
        project.query(statement)


LOST = {
    "a fraction": (a("Numeric(9, 2)"), a("Integer"), "1.5"),
    "digits": (a("Numeric(9, 2)"), a("Numeric(9, 1)"), "1.25"),
    "precision": (a("Double"), a("REAL"), "0.123456789"),
    "a time of day": (a("DateTime"), a("Date"), "2024-01-02 10:00"),
    "a time of day in text": (a("Text"), a("Date"), "2024-01-02 10:00"),
    "an offset in text": (a("Text"), a("DateTime"), "2024-01-02 10:00+05"),
    "spaces": (a("String(9)"), a("String(3)"), "abc  "),
    "a number that is no boolean": (a("Integer"), a("Boolean"), "2"),
    "text that is no pickle": (a("Text"), a("PickleType"), "x"),
    "what is not a label": (a("Integer"), a('Enum("1", "2", native_enum=False)'), "3"),
    "a label of another length": (a("String(9)"), a('Enum("a", native_enum=False)'), "b"),
    "a fraction in an array": (a("ARRAY(Numeric(9, 2))"), a("ARRAY(Numeric(9, 1))"), "{1.25}"),
    "a time of day in an array": (a("ARRAY(DateTime)"), a("ARRAY(Date)"), "{2024-01-02 10:00}"),
    "what is not generated": (a("Integer"), a('Integer, Computed("id", persisted=True)'), "42"),
}


@pytest.mark.parametrize("case", LOST.values(), ids=LOST.keys())
def test_no_value_is_changed_in_silence(project: Project, case: tuple[str, str, str]) -> None:
    old, new, value = case
    begun(project, Case(old, new, f"INSERT INTO t (a) VALUES ('{value}')"))
    before = project.query("SELECT a::text FROM t")
    project.models(MORE + new)
    assert created(project, "more")[0] == 0
    said = project.orm("apply", "--local", "--yes", "--allow-data-loss").stderr
    assert "t.a has values that" in said
    assert project.query("SELECT a::text FROM t") == before
    project.query("DELETE FROM t")
    project.upgrade("orm")
    assert project.orm("check", "--local").exit_code == 0


def test_what_postgresql_cannot_do_is_named(project: Project) -> None:
    key = 'Column("id", Integer, primary_key=True)'
    begun(project, Case(f'Table("t", metadata, {key})', ""))
    project.models(f'Table("t", metadata, {key}, postgresql_partition_by="RANGE (id)")')
    code, made, _ = created(project, "more")
    assert code == 1
    assert [one["subject"] for one in made["left"]] == ["table t"]
    assert "not written yet: table t" in project.refusal("orm")


@pytest.mark.parametrize("new", [a("BigInteger"), t()])
def test_a_view_of_what_changes_is_to_be_dropped(project: Project, new: str) -> None:
    """PostgreSQL's own advice is CASCADE, which would not make it again."""
    begun(project, Case(a("Integer"), ""))
    project.query("CREATE VIEW v AS SELECT a FROM t")
    project.models(new)
    assert created(project, "more")[0] == 0
    said = project.refusal("orm")
    assert "view v depends on column" in said
    assert "Drop what depends on it in the same revision, before this statement" in said
    project.query("DROP VIEW v")
    project.upgrade("orm")


def test_a_view_is_not_of_another_engine(project: Project) -> None:
    begun(project, Case(a("Integer"), ""))
    project.revision(2, "op.execute('CREATE VIEW v AS SELECT a FROM t')")
    project.models(a("BigInteger"))
    code, _, said = created(project, "more")
    assert code != 0
    assert "view v depends on column" in said
    assert "another engine" not in said


def test_values_that_are_none_of_an_array(project: Project) -> None:
    """Whatever they were updated to, they would be changed."""
    begun(project, Case(a("Integer"), "", TWO))
    project.models(MORE + a("postgresql.ARRAY(Integer)"))
    code, made, said = created(project, "many")
    assert code == 0, said
    assert "have the USING of the next statement say what becomes of them" in project.refusal("orm")
    path = Path(made["path"])
    guard = r"op\.execute\(\s*\"+DO \$guard\$.*?\$guard\$\"+\s*\)\s*"
    text = re.sub(guard, "", path.read_text(), flags=re.DOTALL)
    path.write_text(text.replace("a::text::integer[]", "ARRAY[a]"))
    project.upgrade("orm")
    assert project.query("SELECT a FROM t ORDER BY id") == [([7],), ([8],)]


def test_how_models_make_an_extension_is_said(project: Project) -> None:
    begun(project, Case(a("String(9)"), ""))
    index = 'Index("ix", "a", postgresql_using="gin", postgresql_ops={"a": "gin_trgm_ops"})'
    models = t('Column("a", String(9))', index)
    project.models(models)
    code, _, said = created(project, "search")
    assert code == 1
    line = said[said.index("event.listen(") : said.index("; if your server")]
    line = line.replace("…", "pg_trgm")
    project.models(f"from sqlalchemy import event\n{line}\n{models}")
    assert created(project, "search")[0] == 0
    project.upgrade("orm")
    assert project.query("SELECT extname FROM pg_extension WHERE extname = 'pg_trgm'")
