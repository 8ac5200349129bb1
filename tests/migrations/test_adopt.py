"""A project that stock Alembic has migrated for years."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from alembic.util import CommandError
from click.testing import CliRunner
from sqlalchemy import make_url

from orm.cli import main
from tests.migrations.adopted import StockProject

pytestmark = pytest.mark.slow  # it replays a long history, and runs programs

ENGINES = pytest.mark.parametrize(
    "shop", ["sqlite", "postgresql", "mariadb", "mysql"], indirect=True
)
NEW = "migrations/versions/0001_checkpoint.py"


@pytest.fixture
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StockProject:
    """Such a project; its database is the engine's that the parameter names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("ORM_REMOTE_URL", raising=False)
    engine = getattr(request, "param", "sqlite")
    if engine == "sqlite":
        return StockProject(tmp_path)
    if engine == "postgresql":
        return StockProject(tmp_path, request.getfixturevalue("postgresql_url"))
    cluster = request.getfixturevalue(f"{engine}_server")
    name = request.getfixturevalue("mysql_database")(cluster)
    url = cluster.primary.url(database=name).replace("+asyncmy", "+pymysql")
    return StockProject(tmp_path, url)


def test_it_has_the_shape_of_many(shop: StockProject) -> None:
    assert len(shop.revisions) == len(shop.history) == 26


@ENGINES
def test_a_database_at_the_head_gets_the_checkpoint_recorded(shop: StockProject) -> None:
    files = {file: file.read_bytes() for file in shop.revisions}
    shop.stock("upgrade", "head")
    shop.query("INSERT INTO users (id, email, joined) VALUES (1, 'a@b', '2020-01-01 00:00:00')")
    said = shop.orm("adopt")
    assert "26 revisions in alembic/versions, 2 of them merge branches" in said
    assert f"the head is {shop.head}" in said
    assert "stands for them: 30 tables" in said
    assert "The models differ from it in 1 thing(s)" in said
    engine = make_url(shop.url).get_backend_name()
    assert f"each revision is tried on {engine}, the engine of the local database" in said
    assert f'add engines = ["{engine}", "' in said
    assert f'replaces = "{shop.head}"' in Path(NEW).read_text()
    assert "not run" in shop.orm("list", "--local")
    assert "not run: 0001_checkpoint" in shop.orm("apply", "--local")
    assert shop.recorded == (["0001"], ["0001"])
    assert "the schema was the same" in shop.orm("list", "--local")
    assert {file: file.read_bytes() for file in shop.revisions} == files
    # From here on it is like any other project.
    shop.orm("create", "follow the models")
    shop.orm("apply", "--local")
    assert shop.recorded == (["0001", "0002"], ["0002"])
    assert shop.query("SELECT email FROM users") == [("a@b",)]
    # Foreign keys without an index; MariaDB and MySQL make one for each.
    code = 1 if shop.url.startswith(("sqlite", "postgresql")) else 0
    assert "users" not in shop.orm("check", "--local", code=code)


@pytest.mark.parametrize("keeps_the_old", [True, False])
@pytest.mark.parametrize("command", [["init"], ["init", "."], ["migrations", "adopt"]])
def test_a_project_is_adopted_once(
    shop: StockProject, command: list[str], keeps_the_old: bool
) -> None:
    shop.orm("adopt")
    shop.orm("create", "follow the models")
    if not keeps_the_old:
        (shop.folder / "alembic.ini").unlink()
    before = {file: file.read_bytes() for file in shop.folder.rglob("*") if file.is_file()}
    done = CliRunner().invoke(main, command, prog_name="orm")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert (
        "this project's revisions are in migrations/versions already: 0001_checkpoint to "
        "0002_follow_the_models. Nothing was written"
    ) in done.stderr
    assert {file: file.read_bytes() for file in shop.folder.rglob("*") if file.is_file()} == before


def test_it_is_adopted_anew_once_its_revisions_are_away(shop: StockProject) -> None:
    shop.orm("adopt")
    (shop.folder / "migrations").rename(shop.folder / "first try")
    assert "stands for them: 30 tables" in shop.orm("adopt")
    assert Path(NEW).exists()


@ENGINES
def test_a_new_database_runs_the_checkpoint(shop: StockProject) -> None:
    shop.orm("adopt")
    assert "applied 0001_checkpoint" in shop.orm("apply", "--local")
    assert shop.recorded == (["0001"], ["0001"])
    assert shop.query("SELECT count(*) FROM thing_27") == [(0,)]
    assert "drift" not in shop.orm("check", "--local", "--json", code=1)


@ENGINES
def test_plain_alembic_does_the_same(shop: StockProject) -> None:
    shop.stock("upgrade", "head")
    said = shop.orm("adopt")
    assert "delete alembic.ini and alembic: plain alembic works on the new revisions then" in said
    (shop.folder / "alembic.ini").rename("old.ini")
    for _ in range(2):
        shop.stock("upgrade", "head")
        assert shop.recorded == (["0001"], ["0001"])
    with pytest.raises(CommandError, match="Can't locate revision identified by '0001'"):
        shop.stock("-c", "old.ini", "upgrade", "head")


@ENGINES
def test_a_database_that_is_behind_comes_to_the_head_first(shop: StockProject) -> None:
    shop.orm("adopt")
    shop.stock("upgrade", shop.history[10])
    for command in ("apply", "list"):
        said = shop.orm(command, "--local", code=1)
        assert f"alembic_version says that the database is at {shop.history[10]}" in said
    way = f"alembic -c alembic.ini upgrade {shop.head}"
    assert way in said
    shop.stock(*way.split()[1:])
    shop.orm("apply", "--local")
    assert shop.recorded == (["0001"], ["0001"])


@ENGINES
def test_a_database_with_another_schema_is_not_believed(shop: StockProject) -> None:
    shop.stock("upgrade", "head")
    shop.orm("adopt")
    shop.query("DROP INDEX ix_users_joined" + shop.of_table("users"))
    shop.query("CREATE TABLE by_hand (id INTEGER PRIMARY KEY)")
    said = shop.orm("apply", "--local", code=1)
    assert "0001 makes index ix_users_joined of users, and the database does not have it" in said
    assert "the database has table by_hand, and 0001 does not make it" in said
    assert "orm_revisions" not in said
    assert shop.query("SELECT version_num FROM alembic_version") == [(shop.head,)]
    assert "makes index ix_users_joined" in shop.orm("baseline", "0001", "--local", code=1)
    shop.orm("baseline", "0001", "--local", "--anyway", "by_hand is a colleague's")
    assert shop.recorded == (["0001"], ["0001"])
    assert "by_hand is a colleague's" in shop.orm("list", "--local")


def test_tables_without_a_history_are_not_run_over(shop: StockProject) -> None:
    shop.stock("upgrade", "head")
    shop.orm("adopt")
    shop.query("DROP TABLE alembic_version")
    said = shop.orm("apply", "--local", code=1)
    assert "no revision is recorded in it" in said
    assert "orm migrations baseline 0001 --local" in said
    shop.orm("baseline", "0001", "--local")
    assert shop.recorded == (["0001"], ["0001"])


# What models do not say --------------------------------------------------------------------


def test_views_and_triggers_of_sqlite_are_kept(shop: StockProject) -> None:
    project = StockProject(
        shop.folder,
        more=(
            "CREATE VIEW adults AS SELECT id, '\\:name' AS colon FROM users WHERE age >= 18",
            "CREATE TRIGGER young AFTER INSERT ON users WHEN NEW.age < 0 "
            "BEGIN UPDATE users SET age = 0 WHERE id = NEW.id; END",
        ),
    )
    project.stock("upgrade", "head")
    project.orm("adopt")
    project.orm("apply", "--local")
    (shop.folder / "shop.db").unlink()
    project.orm("apply", "--local")
    project.query("INSERT INTO users (id, email, age) VALUES (1, 'a', -1), (2, 'b', 20)")
    assert project.query("SELECT age FROM users") == [(0,), (20,)]
    assert project.query("SELECT id, colon FROM adults") == [(2, ":name")]


@pytest.mark.parametrize("shop", ["postgresql"], indirect=True)
def test_what_only_postgresql_has_is_kept(shop: StockProject) -> None:
    project = StockProject(
        shop.folder,
        shop.url,
        more=(
            "CREATE EXTENSION IF NOT EXISTS citext",
            "CREATE SCHEMA side",
            "CREATE TABLE side.notes (id serial PRIMARY KEY, body citext, state varchar(3))",
            "CREATE SEQUENCE tickets START 7",
            "CREATE FUNCTION young() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ DECLARE n int := 0; BEGIN NEW.age = n; RETURN NEW; END $$",
            "CREATE TRIGGER young BEFORE INSERT ON users FOR EACH ROW WHEN (NEW.age < 0) "
            "EXECUTE FUNCTION young()",
            "CREATE VIEW adults AS SELECT id, '100%'::text AS sure FROM users WHERE age >= 18",
            "CREATE MATERIALIZED VIEW many AS SELECT id FROM adults",
            "CREATE UNIQUE INDEX ix_many ON many (id)",
        ),
    )
    project.stock("upgrade", "head")
    project.orm("adopt")
    project.orm("apply", "--local")
    for schema in ("side", "public"):
        project.query(f"DROP SCHEMA {schema} CASCADE")
    project.query("CREATE SCHEMA public")
    project.orm("apply", "--local")
    project.query(
        "INSERT INTO users (id, email, age, joined) VALUES (1, 'a', -1, now()), (2, 'b', 20, now())"
    )
    assert project.query("SELECT age FROM users ORDER BY id") == [(0,), (20,)]
    assert project.query("SELECT * FROM adults") == [(2, "100%")]
    assert project.query("SELECT nextval('tickets')") == [(7,)]
    assert project.query("SELECT count(*) FROM side.notes") == [(0,)]


def test_rows_of_the_history_are_named(shop: StockProject) -> None:
    insert = "INSERT INTO thing_27 (id, name) VALUES (1, 'a'), (2, 'b')"
    project = StockProject(shop.folder, more=(insert,))
    said = project.orm("adopt", code=1)
    assert "the history puts 2 row(s) into thing_27" in said
    text = Path(NEW).read_text()
    assert "raise RuntimeError" in text
    assert "2 row(s) into thing_27" in text
    assert "write by hand what it names" in said


def test_models_that_do_not_make_their_tables_stop_nothing(shop: StockProject) -> None:
    models = shop.folder / "shop" / "accounts.py"
    twice = 'Index("ix_twice", User.email)\nIndex("ix_twice", User.age)\n'
    models.write_text(models.read_text().replace("import C", "import Index, C") + twice)
    shop.stock("upgrade", "head")
    assert "ix_twice already exists" in shop.orm("adopt")
    shop.orm("apply", "--local")
    assert shop.recorded == (["0001"], ["0001"])


# What is found -----------------------------------------------------------------------------


def test_a_database_at_the_head_stands_in_for_a_history_that_does_not_run(
    shop: StockProject,
) -> None:
    shop.stock("upgrade", "head")
    first = next(file for file in shop.revisions if file.name.startswith(shop.history[0]))
    first.write_text(first.read_text().replace("op.create_table", "op.drop_index('x');op.f"))
    said = shop.orm("adopt", code=1)
    assert "cannot be replayed in an empty sqlite database" in said
    assert "Nothing was written" in said
    assert not {"migrations", "pyproject.toml", ".gitignore"} & {
        path.name for path in shop.folder.iterdir()
    }
    shop.query("INSERT INTO users (id, email) VALUES (1, 'a@b')")  # a user's, not the history's
    shop.orm("adopt", "--local")
    shop.orm("apply", "--local")
    assert shop.recorded == (["0001"], ["0001"])


BOTH = """\
[tool.orm]
local = "sqlite+aiosqlite:///shop.db"
engines = ["sqlite", "postgresql"]
index_foreign_keys = false
"""


@pytest.mark.parametrize("arguments", [(), ("--local",)])
def test_it_is_tried_on_each_engine(
    shop: StockProject, postgresql_url: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    shop.stock("upgrade", "head")
    Path("pyproject.toml").write_text(BOTH)
    said = shop.orm("adopt", *arguments)
    assert "each revision is tried on sqlite and postgresql." in said
    assert Path(NEW).read_text().count('op.create_table("users"') <= 1
    monkeypatch.setenv("ORM_REMOTE_URL", postgresql_url)
    shop.orm("apply", "--local")
    shop.orm("apply", "--remote", "--yes")
    shop.orm("create", "follow the models")
    assert "All is well." in shop.orm("check")


@pytest.mark.parametrize("before", ["[tool.orm]\n", "[tool.orm] # ours\n", "[tool.orm]"])
def test_the_database_is_named_beside_settings_that_are_there(
    shop: StockProject, before: str
) -> None:
    shop.stock("upgrade", "head")
    settings = "" if before.endswith("]") else "index_foreign_keys = false\n\n[tool.other]\nx = 1\n"
    Path("pyproject.toml").write_text(before + settings)
    shop.orm("adopt")
    tools = tomllib.loads(Path("pyproject.toml").read_text())["tool"]
    assert tools["orm"].pop("local") == "sqlite+aiosqlite:///shop.db"
    assert tools["orm"] == ({"index_foreign_keys": False} if settings else {})
    assert "recorded, and not run: 0001_checkpoint" in shop.orm("apply", "--local")


@pytest.mark.parametrize("shop", ["postgresql"], indirect=True)
def test_no_password_of_the_environment_is_written(
    shop: StockProject, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ini = Path("alembic.ini")
    ini.write_text(ini.read_text().replace(shop.url, "driver://user:pass@localhost/dbname"))
    url = make_url(postgresql_url).set(password="secret")
    monkeypatch.setenv("ORM_LOCAL_URL", url.render_as_string(hide_password=False))
    assert "The password of the local database is not in pyproject.toml" in shop.orm("adopt")
    settings = Path("pyproject.toml").read_text()
    assert "secret" not in settings
    assert f'local = "{postgresql_url}"' in settings


def test_a_history_for_one_engine_is_named(shop: StockProject) -> None:
    project = StockProject(shop.folder, more=("PRAGMA user_version = 3",))
    Path("pyproject.toml").write_text(BOTH)
    said = project.orm("adopt", code=1)
    assert "the old revisions cannot be replayed in an empty postgresql database: " in said
    assert "let [tool.orm] in pyproject.toml name no other one (local, engines)" in said
    assert Path("pyproject.toml").read_text() == BOTH
    assert not Path(NEW).exists()


def test_a_database_that_is_behind_stands_in_for_nothing(shop: StockProject) -> None:
    shop.stock("upgrade", shop.history[10])
    said = shop.orm("adopt", "--local", code=1)
    assert f"the database is at {shop.history[10]}" in said
    assert not Path("migrations").exists()


def test_two_heads(shop: StockProject) -> None:
    last, other = shop.revisions[0], shop.history[2]
    last.with_name("abc_other.py").write_text(
        f'revision = "abc"\ndown_revision = "{other}"\ndef upgrade():\n    pass\n'
    )
    shop.stock("upgrade", "heads")
    shop.orm("adopt")
    assert "abc" in Path(NEW).read_text()
    shop.orm("apply", "--local")
    assert shop.recorded == (["0001"], ["0001"])


def test_old_revisions_that_are_numbers_are_counted_on(shop: StockProject) -> None:
    shop.revisions[0].with_name("0041_last.py").write_text(
        f'revision = "0041"\ndown_revision = "{shop.head}"\ndef upgrade():\n    pass\n'
    )
    shop.stock("upgrade", "head")
    shop.orm("adopt")
    assert [file.name for file in Path("migrations/versions").iterdir()] == ["0042_checkpoint.py"]
    shop.orm("apply", "--local")
    assert shop.recorded == (["0042"], ["0042"])


@pytest.mark.parametrize(
    ("target", "named"),
    [("None", "shop.base:Base.metadata"), ("get_metadata()", "shop.base:Base.metadata")],
)
def test_the_models_can_be_named(shop: StockProject, target: str, named: str) -> None:
    env = shop.folder / "alembic" / "env.py"
    env.write_text(env.read_text().replace("= Base.metadata", f"= {target}"))
    said = shop.orm("adopt", code=1)
    assert "orm migrations adopt --metadata app.models:Base.metadata" in said
    (shop.folder / "shop" / "base.py").write_text(
        (shop.folder / "shop" / "base.py").read_text() + "\nimport shop.accounts, shop.catalogue\n"
    )
    shop.orm("adopt", "--metadata", named)
    assert "from shop.base import Base\n" in Path("migrations/env.py").read_text()


def test_a_file_that_cannot_be_loaded_is_named(shop: StockProject) -> None:
    file = sorted(shop.revisions)[3]
    file.write_text(file.read_text() + "\nimport a_package_that_is_gone\n")
    said = shop.orm("adopt", code=1)
    line = len(file.read_text().splitlines())
    assert f"{file.absolute()} cannot be loaded in line {line}: ModuleNotFoundError" in said


def test_settings_in_pyproject_are_kept_for_the_old_revisions(shop: StockProject) -> None:
    (shop.folder / "alembic.ini").unlink()
    Path("pyproject.toml").write_text(
        '[project]\nname = "shop"\n\n[tool.alembic]\nscript_location = "%(here)s/alembic"\n'
        'prepend_sys_path = ["."]\n\n[tool.ruff]\nline-length = 90\n'
    )
    Path(".gitignore").write_text("*.pyc")
    shop.orm("adopt")
    text = Path("pyproject.toml").read_text()
    assert '[project]\nname = "shop"\n' in text
    assert '\n\n[tool.ruff]\nline-length = 90\n\n[tool.orm]\nlocal = "sqlite' in text
    assert text.count("[tool.alembic]") == 1
    assert Path(".gitignore").read_text().splitlines()[:2] == ["*.pyc", "/app.db*"]
    assert shop.head in shop.stock("-c", "alembic.ini", "heads")


def test_no_password_is_written(shop: StockProject, monkeypatch: pytest.MonkeyPatch) -> None:
    project = StockProject(shop.folder, "postgresql://me:secret@127.0.0.1:1/shop")
    monkeypatch.setenv("ORM_LOCAL_URL", "sqlite+aiosqlite:///shop.db")
    said = project.orm("adopt")
    assert (
        'local = "postgresql+psycopg://me@127.0.0.1:1/shop"' in Path("pyproject.toml").read_text()
    )
    assert "set ORM_LOCAL_URL" in said


def test_for_programs(shop: StockProject) -> None:
    found, _ = json.JSONDecoder().raw_decode(shop.orm("adopt", "--json"))  # then what is for people
    assert found["replaces"] == [shop.head]
    assert found["revision"] == "0001"
    assert found["left"] == []
    assert [one["subject"] for one in found["models"]] == ["constraint ck_users_age of users"]


def test_there_is_nothing_to_adopt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "orm.cli", "migrations", "adopt"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "orm init" in done.stdout
