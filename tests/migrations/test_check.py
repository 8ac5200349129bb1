import json
import re
import shlex
import subprocess
import sys

import pytest

from tests.migrations.support import ENGINES, Project

TABLE = 'Table("users", metadata, Column("id", Integer, primary_key=True), {})'
EMAIL = 'Column("email", String(20), nullable=False)'
CHECK = 'CheckConstraint("age >= 0", "age")'
START = f'{EMAIL}, Column("age", Integer, server_default="0"), {CHECK}'
UNIQUE = "constraint uq_users_email of users"
INDEX = (
    'if "users" in metadata.tables: Index("ix_age", desc(metadata.tables["users"].columns["age"]))'
)


@pytest.fixture
def blog(project: Project) -> Project:
    """A project whose revision is applied, by hand some things that Alembic knows nothing of."""
    project.models(TABLE.format(START))
    assert project.orm("create", "start").exit_code == 0
    made = (
        "CREATE INDEX ix_age ON users (age DESC)",
        "CREATE VIEW old AS SELECT id FROM users WHERE age > 90",
        *project.trigger,
    )
    project.revision(2, *(f"op.execute({sql!r})" for sql in made))
    project.models(f"{TABLE.format(START)}\n{INDEX}")
    assert project.orm("apply", "--local").exit_code == 0
    return project


def found(project: Project, *arguments: str) -> list[tuple[str, str]]:
    """What a check finds: kinds, and what they are about."""
    result = project.orm("check", "--json", *arguments)
    problems = json.loads(result.stdout)
    assert result.exit_code == bool(problems)
    told = project.orm("check", *arguments)
    assert told.exit_code == bool(problems)
    keys = [problem for problem in problems if problem["kind"] == "foreign_key"]
    others = [problem["message"] for problem in problems if problem not in keys]
    assert told.stderr.splitlines()[: len(others)] == others
    assert told.stderr.count(" foreign key(s) without an index") == bool(keys)
    return [
        (problem["kind"], problem.get("subject", problem.get("revision"))) for problem in problems
    ]


@ENGINES
def test_all_is_well(blog: Project) -> None:
    assert found(blog) == found(blog, "--local") == []
    assert blog.orm("check", "--local").stdout == "All is well.\n"


@ENGINES
def test_nothing_at_all_is_well(project: Project) -> None:
    assert found(project) == found(project, "--local") == []
    assert project.is_untouched


def test_both_targets_are_too_many(blog: Project) -> None:
    assert blog.orm("check", "--local", "--remote").exit_code == 2


# Models and revisions ----------------------------------------------------------------------


@ENGINES
@pytest.mark.parametrize(
    ("old", "new", "kind", "subject"),
    [
        (EMAIL, f'{EMAIL}, Column("nick", Text)', "model", "column users.nick"),
        ("20", "30", "model", "column users.email"),
        (', server_default="0"', "", "model", "column users.age"),
        (", nullable=False", "", "model", "column users.email"),
        ("age >= 0", "age >= 1", "model", "constraint ck_users_age of users"),
        (f", {CHECK}", "", "revision", "constraint ck_users_age of users"),
        (f"{EMAIL}, ", "", "revision", "column users.email"),
        (CHECK, f'{CHECK}, UniqueConstraint("email")', "model", UNIQUE),
        ("Table", 'Table("logs", metadata, Column("id", Integer)); Table', "model", "table logs"),
        ("users", "people", "revision", "table users"),
    ],
)
def test_models_and_revisions_that_differ(
    blog: Project, old: str, new: str, kind: str, subject: str
) -> None:
    models = TABLE.format(START)
    assert old in models
    blog.models(f"{models.replace(old, new)}\n{INDEX}")
    problems = found(blog)
    assert (kind, subject) in problems
    others = {"index ix_age of users", "table people"}
    assert {other for _, other in problems} <= {subject, *others}


@ENGINES
def test_an_unindexed_foreign_key(project: Project) -> None:
    posts = (
        'Table("posts", metadata, Column("id", Integer, primary_key=True),'
        ' Column("users_id", ForeignKey("users.id")){})'
    )
    users = TABLE.format("")
    project.models(f"metadata.info.clear()\n{users}\n{posts.format('')}")
    assert project.orm("create", "start").exit_code == 0
    assert found(project) == [("foreign_key", "posts.users_id")]
    opted_out = ', info={"index_foreign_keys": False}'
    project.models(f"metadata.info.clear()\n{users}\n{posts.format(opted_out)}")
    assert found(project) == []


@ENGINES
def test_files_that_are_no_line(blog: Project) -> None:
    blog.revision(4, "pass")
    assert found(blog) == found(blog, "--local") == [("gap", "0004")]


# A database --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("CREATE TABLE mine (id INTEGER)", "table mine"),
        ("ALTER TABLE users ADD COLUMN x TEXT", "column users.x"),
        ("ALTER TABLE users RENAME COLUMN email TO mail", "column users.mail"),
        ("CREATE UNIQUE INDEX ix_mine ON users (email)", "index ix_mine of users"),
        ("DROP INDEX ix_age; CREATE INDEX ix_age ON users (age)", "index ix_age of users"),
        ("DROP TRIGGER tr", "trigger tr of users"),
        ("DROP VIEW old; CREATE VIEW old AS SELECT id FROM users WHERE age > 80", "view old"),
        ("CREATE VIEW mine AS SELECT 1", "view mine"),
    ],
)
def test_drift_is_told(blog: Project, sql: str, problem: str) -> None:
    for statement in sql.split("; "):
        blog.query(statement)
    assert found(blog) == []
    assert ("drift", problem) in found(blog, "--local")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("VARCHAR(20)", "VARCHAR(10)", "column users.email"),
        ("NOT NULL", "", "column users.email"),
        ("DEFAULT '0'", "DEFAULT '1'", "column users.age"),
        ("age >= 0", "age >= -1", "constraint ck_users_age of users"),
    ],
)
def test_drift_inside_of_a_table_is_told(blog: Project, old: str, new: str, problem: str) -> None:
    [(sql,)] = blog.query("SELECT sql FROM sqlite_master WHERE name = 'users'")
    assert old in sql
    blog.query("DROP TABLE users")
    blog.query(sql.replace(old, new))
    assert ("drift", problem) in found(blog, "--local")


def test_how_it_is_written_is_no_drift(blog: Project) -> None:
    for kind in ("TABLE users", "VIEW old"):
        name = kind.split()[1]
        [(sql,)] = blog.query("SELECT sql FROM sqlite_master WHERE name = ?", name)
        dependants = blog.query(
            "SELECT sql FROM sqlite_master WHERE tbl_name = 'users' AND sql > ''"
        )
        blog.query(f"DROP {kind}")
        blog.query(sql.replace("\n", " ").replace("(", " /* x */ ( ").replace(" users", " [USERS]"))
        if name == "users":
            for (dependant,) in dependants:
                if not dependant.startswith("CREATE TABLE"):
                    blog.query(dependant)
    assert found(blog, "--local") == []


@ENGINES
def test_what_the_ledger_says_comes_first(blog: Project) -> None:
    file = blog.folder / "alembic/versions/0002_by_hand.py"
    file.write_text(f"{file.read_text()}\n# edited")
    assert found(blog) == []
    assert found(blog, "--local") == [("edited", "0002")]


@ENGINES
def test_models_that_cannot_be_loaded_are_named(project: Project) -> None:
    project.revision(1, "pass")
    project.models("import absent_module")
    for command in (
        ["check"],
        ["create", "more"],
        ["apply", "--local"],
        ["show", "0001", "--dialect", "mysql"],
    ):
        said = project.orm(*command).stderr
        assert "env.py" in said
        assert "absent_module" in said


def test_the_line_of_the_models_is_named(project: Project) -> None:
    """And not that of env.py, which only imports them; also of a file that is no Python."""
    (project.folder / "market").mkdir()
    orders = project.folder / "market" / "orders.py"
    project.models("import market.orders")
    for code, line, cause in (
        ("import json\n\nid: Integer = 5\n", 3, "NameError: name 'Integer' is not defined"),
        ("import json\n\n\njson.loads('{')\n", 4, "JSONDecodeError: "),
        ("id =\n", 1, "SyntaxError: invalid syntax"),
        ("import market.nothing\n", 1, "No module named 'market.nothing'"),
        ("import sys\n\nsys.exit(7)\n", 3, "SystemExit: 7"),
    ):
        orders.write_text(code)
        said = project.orm("check").stderr
        assert f"the models cannot be loaded ({orders} in line {line}): " in said, said
        assert cause in said


STEPS = {
    "no such module": (None, "No module named 'market'", "MetaData over"),
    "no Base": ("x = 1", "cannot import name 'Base' from 'market'", "MetaData over"),
    "no MetaData": ("class Base: pass", "no attribute 'metadata'", "MetaData over"),
    "a missing package": ("import absent", "No module named 'absent'", "Install what has absent"),
    "an error": ("1 / 0", "division by zero", "Correct that line"),
    "an end": ("raise SystemExit(3)", "SystemExit: 3", "Correct that line"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", STEPS.values(), ids=STEPS.keys())
def test_what_to_do_about_the_models_is_said(
    project: Project, case: tuple[str | None, str, str]
) -> None:
    def run(*command: str) -> subprocess.CompletedProcess[str]:
        """In a process of its own, which has imported no models yet."""
        line = [sys.executable, "-m", "orm.cli", "migrations", *command]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    code, cause, step = case
    if code is not None:
        (project.folder / "market.py").write_text(code)
    env = project.folder / "alembic" / "env.py"
    env.write_text(
        "from market import Base\nfrom orm import migrations\nmigrations.run(Base.metadata)\n"
    )
    for done in (run("create", "x"), run("check")):
        assert done.returncode == 1
        assert cause in done.stderr
        assert step in done.stderr
    if step == "MetaData over":
        says = done.stderr[done.stderr.index("from models") :].strip()
        (project.folder / "models.py").write_text("from orm import Base\n")
        env.write_text(says)  # as printed
        assert run("check").returncode == 0


def test_models_without_a_table_are_named(project: Project) -> None:
    """The environment may not import their modules: the revision would drop all tables."""
    project.models("")
    project.revision(1, "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))")
    said = project.orm("create", "x")
    assert said.exit_code == 0
    assert f"The models hold no table: let {project.folder / 'alembic' / 'env.py'}" in said.stderr


@ENGINES
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("default", ['"bad"', "text(\"'bad'\")"])
def test_a_default_that_is_no_label_is_named(project: Project, default: str, own: bool) -> None:
    """Which a database that keeps the enum as a string takes, and the models cannot read."""
    enum = 'Enum({}, name="mood")'
    if own:
        enum = f"Own({enum})"
    own_type = (
        "class Own(TypeDecorator):\n    impl = Enum\n    cache_ok = True\n"
        "    def __init__(self, enum): super().__init__(*enum.enums, name=enum.name)\n"
    )
    column = f'Column("mood", {enum}, server_default={default})'
    project.models(own_type + TABLE.format(column.format('"good", "bad"')))
    assert project.orm("create", "start").exit_code == 0
    project.models(own_type + TABLE.format(column.format('"good", "so so"')))
    for command in (["check"], ["create", "less"]):
        said = project.orm(*command)
        assert said.exit_code == 1
        assert (
            "users.mood the server_default 'bad', which is none of the labels of its enum "
            "('good', 'so so')"
        ) in said.stderr
    assert len(project.revisions) == 1
    project.models(own_type + TABLE.format(column.format('"good", "so so"').replace("bad", "good")))
    assert project.orm("create", "less").exit_code == 0


@ENGINES
def test_drift_says_what_to_do(project: Project) -> None:
    """Each of the commands runs as it is printed."""
    project.models(TABLE.format(EMAIL))
    assert project.orm("create", "start").exit_code == 0
    assert project.orm("apply", "--local").exit_code == 0
    project.query("ALTER TABLE users ADD COLUMN age INTEGER")
    said = project.orm("check", "--local").stderr
    assert (
        "take such a change back, change the database by hand, or begin it anew, with orm" in said
    )
    commands = [shlex.split(one) for one in re.findall(r"with orm migrations ([^,.]+)", said)]
    assert [command[0] for command in commands] == ["reset", "create", "baseline"]
    project.models(TABLE.format(f'{EMAIL}, Column("age", Integer)'))
    for command in commands[1:]:
        done = project.orm(*command)
        assert done.exit_code == 0, done.output
    assert found(project, "--local") == []
    project.query("ALTER TABLE users ADD COLUMN more INTEGER")
    assert project.orm(*commands[0], "--yes").exit_code == 0
    assert found(project, "--local") == []


@ENGINES
def test_pending_revisions_are_linted_in_one_go_if_at_all(project: Project) -> None:
    runs = []
    for number in range(1, 7):
        project.revision(number, "pass")
        if number in (2, 6):
            project.models("with open('runs', 'a') as runs: runs.write('.')")
            assert found(project, "--local") == []
            runs.append((project.folder / "runs").read_text())
            (project.folder / "runs").unlink()
    assert runs[0] == runs[1]


# Foreign keys ------------------------------------------------------------------------------

MANY = """
info = {{}}
metadata = MetaData()
Table("parents", metadata, Column("id", Integer, primary_key=True))
for number in range(5):
    Table(
        f"children_{{number}}",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("parent_id", ForeignKey("parents.id")),
        info={{"index_foreign_keys": number < {}}},
    )
"""


def test_of_hundreds_of_foreign_keys_json_names_each(project: Project) -> None:
    project.models(MANY.replace("range(5)", "range(23)").format(23))
    project.orm("create", "first")
    said = project.orm("check").output
    assert "23 foreign key(s) without an index" in said
    assert said.count("children_") == 20
    assert "and 3 more (--json names each)" in said
    assert len(json.loads(project.orm("check", "--json").stdout)) == 23


@pytest.mark.slow
def test_foreign_keys_without_an_index_are_one_sentence(project: Project) -> None:
    project.models(MANY.format(5))
    project.orm("create", "first")
    result = project.orm("check")
    assert result.exit_code == 1
    assert result.output.count("foreign key") == 1
    assert "5 foreign key(s) without an index" in result.output
    names = ", ".join(f"children_{number}.parent_id" for number in range(5))
    assert f"{names}. orm.Base adds" in result.output
    found = json.loads(project.orm("check", "--json").stdout)
    assert [one["kind"] for one in found] == ["foreign_key"] * 5
    project.models(MANY.format(2))
    assert "2 foreign key(s)" in project.orm("check").output
    pyproject = project.folder / "pyproject.toml"
    settings = pyproject.read_text()
    pyproject.write_text(f"{settings}[tool.orm]\nindex_foreign_keys = false\n")
    assert project.orm("check").output == "All is well.\n"
    pyproject.write_text(f"{settings}[tool.orm]\nindex_foreign_keys = 0\n")
    assert "it is true or false" in project.orm("check").output
