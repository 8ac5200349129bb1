"""A checkpoint on PostgreSQL holds what models use and do not make, or it says what it lacks."""

import json
from typing import NamedTuple

import pytest

from tests.migrations.support import Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("project", ["postgresql"], indirect=True),
]

MODELS = """
from sqlalchemy import event
from sqlalchemy.dialects import postgresql

class Its(types.UserDefinedType):
    cache_ok = True
    def __init__(self, words): self.words = words
    def get_col_spec(self, **_): return self.words

{}
Table("t", metadata, Column("id", Integer, primary_key=True), Column("a", {}))
"""
LISTENS = 'event.listen(metadata, "before_create", DDL({!r}))'


class Case(NamedTuple):
    """What a revision makes, and a column of it."""

    made: str
    column: str
    said: str
    by_models: bool = True


CASES = {
    "a collation": Case(
        "CREATE COLLATION \"It's\" (LC_COLLATE = 'C', LC_CTYPE = 'C')",
        """TEXT COLLATE "It's\"""",
        """Text(collation="It's")""",
    ),
    "a domain": Case(
        "CREATE DOMAIN small AS integer DEFAULT 3 NOT NULL CONSTRAINT few CHECK (VALUE < 9)",
        "small",
        'Its("small")',
    ),
    "a domain of the models": Case(
        "CREATE DOMAIN small AS integer CONSTRAINT few CHECK (VALUE < 9)",
        "small",
        'postgresql.DOMAIN("small", Integer, check="VALUE < 9", constraint_name="few")',
        by_models=False,
    ),
    "a composite": Case('CREATE TYPE pair AS ("A" integer, b text)', "pair", 'Its("pair")'),
    "a range": Case("CREATE TYPE floats AS RANGE (SUBTYPE = float8)", "floats", 'Its("floats")'),
    "an enum that a domain is of": Case(
        "CREATE TYPE mood AS ENUM ('it''s', 'b'); CREATE DOMAIN bad AS mood CHECK (VALUE = 'b')",
        "mood",
        'Enum("it\'s", "b", name="mood")',
        by_models=False,
    ),
    "a function of a domain": Case(
        "CREATE FUNCTION ok(integer) RETURNS boolean LANGUAGE sql IMMUTABLE"
        " AS 'SELECT mod($1, 2) = 1';"
        " CREATE DOMAIN odd AS integer CHECK (ok(VALUE))",
        "odd",
        'Its("odd")',
    ),
    "a text search": Case(
        "CREATE TEXT SEARCH DICTIONARY mine (TEMPLATE = snowball, LANGUAGE = english);"
        " CREATE TEXT SEARCH CONFIGURATION mine (COPY = english);"
        " ALTER TEXT SEARCH CONFIGURATION mine ALTER MAPPING FOR word WITH mine, simple",
        "tsvector GENERATED ALWAYS AS (to_tsvector('mine', 'words')) STORED",
        "postgresql.TSVECTOR, Computed(\"to_tsvector('mine', 'words')\", persisted=True)",
    ),
}


def begun(project: Project, made: str, column: str, models: str) -> None:
    project.revision(
        1,
        *(f"op.execute({one.strip()!r})" for one in made.split(";")),
        "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))",
        f"op.execute({f'ALTER TABLE t ADD COLUMN a {column}'!r})",
    )
    project.revision(2, "op.execute('SELECT 1')")
    project.models(models)
    assert project.orm("check").output == "All is well.\n"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_it_holds_it(project: Project, case: Case) -> None:
    first = LISTENS.format(case.made) if case.by_models else ""
    begun(project, case.made, case.column, MODELS.format(first, case.said))
    done = project.orm("squash")
    assert done.exit_code == 0, (done.output, done.exception)
    assert project.revisions == ["0003_checkpoint.py"]
    assert project.orm("check").output == "All is well.\n"
    project.upgrade("orm")
    assert json.loads(project.orm("check", "--local", "--json").stdout) == []


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (
            "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
            "operator === (integer, integer)",
        ),
        ("CREATE CAST (integer AS date) WITH INOUT", "cast integer as date"),
    ],
)
def test_it_names_what_it_lacks(project: Project, made: str, named: str) -> None:
    begun(project, made, "integer", MODELS.format("", "Integer"))
    done = project.orm("squash")
    assert done.exit_code == 1
    assert f"the database has {named}, and 0003 does not make it" in done.output
    assert f"not written yet: {named}" in project.refusal("orm")
