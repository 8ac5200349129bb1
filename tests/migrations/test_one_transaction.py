"""A revision is one transaction: it cannot end it, and `check` runs it as `apply` does."""

import pytest

from tests.migrations.support import COMMAND_LINES, ENGINES, POSTGRESQL, Project

pytestmark = pytest.mark.slow  # each replays and applies revisions

TABLE = "op.create_table('{}', sa.Column('id', sa.Integer, primary_key=True))"
SEEN = {
    "COMMIT": "op.execute('COMMIT')",
    "in a comment's shadow": "op.execute('/* a\\n*/ -- b\\n  commit;')",
    "END": "op.execute('END')",
    "ROLLBACK": "op.execute('ROLLBACK')",
    "ROLLBACK WORK": "op.execute(sa.text('rollback transaction'))",
    "commit()": "op.get_bind().commit()",
    "rollback()": "op.get_bind().rollback()",
    "of the transaction": "op.get_bind().get_transaction().commit()",
}
UNSEEN = {
    "sqlite": {
        "script": "op.get_bind().connection.driver_connection.executescript('SELECT 1')",
        "driver": "op.get_bind().connection.commit()",
    },
    "postgresql": {
        "two statements": "op.execute('SELECT 1; COMMIT; BEGIN')",
        "driver": "op.get_bind().connection.commit()",
    },
}


@ENGINES
@pytest.mark.parametrize("line", SEEN.values(), ids=SEEN.keys())
def test_nothing_stays_of_a_revision_that_would_end_its_transaction(
    project: Project, line: str
) -> None:
    project.revision(1, TABLE.format("first"))
    project.upgrade("orm")
    project.revision(2, TABLE.format("one"), line, TABLE.format("two"))
    for command in (["check"], ["create", "more"]):
        said = project.orm(*command).stderr
        assert "0002_by_hand.py" in said
        assert "would end its own transaction" in said
        assert "one engine" not in said
        assert "Traceback" not in said
    refusal = project.refusal("orm")
    assert "0002_by_hand.py failed in line 9, nothing of it stays" in refusal.replace(
        "in line 10", "in line 9"
    )
    assert "would end its own transaction" in refusal
    assert not {"one", "two"} & project.tables
    assert project.applied == ["0001"]
    assert project.ledger == ["0001"]
    project.revision(2, TABLE.format("one"))
    project.upgrade("orm")
    assert project.ledger == ["0001", "0002"]


@ENGINES
@pytest.mark.parametrize("number", [0, 1])
def test_the_engine_notices_what_no_statement_tells(project: Project, number: int) -> None:
    line = list(UNSEEN[project.url.partition("+")[0]].values())[number]
    project.revision(1, TABLE.format("one"), line, TABLE.format("two"))
    said = project.orm("check").stderr
    assert "0001_by_hand.py" in said
    assert "has ended its own transaction" in said
    refusal = project.refusal("orm")
    assert "some of what it did may stay" in refusal
    assert "nothing of it stays" not in refusal
    assert project.ledger == []


@ENGINES
@COMMAND_LINES
def test_savepoints_are_no_end(project: Project, command_line: str) -> None:
    project.models("")
    project.revision(
        1,
        TABLE.format("one"),
        "with op.get_bind().begin_nested():",
        "    " + TABLE.format("two"),
        "op.execute('SAVEPOINT a')",
        TABLE.format("three"),
        "op.execute('ROLLBACK TO SAVEPOINT a')",
        "op.execute('ROLLBACK TRANSACTION TO SAVEPOINT a')",
    )
    project.upgrade(command_line)
    assert project.tables & {"one", "two", "three"} == {"one", "two"}
    assert project.ledger == ["0001"]


NOT_IN_ONE = {
    "VACUUM": ("op.execute('VACUUM')",),
    "CONCURRENTLY": ("op.execute('CREATE INDEX CONCURRENTLY ix ON one (id)')",),
    "a label and its use": (
        "op.execute(\"CREATE TYPE mood AS ENUM ('a')\")",
        "op.execute(\"ALTER TYPE mood ADD VALUE 'b'\")",
        "op.execute(\"CREATE TABLE two AS SELECT 'b'::mood AS mood\")",
    ),
}


@POSTGRESQL
@pytest.mark.parametrize("name", NOT_IN_ONE)
def test_what_apply_refuses_check_refuses(project: Project, name: str) -> None:
    lines = NOT_IN_ONE[name]
    project.revision(1, TABLE.format("one"), *(lines[:1] if len(lines) > 1 else ()))
    last = lines[1:] if len(lines) > 1 else lines
    project.revision(2, *last)
    said = project.orm("check").stderr
    assert "0002_by_hand.py" in said
    assert "in line " in said
    refusal = project.refusal("orm")
    assert "nothing of it stays" in refusal
    reason = said.partition("in line ")[2].partition(": ")[2].splitlines()[0].partition(". ")[0]
    assert reason in refusal
    assert project.ledger == ["0001"]


def test_vacuum_in_sqlite(project: Project) -> None:
    project.revision(1, TABLE.format("one"), "op.execute('VACUUM')")
    assert "VACUUM" in project.orm("check").stderr
    assert "nothing of it stays" in project.refusal("orm")
    assert project.ledger == []


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
def test_an_autocommit_block_is_no_end(project: Project) -> None:
    project.revision(
        1,
        TABLE.format("one"),
        "with op.get_context().autocommit_block():",
        "    op.execute('CREATE INDEX CONCURRENTLY ix ON one (id)')",
        TABLE.format("two"),
        "with op.get_context().autocommit_block():",
        "    op.execute('VACUUM one')",
    )
    assert "replayed" not in project.orm("check").stderr
    project.upgrade("orm")
    assert project.ledger == ["0001"]
    project.revision(
        2,
        "with op.get_context().autocommit_block():",
        "    op.execute('VACUUM one')",
        TABLE.format("three"),
        "op.execute('COMMIT')",
    )
    assert "may stay" in project.refusal("orm")
    assert "three" not in project.tables


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
def test_what_one_revision_made_the_next_one_does_not_take_for_made(project: Project) -> None:
    """Whether they are applied in one run or in two."""
    table = "op.create_table('{}', sa.Column('mood', sa.Enum('a', 'b', name='mood')))"
    project.revision(1, table.format("one"))
    project.revision(2, "op.drop_table('one')", "op.execute('DROP TYPE mood')")
    project.revision(3, table.format("two"))
    project.upgrade("orm")
    assert project.ledger == ["0001", "0002", "0003"]
    project.revision(4, table.format("three"))
    for said in (project.orm("check").stderr, project.refusal("orm")):
        assert 'type "mood" already exists' in said
