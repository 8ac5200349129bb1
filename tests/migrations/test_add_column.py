"""A new column that the rows of a table would have no value for is refused in plain words."""

import pytest
from alembic.util import CommandError
from sqlalchemy import NullPool, create_engine

from orm.migrations.files.revisions import read
from orm.migrations.running.new_columns import refuse_revisions_without_values
from tests.migrations.support import ENGINES, Project

BATCH = "with op.batch_alter_table('users'{}) as batch: batch.add_column({})"
PLAIN = "op.add_column('users', {})"
BARE = "sa.Column('age', sa.Integer, nullable=False)"
NOW = "sa.Column('age', sa.DateTime, server_default=sa.func.now())"
RANDOM = "sa.Column('age', sa.Integer, server_default=sa.text('(abs(random()))'))"


@pytest.fixture
def users(project: Project) -> Project:
    project.revision(1, "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True))")
    project.alembic("upgrade", "head")
    return project


REFUSED = {
    "not null": PLAIN.format(BARE),
    "not null, batch": BATCH.format("", BARE),
    "not null, rebuild": BATCH.format(", recreate='always'", BARE),
    "now": PLAIN.format(NOW),
    "random": PLAIN.format(RANDOM),
}


@pytest.mark.parametrize("line", REFUSED.values(), ids=REFUSED)
def test_refused_with_rows_and_fine_without(users: Project, line: str) -> None:
    users.query("INSERT INTO users VALUES (1), (2)")
    users.revision(2, "op.execute('CREATE TABLE other (id INTEGER)')", line)
    with pytest.raises(
        CommandError, match=r"age cannot be added to users, which has 2 row\(s\)"
    ) as e:
        users.alembic("upgrade", "head")
    assert ("without this default" in str(e.value)) == ("server_default=" in line)
    assert users.applied == ["0001"]
    assert "other" not in users.tables

    users.query("DELETE FROM users")
    users.alembic("upgrade", "head")
    assert users.query("SELECT name FROM pragma_table_info('users')") == [("id",), ("age",)]


@pytest.mark.parametrize("project", ["sqlite", "postgresql", "mariadb", "mysql"], indirect=True)
@pytest.mark.parametrize("before", ["pass", "op.execute('UPDATE users SET id = id')"])
@pytest.mark.parametrize("name", ["age", "order"])
def test_what_the_refusal_says_runs_as_printed(users: Project, before: str, name: str) -> None:
    """Whether it comes from the file's text, or from the operation that is about to run."""
    users.query("INSERT INTO users (id) VALUES (1), (2)")
    added = f"op.add_column('users', sa.Column({name!r}, sa.String(9), nullable={{}}))"
    users.revision(2, before, added.format(False))
    said = users.refusal("orm")
    update = said[said.index("op.execute(") : said.index(", then say ")]
    batch = said[said.index("with op.batch") : said.index(". Or give it")]
    assert "…" not in batch
    users.revision(2, before, added.format(True), update.replace("…", "id * 10"), batch)
    users.upgrade("orm")
    assert users.query("SELECT * FROM users ORDER BY id") == [(1, "10"), (2, "20")]


@pytest.mark.parametrize("null", ["", ", nullable=False"])
@pytest.mark.parametrize("column", [NOW, RANDOM])
def test_a_default_that_is_no_constant_comes_later(users: Project, column: str, null: str) -> None:
    users.query("INSERT INTO users (id) VALUES (1)")
    users.revision(2, PLAIN.format(column[:-1] + null + ")"))
    said = users.refusal("orm")
    update = said[said.index("op.execute(") : said.index(", then say ")].replace("…", "7")
    batch = said[said.index("with op.batch") : said.index(". Or give it")]
    type_ = "sa.DateTime" if column == NOW else "sa.Integer"
    users.revision(2, PLAIN.format(f"sa.Column('age', {type_})"), update, batch)
    users.upgrade("orm")
    users.query("INSERT INTO users (id) VALUES (2)")
    assert users.query("SELECT count(*) FROM users WHERE age IS NOT NULL") == [(2,)]
    required = users.query("SELECT \"notnull\" FROM pragma_table_info('users') WHERE name = 'age'")
    assert required == [(int(bool(null)),)]


AFTER = {
    "a new name": "op.rename_table('users', 'people')",
    "a table that goes": "op.drop_table('old')",
    "rows that change": "op.execute('UPDATE users SET id = id + 10')",
}


@pytest.mark.parametrize("project", ["sqlite", "postgresql", "mariadb", "mysql"], indirect=True)
@pytest.mark.parametrize("before", AFTER.values(), ids=AFTER)
def test_refused_after_other_statements_too(users: Project, before: str) -> None:
    """MariaDB and MySQL would fill it with zeros and empty strings."""
    users.query("CREATE TABLE old (id INTEGER)")
    users.query("INSERT INTO users (id) VALUES (1), (2)")
    table = "people" if "people" in before else "users"
    users.revision(2, before, PLAIN.format(BARE).replace("users", table))
    said = users.refusal("orm")
    assert "age" in said
    if "UPDATE" not in before:
        assert f"age cannot be added to {table}, which has 2 row(s)" in said
        assert "Nothing was changed" in said
        assert {"users", "old"} <= set(users.tables)
    users.query("DELETE FROM users")
    users.upgrade("orm")
    assert users.query(f"SELECT age FROM {table}") == []


CHANGES = ["nullable=False", "type_=sa.String()", "server_default='x'", "server_default=None"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_outside_of_a_batch_names_the_batch(users: Project, change: str) -> None:
    users.revision(2, PLAIN.format("sa.Column('age', sa.Integer)"))
    users.revision(3, f"op.alter_column('users', 'age', {change})")
    advised = "with op.batch_alter_table('users') as batch_op: batch_op.alter_column('age', {})"
    for said in (users.refusal("orm"), users.orm("check").output):
        assert advised.format(change) in said
    users.revision(3, advised.format(change))
    users.upgrade("orm")
    assert users.applied == ["0003"]


TAKEN = {
    "nullable": PLAIN.format("sa.Column('age', sa.Integer)"),
    "constant": PLAIN.format("sa.Column('age', sa.Integer, nullable=False, server_default='3')"),
    "now, rebuild": BATCH.format("", NOW),
    "generated": PLAIN.format("sa.Column('age', sa.Integer, sa.Computed('id + 1'))"),
}


@ENGINES
@pytest.mark.parametrize("line", TAKEN.values(), ids=TAKEN)
def test_taken_with_rows(users: Project, line: str) -> None:
    users.query("INSERT INTO users VALUES (1), (2)")
    users.revision(2, line)
    users.alembic("upgrade", "head")
    assert users.query("SELECT count(*) FROM users") == [(2,)]
    assert users.applied == ["0002"]


@ENGINES
def test_the_advice_works(users: Project) -> None:
    users.query("INSERT INTO users VALUES (1), (2)")
    users.revision(
        2,
        "op.add_column('users', sa.Column('age', sa.Integer))",
        "op.execute('UPDATE users SET age = id')",
        "with op.batch_alter_table('users') as batch: batch.alter_column('age', nullable=False)",
    )
    users.alembic("upgrade", "head")
    assert users.query("SELECT * FROM users") == [(1, 1), (2, 2)]


@ENGINES
@pytest.mark.parametrize(
    "lines",
    [
        (PLAIN.format(BARE),),
        (
            "with op.batch_alter_table('users', schema=None) as batch:",
            f"    batch.add_column({BARE})",
        ),
    ],
    ids=["plain", "batch"],
)
def test_told_before_any_revision_runs(users: Project, lines: tuple[str, ...]) -> None:
    users.query("INSERT INTO users VALUES (1)")
    users.revision(2, "op.create_table('other', sa.Column('id', sa.Integer))")
    users.revision(3, *lines)
    with pytest.raises(CommandError, match=r"0003_by_hand.py: .*1 row\(s\).*Nothing was changed"):
        users.alembic("upgrade", "head")
    assert users.applied == ["0001"]


@ENGINES
@pytest.mark.parametrize("where", [2, 3])
def test_not_told_before_what_may_no_longer_be_so_then(users: Project, where: int) -> None:
    users.query("INSERT INTO users VALUES (1)")
    delete = "op.execute('DELETE FROM users')"
    users.revision(2, delete if where == 2 else "pass")
    users.revision(3, delete if where == 3 else "pass", PLAIN.format(BARE))
    users.alembic("upgrade", "head")
    assert users.applied == ["0003"]


def test_a_table_of_another_schema_is_not_taken_for_this_one(users: Project) -> None:
    users.query("INSERT INTO users VALUES (1)")
    users.revision(2, PLAIN.format(f"{BARE}, schema='elsewhere'"))
    added = [file for file in read(users.folder / "alembic" / "versions") if file.id == "0002"]
    engine = create_engine(f"sqlite:///{users.database}", poolclass=NullPool)
    with engine.connect() as connection:
        refuse_revisions_without_values(connection, added)
