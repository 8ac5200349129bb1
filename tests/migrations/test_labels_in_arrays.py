"""Labels of enums in arrays: what goes, and what is to be done with the rows that have it."""

import json
import re

import pytest

from tests.migrations.support import POSTGRESQL, Project
from tests.migrations.test_judge import created

pytestmark = [pytest.mark.slow, POSTGRESQL]

NATIVE = 'Enum({}, name="Role")'
STRINGS = 'Enum({}, name="Role", native_enum=False)'
OLD = "'customer', \"staff's\", 'admin'"
FEWER = "'customer', 'admin'"
OTHERS = "'a much longer one', 'admin'"
KINDS = pytest.mark.parametrize("enum", [NATIVE, STRINGS])


def users(kind: str) -> str:
    """Names that have to be quoted."""
    return (
        "from sqlalchemy.dialects import postgresql\n"
        f'Table("Users", metadata, Column("id", Integer, primary_key=True), Column("All", {kind}))'
    )


def begun(project: Project, kind: str) -> None:
    project.models(users(kind))
    assert created(project, "start")[0] == 0
    project.upgrade("orm")
    for number, value in enumerate(["{staff's,admin}", "{staff's,staff's}", "{}", None]):
        project.query('INSERT INTO "Users" VALUES (?, ?)', number, value)


def values(project: Project) -> list[list[str] | None]:
    return [v for (v,) in project.query('SELECT "All"::text[] FROM "Users" ORDER BY id')]


def is_well(project: Project) -> bool:
    problems = json.loads(project.orm("check", "--local", "--json").stdout)
    return problems == [] and created(project, "again")[:2] == (0, None)


def updates(said: str, label: str) -> str:
    """The statement that a sentence advises, with a label of its reader's choice."""
    found = re.search(r'UPDATE "Users" .* = ANY \("All"\)', said)
    assert found is not None, said
    return found[0].replace("…", f"'{label}'")


@KINDS
@pytest.mark.parametrize("array", ["ARRAY({})", "postgresql.ARRAY({}, dimensions=1)"])
def test_one_that_rows_have_is_not_removed(project: Project, enum: str, array: str) -> None:
    begun(project, array.format(enum.format(OLD)))
    project.models(users(array.format(enum.format(FEWER))))
    assert project.orm("check").exit_code == 1
    code, made, said = created(project, "less")
    assert code == 0, said
    advised = updates(made["effects"][0]["message"], "admin")
    said = project.refusal("orm")
    assert '"staff\'s" in 2 row(s)' in said or "'staff''s' in 2 row(s)" in said
    assert updates(said, "admin") == advised
    assert values(project)[1] == ["staff's", "staff's"]
    project.query(advised)
    project.upgrade("orm")
    assert values(project) == [["admin", "admin"], ["admin", "admin"], [], None]
    assert is_well(project)


@KINDS
def test_several_go_and_one_comes(project: Project, enum: str) -> None:
    begun(project, f"ARRAY({enum.format(OLD)})")
    project.models(users(f"ARRAY({enum.format(OTHERS)})"))
    code, made, said = created(project, "less")
    assert code == 0, said
    advised = updates(made["effects"][0]["message"], "admin")
    assert "cannot lose labels that rows have" in project.refusal("orm")
    project.query(advised)
    project.upgrade("orm")
    assert values(project) == [["admin", "admin"], ["admin", "admin"], [], None]
    assert is_well(project)


@pytest.mark.parametrize("old", ["ARRAY(Text)", "ARRAY(String(90))"])
def test_strings_become_labels(project: Project, old: str) -> None:
    begun(project, old)
    project.models(users(f"ARRAY({STRINGS.format(FEWER)})"))
    assert created(project, "labels")[0] == 0
    assert "Users.All has values that are none of 'customer', 'admin'" in project.refusal("orm")
    project.query('UPDATE "Users" SET "All" = array_replace("All", \'staff\'\'s\', NULL)')
    project.upgrade("orm")
    assert values(project) == [[None, "admin"], [None, None], [], None]
    assert is_well(project)
