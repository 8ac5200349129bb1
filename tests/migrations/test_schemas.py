"""Tables in another schema than the default one, on PostgreSQL."""

import json

import pytest
from sqlalchemy import make_url

from orm import Database
from orm.exceptions import MigrationError
from orm.web import lifespan
from tests.migrations.support import Project
from tests.migrations.test_judge import created

pytestmark = [
    pytest.mark.slow,  # each replays and applies revisions
    pytest.mark.parametrize("project", ["postgresql"], indirect=True),
]

ID = 'Column("id", Integer, primary_key=True)'
USERS = f'Table("users", metadata, {ID}, Column("nick", String(40)), schema="app")'
FOLLOWING = [
    ("op.drop_column('users', 'nick', schema='app')", ("drop_column", "app.users", "nick", 1)),
    ("op.execute('ALTER TABLE app.users DROP nick')", ("drop_column", "app.users", "nick", 1)),
    ("op.drop_table('users', schema='app')", ("drop_table", "app.users", None, 2)),
    ("op.execute('DROP TABLE IF EXISTS app.users')", ("drop_table", "app.users", None, 2)),
    ("op.execute('DELETE FROM app.users')", ("delete", "app.users", None, 2)),
    ("op.execute(sa.table('users', schema='app').delete())", ("delete", "app.users", None, 2)),
    ("op.drop_column('pets', 'name', schema='public')", ("drop_column", "pets", "name", 1)),
    ("op.execute('DELETE FROM public.pets')", ("delete", "pets", None, 1)),
    (
        "op.alter_column('users', 'nick', nullable=False, schema='app')",
        ("not_null", "app.users", "nick", 1),
    ),
    (
        "op.execute('ALTER TABLE app.users RENAME TO p')\n    op.drop_table('p', schema='app')",
        ("drop_table", "app.users", None, 2),
    ),
]


@pytest.mark.parametrize(("lines", "effect"), FOLLOWING)
def test_the_review_names_what_a_revision_does_to_them(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    lines: str,
    effect: tuple[str, str, str | None, int],
) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", project.url)
    columns = "sa.Column('id', sa.Integer, primary_key=True), sa.Column('{}', sa.String(40))"
    project.revision(
        1,
        "op.execute('CREATE SCHEMA app')",
        f"op.create_table('users', {columns.format('nick')}, schema='app')",
        f"op.create_table('pets', {columns.format('name')})",
    )
    assert project.orm("apply", "--remote", "--yes").exit_code == 0
    project.query("INSERT INTO app.users VALUES (1, 'ada'), (2, NULL)")
    project.query("INSERT INTO pets VALUES (1, 'rex')")
    project.revision(2, lines)
    result = project.orm("apply", "--remote", "--dry-run", "--json")
    found = json.loads(result.stdout)["review"]
    assert effect in [(one["kind"], one["table"], one["column"], one["rows"]) for one in found]
    assert project.orm("apply", "--remote", "--yes").exit_code == 1
    assert len(project.query("SELECT nick FROM app.users")) == 2


def begun(project: Project, code: str) -> None:
    """A local database that has the models, and two rows of app.users."""
    project.models(code)
    code_, made, said = created(project, "start")
    assert code_ == 0, (made, said)
    project.upgrade("orm")
    project.query("INSERT INTO app.users (nick) VALUES ('ada'), ('bob')")


def well(project: Project) -> None:
    """The database and the models agree."""
    project.upgrade("orm")
    assert json.loads(project.orm("check", "--local", "--json").stdout) == []
    assert created(project, "again")[1] is None


@pytest.mark.parametrize(
    ("renames", "new", "query"),
    [
        (["app.users:people"], USERS.replace("users", "people"), "SELECT nick FROM app.people"),
        (
            ["app.users.nick:handle"],
            USERS.replace("nick", "handle"),
            "SELECT handle FROM app.users",
        ),
    ],
)
def test_a_rename(project: Project, renames: list[str], new: str, query: str) -> None:
    begun(project, USERS)
    project.models(new)
    result = project.orm("create", "rename")
    assert result.exit_code == 2
    assert f"add --rename {renames[0]} if" in result.stderr
    code, _, said = created(project, "rename", *[f"--rename={one}" for one in renames])
    assert code == 0, said
    well(project)
    assert project.query(query) == [("ada",), ("bob",)]


def test_a_key_without_an_index_is_named(project: Project) -> None:
    key = 'Column("boss_id", ForeignKey("app.users.id"))'
    users = USERS.replace('Column("nick"', f'{key}, Column("nick"')
    begun(project, f"metadata = MetaData()  # which makes no index by itself\n{users}")
    found = json.loads(project.orm("check", "--local", "--json").stdout)
    assert [(one["kind"], one["subject"]) for one in found] == [
        ("foreign_key", "app.users.boss_id")
    ]


def test_a_baseline_of_them_alone(project: Project) -> None:
    begun(project, USERS)
    project.query("DROP TABLE orm_revisions, alembic_version")
    result = project.orm("baseline", "0001", "--local")
    assert result.exit_code == 0, result.output
    well(project)


async def test_an_application_that_has_them_alone_starts_without_a_revision(
    project: Project,
) -> None:
    database = Database(make_url(project.url).set(drivername="postgresql+asyncpg"))
    start = lifespan(database, folder=project.folder)
    with pytest.raises(MigrationError, match="has no tables"):
        async with start(None):
            pass
    project.query("CREATE SCHEMA app")
    project.query("CREATE TABLE app.mine (id integer)")
    async with start(None):
        pass
