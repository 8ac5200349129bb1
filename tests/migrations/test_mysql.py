"""What MariaDB and MySQL have, and Alembic does not write; and what a portable model meets."""

import json

import pymysql
import pytest
from sqlalchemy import make_url

from orm.testing.mysql import Cluster, Server
from tests.migrations.support import MYSQL, MySQLProject, Project

BEFORE = """
Table("users", metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(300), nullable=False),
    Column("state", Enum("new", "old", name="state")),
    Column("score", Integer, server_default="0"),
    Column("twice", Integer, Computed("score * 2")),
    Column("at", DATETIME(fsp=6), nullable=False),
    Column("note", String(100)),
    CheckConstraint("score >= 0", name="ck_users_score"),
    Index("ix_users_name", "name", mysql_length=20),
    Index("ix_users_score", text("score DESC")),
    comment="those who write",
)
"""
AFTER = """
Table("users", metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(300, collation="utf8mb4_bin"), nullable=False, comment="as they say it"),
    Column("state", Enum("new", "old", "gone", name="state"), server_default="new"),
    Column("score", BigInteger, server_default="1"),
    Column("twice", Integer, Computed("score * 3")),
    Column("at", DATETIME(fsp=6), nullable=False, server_default=text("CURRENT_TIMESTAMP(6)")),
    Column("note", Text),
    CheckConstraint("score >= 0 AND score <> 7", name="ck_users_score"),
    Index("ix_users_name", "name", mysql_length=30),
    Index("ix_users_score", text("score"), text("id DESC")),
)
Table("posts", metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
)
"""
IMPORTS = "from sqlalchemy.dialects.mysql import DATETIME\n"


@MYSQL
def test_create_writes_what_alembic_does_not(project: MySQLProject) -> None:
    project.models(IMPORTS + BEFORE)
    assert project.orm("create", "users").exit_code == 0
    project.upgrade("orm")
    project.query(
        "INSERT INTO users (name, state, score, at, note)"
        " VALUES ('ada', 'old', 3, '2026-01-02 03:04:05.123456', 'n')"
    )
    project.models(IMPORTS + AFTER)
    done = project.orm("create", "all of it", "--no-rename")
    assert done.exit_code == 0, done.output
    project.upgrade("orm")
    assert project.orm("check", "--local").output == "All is well.\n"
    assert "there is nothing to write" in project.orm("create", "nothing").output
    [row] = project.query("SELECT name, state, score, twice, at, note FROM users")
    assert row[:4] == ("ada", "old", 3, 9)
    assert str(row[4]) == "2026-01-02 03:04:05.123456"
    assert row[5] == "n"


@MYSQL
def test_drift_is_named_in_the_words_of_the_engine(project: MySQLProject) -> None:
    project.models(IMPORTS + BEFORE)
    project.orm("create", "users")
    project.upgrade("orm")
    project.query("ALTER TABLE users MODIFY COLUMN note VARCHAR(90), ADD INDEX by_hand (note)")
    said = project.orm("check", "--local")
    assert said.exit_code == 1
    assert "varchar(90)" in said.output
    assert "index by_hand of users" in said.output


@MYSQL
def test_what_would_lose_values_in_silence_is_left_to_be_written(project: MySQLProject) -> None:
    project.models(
        'Table("t", metadata, Column("id", Integer, primary_key=True), Column("n", Numeric(9, 4)))'
    )
    project.orm("create", "t")
    project.upgrade("orm")
    project.query("INSERT INTO t (n) VALUES (1.2345)")
    project.models(
        'Table("t", metadata, Column("id", Integer, primary_key=True), Column("n", Numeric(9, 2)))'
    )
    said = project.orm("create", "rounds", "--no-rename")
    assert "column t.n" in said.output
    assert "decimal(9,2)" in said.output
    project.refusal("orm")
    assert str(project.query("SELECT n FROM t")[0][0]) == "1.2345"


@MYSQL
@pytest.mark.parametrize(
    ("column", "said"),
    [
        ('Column("name", String)', "VARCHAR requires a length"),
        ('Column("name", Text, server_default="x")', "can't have a default value"),
        ('Column("name", String(1000), index=True)', "Specified key was too long"),
    ],
)
def test_create_says_what_the_engine_does_not_take(
    project: MySQLProject, column: str, said: str
) -> None:
    project.models(f'Table("t", metadata, Column("id", Integer, primary_key=True), {column})')
    done = project.orm("create", "t")
    if done.exit_code == 0:  # MariaDB has defaults of large texts, and cuts the key of an index
        assert "server_default" in column or "index" in column
        assert project.url.startswith("mariadb")
        return
    assert said in done.output


@MYSQL
def test_one_run_at_a_time(project: MySQLProject) -> None:
    project.models('Table("t", metadata, Column("id", Integer, primary_key=True))')
    project.orm("create", "t")
    [(name,)] = project.query("SELECT DATABASE()")
    url = make_url(project.url)
    holder = pymysql.connect(host=url.host, port=url.port or 3306, user=url.username)
    try:
        holder.cursor().execute("SELECT GET_LOCK(%s, 0)", [f"orm_migrations_{name}"])
        done = project.orm("apply", "--local", "--patience", "0.2")
        assert done.exit_code == 1
        assert "is migrating this database" in done.stderr
        assert project.is_untouched
    finally:
        holder.close()
    project.upgrade("orm")
    assert project.ledger == ["0001"]


@MYSQL
def test_a_lock_that_is_let_go_is_noticed(project: MySQLProject) -> None:
    project.revision(
        1, "op.execute('CREATE TABLE t (id INTEGER)')", "op.execute('DO RELEASE_ALL_LOCKS()')"
    )
    assert "the lock that keeps others from migrating is gone" in project.refusal("orm")
    project.revision(1, "op.execute('CREATE TABLE t (id INTEGER)')")
    project.upgrade("orm")
    assert project.ledger == ["0001"]


@MYSQL
def test_baseline_and_squash(project: MySQLProject) -> None:
    project.models(IMPORTS + BEFORE)
    project.orm("create", "users")
    project.upgrade("orm")
    project.query("DROP TABLE orm_revisions")
    project.query("DROP TABLE alembic_version")
    done = project.orm("baseline", "0001", "--local", "--reason", "it was there")
    assert done.exit_code == 0, done.output
    assert project.ledger == ["0001"]
    project.query("CREATE VIEW names AS SELECT name FROM users")
    project.revision(2, "op.execute('CREATE VIEW names AS SELECT name FROM users')")
    project.query("DROP VIEW names")
    project.upgrade("orm")
    done = project.orm("squash")
    assert done.exit_code == 0, (done.output, done.exception)
    project.upgrade("orm")
    done = project.orm("reset", "--local", "--yes")
    assert done.exit_code == 0, (done.output, done.exception)
    assert project.orm("check", "--local").output == "All is well.\n"
    assert "names" in project.tables


@MYSQL
def test_a_review_says_how_the_engine_changes_each_table(
    project: MySQLProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.revision(1, "op.execute('CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)')")
    project.upgrade("orm")
    project.query("INSERT INTO t VALUES (1, 1)")
    project.revision(2, "op.add_column('t', sa.Column('b', sa.Integer))")
    project.file("0002_by_hand.py").rename(project.file("0002_more.py"))
    project.revision(3, "op.create_index('ix', 't', ['a'])")
    project.file("0003_by_hand.py").rename(project.file("0003_more.py"))
    project.revision(4, "op.execute('ALTER TABLE t MODIFY COLUMN a VARCHAR(10)')")
    said = project.orm("apply", "--local", "--dry-run").output
    assert "0002_more changes t at once (INSTANT), however many rows it has (1 row)" in said
    assert "0003_more changes t in place (INPLACE), while others write to it (1 row)" in said
    assert "0004_by_hand changes t by a copy of all its rows (COPY), and others cannot" in said
    project.upgrade("orm")

    monkeypatch.setenv("ORM_REMOTE_URL", project.url)
    project.revision(5, "op.execute('ALTER TABLE t MODIFY COLUMN a INTEGER')")
    asked = project.orm("apply", "--remote", input="n\n")
    assert "by a copy of all its rows (COPY)" in asked.output
    assert project.ledger == ["0001", "0002", "0003", "0004"]


@MYSQL
def test_a_review_reads_what_these_engines_call_it(
    project: MySQLProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", project.url)
    project.revision(
        1, "op.execute('CREATE TABLE t (id INTEGER PRIMARY KEY, a VARCHAR(20), n DECIMAL(9,4))')"
    )
    project.upgrade("orm")
    project.query("INSERT INTO t VALUES (1, '1', 1.5), (2, NULL, NULL)")
    for change, kinds in {
        "MODIFY COLUMN a INTEGER": [("convert", "a", 1)],
        "MODIFY n DECIMAL(9, 2) NOT NULL, MODIFY a VARCHAR(30)": [
            ("not_null", "n", 1),
            ("convert", "n", 1),
        ],
        "CHANGE a b INT UNSIGNED COMMENT ''x''": [("convert", "a", 1), ("rename", "a", 2)],
        "CHANGE COLUMN `n` `n` double precision": [("convert", "n", 1)],
        "MODIFY COLUMN a VARCHAR(20) COMMENT ''x''": [],
    }.items():
        project.revision(2, f'op.execute("ALTER TABLE t {change}")'.replace("''", "'"))
        said = project.orm("apply", "--remote", "--dry-run", "--json")
        assert said.exit_code == 0, said.output
        review = json.loads(said.stdout)["review"]
        told = [(one["kind"], one["column"], one["rows"]) for one in review]
        assert [one for one in told if one[0] != "alter"] == kinds, change


@pytest.mark.parametrize("project", ["sqlite", "postgresql", "mariadb", "mysql"], indirect=True)
def test_a_review_of_a_revision_that_is_not_finished(
    project: MySQLProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", project.url)
    project.revision(1, "op.create_table('t', sa.Column('id', sa.Integer))")
    project.upgrade("orm")
    project.query("INSERT INTO t VALUES (1)")
    project.revision(2, "raise RuntimeError('not written yet: column t.n')", "op.drop_table('t')")
    project.revision(3, "pass")
    said = project.orm("apply", "--remote", "--yes").stderr
    assert said.splitlines()[0] == (
        "! 0002_by_hand fails as it is: write by hand what its file names, and delete its first "
        "statement"
    )
    assert "is not known" not in said
    assert "RuntimeError: not written yet" in said  # when it ran


@MYSQL
def test_create_says_what_becomes_of_fractions_of_a_second(project: MySQLProject) -> None:
    project.models(
        IMPORTS + 'Table("t", metadata, Column("id", Integer, primary_key=True),'
        ' Column("at", DateTime), Column("exact", DATETIME(fsp=6)))'
    )
    said = project.orm("create", "t").output
    assert "t.at: MariaDB cuts fractions of a second off, and MySQL rounds them" in said
    assert "t.exact" not in said
    project.models(
        IMPORTS + 'Table("t", metadata, Column("id", Integer, primary_key=True),'
        ' Column("at", DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")))'
    )
    assert "fractions" not in project.orm("create", "exact").output


@pytest.mark.parametrize("engine", ["mariadb", "mysql"])
def test_a_revision_for_sqlite_and_mysql(
    project: Project,
    engine: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (project.folder / "pyproject.toml").open("a") as settings:
        settings.write(f'[tool.orm]\nengines = ["sqlite", "{engine}"]\n')
    project.models(
        'Table("t", metadata, Column("id", Integer, primary_key=True),'
        ' Column("n", Integer, server_default="1"))'
    )
    variable = f"ORM_{engine.upper()}_SERVER"
    monkeypatch.delenv(variable, raising=False)
    assert f"set {variable} to one" in project.orm("create", "t").stderr
    server = request.getfixturevalue(f"{engine}_server")
    monkeypatch.setenv(variable, server.primary.url(database=""))
    assert project.orm("create", "t").exit_code == 0
    project.models(
        'Table("t", metadata, Column("id", Integer, primary_key=True),'
        ' Column("n", BigInteger, server_default="2"), CheckConstraint("n > 0", name="ck"))'
    )
    done = project.orm("create", "more", "--no-rename")
    assert done.exit_code == 0, done.output
    assert project.orm("check").output == "All is well.\n"


PARENTS = """
metadata = MetaData()
Table("parents", metadata, Column("id", {type}, primary_key=True))
Table("children", metadata,
    Column("id", Integer, primary_key=True),
    Column("parent", ForeignKey("parents.id")),
)
"""


@MYSQL
def test_the_key_that_a_reference_has_made_stays(project: MySQLProject) -> None:
    """The engine drops it as the reference is made anew, since that one makes another by its name.

    Alembic's issue 1240 is of such keys.
    """
    project.models(PARENTS.format(type="Integer"))
    project.orm("create", "both")
    project.upgrade("orm")
    project.query("INSERT INTO parents VALUES (1)")
    project.query("INSERT INTO children (id, parent) VALUES (1, 1)")
    project.models(PARENTS.format(type="BigInteger"))
    done = project.orm("create", "larger ids", "--no-rename")
    assert done.exit_code == 0, done.output
    project.upgrade("orm")
    assert "KEY `parent` (`parent`)" in project.query("SHOW CREATE TABLE children")[0][1]
    assert project.query("SELECT parent FROM children") == [(1,)]
    assert "there is nothing to write" in project.orm("create", "nothing").output


@MYSQL
@pytest.mark.parametrize("persisted", [True, False])
def test_a_column_that_is_no_longer_generated_keeps_its_values(
    project: MySQLProject, persisted: bool
) -> None:
    table = (
        'Table("t", metadata, Column("id", Integer, primary_key=True), Column("n", Integer),'
        ' Column("twice", {}), Index("ix", "n", "twice"))'
    )
    project.models(table.format(f'Integer, Computed("n * 2", persisted={persisted})'))
    project.orm("create", "generated")
    project.upgrade("orm")
    project.query("INSERT INTO t (n) VALUES (4)")
    project.models(table.format('BigInteger, server_default="1"'))
    done = project.orm("create", "ordinary", "--no-rename")
    assert done.exit_code == 0, done.output
    project.upgrade("orm")
    assert project.query("SELECT n, twice FROM t") == [(4, 8)]
    assert project.orm("check", "--local").output == "All is well.\n"


@pytest.fixture
def server(project: MySQLProject, request: pytest.FixtureRequest) -> Server:
    """The project's."""
    engine = "mariadb" if project.url.startswith("mariadb") else "mysql"
    cluster: Cluster = request.getfixturevalue(f"{engine}_server")
    return cluster.primary


@MYSQL
@pytest.mark.parametrize(
    ("made", "grant"),
    [
        ("FUNCTION beyond() RETURNS INT DETERMINISTIC RETURN 1", "SHOW_ROUTINE"),
        ("PROCEDURE beyond() SELECT 1", "SHOW_ROUTINE"),
        ("VIEW beyond AS SELECT 1 AS one", "SHOW VIEW"),
    ],
)
def test_what_the_account_may_not_see_is_in_no_checkpoint(
    project: MySQLProject, server: Server, made: str, grant: str
) -> None:
    project.models('Table("t", metadata, Column("id", Integer, primary_key=True))')
    assert project.orm("create", "t").exit_code == 0
    project.upgrade("orm")
    [(name,)] = project.query("SELECT DATABASE()")
    server.sql(f"CREATE DEFINER = root@localhost {made}", database=name)
    server.sql("CREATE USER limited@'%'")
    rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, EXECUTE"
    server.sql(f"GRANT {rights} ON `{name}`.* TO limited@'%'")
    server.sql(r"GRANT ALL ON `orm\_scratch\_%`.* TO limited@'%'")
    settings = project.folder / "pyproject.toml"
    try:
        settings.write_text(settings.read_text().replace("//app@", "//limited@"))
        done = project.orm("check", "--local")
        assert done.exit_code == 1
        said = " ".join(done.stderr.split())
        assert "the account limited may not see how the" in said, said
        assert grant in said
        # What the account cannot change either does not keep it from migrating.
        project.revision(2, "op.execute('ALTER TABLE t ADD COLUMN n INTEGER')")
        project.upgrade("orm")
        assert project.ledger == ["0001", "0002"]
    finally:
        server.sql("DROP USER limited@'%'")


@MYSQL
def test_a_trigger_of_an_account_that_is_not_trusted(project: MySQLProject, server: Server) -> None:
    project.models('Table("t", metadata, Column("id", Integer, primary_key=True))')
    project.orm("create", "t")
    project.upgrade("orm")
    made = "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.id = 1"
    project.revision(2, f"op.execute('{made}')")
    server.sql("SET GLOBAL log_bin_trust_function_creators = OFF")
    advice = "SET GLOBAL log_bin_trust_function_creators = ON"
    try:
        assert advice in " ".join(project.refusal("orm").split())
        # So do those that replay the revision, or make the tables of the models.
        replayed = project.orm("create", "nothing")
        assert "cannot be replayed in an empty" in replayed.stderr
        assert advice in " ".join(replayed.stderr.split())
        project.file("0002_by_hand.py").unlink()
        project.models(
            'made = Table("t", metadata, Column("id", Integer, primary_key=True))\n'
            f'event.listen(made, "after_create", DDL("{made}"))'
        )
        compared = project.orm("check")
        assert "the models cannot be compared with the revisions" in compared.stderr
        assert advice in " ".join(compared.stderr.split())
        project.revision(2, f"op.execute('{made}')")
    finally:
        server.sql("SET GLOBAL log_bin_trust_function_creators = ON")
    project.upgrade("orm")
    assert project.ledger == ["0001", "0002"]


@MYSQL
def test_what_fails_after_a_change_that_is_left_is_left_as_well(project: MySQLProject) -> None:
    """The type is not written, since values would be lost; so the key of that type fails."""
    parent = 'Table("parents", metadata, Column("id", Integer, primary_key=True))\n'
    child = 'Table("children", metadata, Column("id", Integer, primary_key=True), {})\n'
    project.models(parent + child.format('Column("parent", String(9))'))
    assert project.orm("create", "both").exit_code == 0
    project.models(parent + child.format('Column("parent", ForeignKey("parents.id"))'))
    done = project.orm("create", "numbers", "--no-rename", "--json")
    assert done.exit_code == 1
    left = [one["subject"] for one in json.loads(done.stdout)["left"]]
    assert {"column children.parent", "what fails"} <= set(left)
