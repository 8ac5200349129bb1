"""A revision is replayed and applied by its own names, whatever convention the models have."""

import json

import pytest

from tests.migrations.support import ENGINES, Project
from tests.migrations.test_judge import ID, created

pytestmark = pytest.mark.slow  # each replays and applies revisions

CONVENTION = """
metadata = MetaData(naming_convention={
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
})
"""
PLAIN = "metadata = MetaData()\n"
OTHER = CONVENTION.replace('"uq_', '"unique_').replace('"ck_', '"check_').replace('"ix_', '"idx_')
MODELS = f"""
Table("users", metadata, {ID}, Column("email", String(20), unique=True), Column("age", Integer),
    UniqueConstraint("age", "email"), CheckConstraint("age > 0", name="positive"))
Table("posts", metadata, {ID}, Column("user_id", ForeignKey("users.id"), index=True))
"""
MORE = MODELS.replace('Column("age", Integer)', 'Column("age", BigInteger), Column("x", Integer)')


def problems(project: Project, *arguments: str) -> list[str]:
    return [p["message"] for p in json.loads(project.orm("check", "--json", *arguments).stdout)]


def names(project: Project) -> list[str]:
    if project.url.startswith("sqlite"):
        tables = project.query("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        return sorted(line.strip(" \t,") for (sql,) in tables for line in sql.splitlines())
    return [
        name
        for (name,) in project.query(
            "SELECT conname FROM pg_constraint WHERE conrelid IN ('users'::regclass,"
            " 'posts'::regclass) ORDER BY 1"
        )
    ]


@ENGINES
@pytest.mark.parametrize("before", [PLAIN, OTHER], ids=["none", "another"])
def test_a_convention_that_comes_later(project: Project, before: str) -> None:
    project.models(before + MODELS)
    assert created(project, "start")[0] == 0
    project.upgrade("orm")
    assert problems(project, "--local") == []
    made = names(project)

    project.models(CONVENTION + MODELS)  # an untouched database has no drift
    found = problems(project, "--local")
    assert not [message for message in found if "applied revisions" in message], found
    code, made_now, said = created(project, "names")
    assert code == 0, said
    if made_now is not None:
        project.upgrade("orm")
    assert problems(project, "--local") == []
    renamed = names(project)

    project.models(CONVENTION + MORE)  # rebuilds on SQLite
    code, _, said = created(project, "more")
    assert code == 0, said
    project.upgrade("orm")
    assert problems(project, "--local") == []
    after = names(project)

    project.models(PLAIN + MORE)
    project.clear()
    project.orm("apply", "--local")  # a database made today is as one that was made before
    assert names(project) == after
    assert made
    assert renamed


@ENGINES
def test_what_has_no_name_in_a_revision_has_none(project: Project) -> None:
    project.revision(
        1,
        "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True),",
        "    sa.Column('email', sa.String(20), unique=True), sa.Column('age', sa.Integer),",
        "    sa.CheckConstraint('age > 0', name='positive'))",
        "op.create_table('posts', sa.Column('id', sa.Integer, primary_key=True))",
    )
    project.revision(
        2,
        "with op.batch_alter_table('users') as batch:",
        "    batch.create_unique_constraint('one', ['age'])",
        "    batch.create_check_constraint('two', 'age < 9')",
        "    batch.add_column(sa.Column('x', sa.Boolean(create_constraint=True, name='three')))",
    )
    by_convention = []
    for convention in (PLAIN, CONVENTION):
        project.models(convention + MODELS)
        assert not [m for m in problems(project) if "replayed" in m]
        project.upgrade("orm")
        by_convention.append(names(project))
        project.clear()
    assert by_convention[0] == by_convention[1]
    assert "positive" in str(by_convention[0])
    assert "ck_users" not in str(by_convention[0])
