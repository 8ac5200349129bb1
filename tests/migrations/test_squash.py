"""A checkpoint in the place of our own revisions."""

import shutil

import pytest

from tests.migrations.support import COMMAND_LINES, ENGINES, Project

MODELS = """
Table("t1", metadata, Column("id", Integer, primary_key=True))
Table("t2", metadata, Column("id", Integer, primary_key=True), Column("n", Integer))
"""


def said(project: Project, *arguments: str, code: int = 0) -> str:
    result = project.orm(*arguments)
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


@pytest.fixture
def ready(project: Project) -> Project:
    """Three revisions, which make what the models say."""
    key = "sa.Column('id', sa.Integer, primary_key=True)"
    for number in (1, 2):
        project.revision(number, f"op.create_table('t{number}', {key})")
    project.revision(3, "op.add_column('t2', sa.Column('n', sa.Integer))")
    project.models(MODELS)
    return project


def squashed(project: Project) -> None:
    assert "0004_checkpoint.py" in said(project, "squash")
    assert project.revisions == ["0004_checkpoint.py"]
    assert 'replaces = "0001:0003"' in project.file("0004_checkpoint.py").read_text()


@ENGINES
@COMMAND_LINES
def test_a_new_database_runs_it(ready: Project, command_line: str) -> None:
    squashed(ready)
    assert said(ready, "check") == "All is well.\n"
    ready.upgrade(command_line)
    assert ready.applied == ready.ledger == ["0004"]
    assert {"t1", "t2"} <= ready.tables
    assert said(ready, "check", "--local") == "All is well.\n"


@ENGINES
@COMMAND_LINES
@pytest.mark.parametrize("kept", [True, False])
def test_a_database_that_has_the_revisions_gets_it_recorded(
    ready: Project, command_line: str, *, kept: bool
) -> None:
    ready.upgrade(command_line)
    squashed(ready)
    if not kept:
        shutil.rmtree(ready.folder / "alembic" / "replaced")
    assert "0004_checkpoint  pending (recorded, and not run" in said(ready, "list", "--local")
    assert "-- 0004_checkpoint is recorded" in said(ready, "apply", "--local", "--dry-run")
    ready.upgrade(command_line)
    assert ready.applied == ["0004"]
    assert ready.ledger == ["0001", "0002", "0003", "0004"]
    assert said(ready, "check", "--local") == "All is well.\n"
    ready.models(MODELS + 'Table("t3", metadata, Column("id", Integer, primary_key=True))')
    assert "0005_more.py" in said(ready, "create", "more")
    ready.upgrade(command_line)
    assert ready.applied == ["0005"]
    assert said(ready, "list", "--local").count("applied") == 5


@ENGINES
@COMMAND_LINES
def test_a_database_in_the_middle_goes_through_the_rest(ready: Project, command_line: str) -> None:
    said(ready, "apply", "--local", "--to", "0001")
    squashed(ready)
    ready.models(MODELS + 'Table("t3", metadata, Column("id", Integer, primary_key=True))')
    said(ready, "create", "more")
    assert said(ready, "check", "--local") == "All is well.\n"
    assert "CREATE TABLE t2" in said(ready, "apply", "--local", "--dry-run")
    ready.upgrade(command_line)
    assert ready.ledger == ["0001", "0002", "0003", "0004", "0005"]
    assert ready.applied == ["0005"]
    assert said(ready, "check", "--local") == "All is well.\n"


@ENGINES
@COMMAND_LINES
def test_a_database_in_the_middle_needs_the_files(ready: Project, command_line: str) -> None:
    said(ready, "apply", "--local", "--to", "0002")
    squashed(ready)
    shutil.move(ready.folder / "alembic" / "replaced", ready.folder / "elsewhere")
    refused = ready.refusal(command_line)
    assert "the database is at 0002, and 0004_checkpoint.py stands for" in refused
    assert f"get the folder {ready.folder / 'alembic' / 'replaced'} back" in refused
    shutil.move(ready.folder / "elsewhere", ready.folder / "alembic" / "replaced")
    ready.upgrade(command_line)
    assert ready.applied == ["0004"]


@ENGINES
def test_a_database_that_was_changed_by_hand_is_not_believed(ready: Project) -> None:
    said(ready, "apply", "--local", "--to", "0002")
    squashed(ready)
    ready.query("DROP TABLE t1")
    refused = said(ready, "apply", "--local", code=1)
    assert "0004 makes table t1, and the database does not have it" in refused
    assert ready.ledger == ["0001", "0002", "0003"]  # the earlier ones stay
    ready.query("CREATE TABLE t1 (id SERIAL PRIMARY KEY)")
    if ready.database.exists():
        ready.query("DROP TABLE t1")
        ready.query("CREATE TABLE t1 (id INTEGER NOT NULL, PRIMARY KEY (id))")
    said(ready, "apply", "--local")
    assert ready.applied == ["0004"]


@ENGINES
def test_it_can_be_done_again(ready: Project) -> None:
    said(ready, "apply", "--local", "--to", "0002")
    squashed(ready)
    ready.revision(5, "op.create_table('t5', sa.Column('id', sa.Integer))")
    assert "0006_checkpoint.py" in said(ready, "squash")
    assert ready.revisions == ["0006_checkpoint.py"]
    ready.upgrade("orm")
    assert ready.ledger == ["0001", "0002", "0003", "0004", "0005", "0006"]
    ready.clear()
    ready.upgrade("orm")
    assert ready.ledger == ["0006"]


def test_an_edited_checkpoint_is_noticed(ready: Project) -> None:
    ready.upgrade("orm")
    squashed(ready)
    ready.upgrade("orm")
    file = ready.file("0004_checkpoint.py")
    file.write_text(file.read_text() + "# a second thought\n")
    assert "0004_checkpoint.py was edited" in said(ready, "list", "--local", code=1)


def test_one_revision_is_nothing_to_squash(project: Project) -> None:
    project.revision(1, "op.create_table('t1', sa.Column('id', sa.Integer))")
    assert "takes two revisions" in said(project, "squash", code=1)
    assert project.revisions == ["0001_by_hand.py"]


def test_revisions_that_fail_stay_where_they_are(ready: Project) -> None:
    ready.revision(4, "op.drop_table('nothing')")
    assert "0004_by_hand.py cannot be replayed" in said(ready, "squash", code=1)
    assert len(ready.revisions) == 4


def test_revisions_before_a_checkpoint_belong_elsewhere(ready: Project) -> None:
    squashed(ready)
    replaced = ready.folder / "alembic" / "replaced"
    shutil.copy(replaced / "0003_by_hand.py", ready.file("0003_by_hand.py"))
    refused = said(ready, "apply", "--local", code=1)
    assert f"0003_by_hand.py is beside it: move what comes before it to {replaced}" in refused


def test_renumber_leaves_a_checkpoint_where_it_is(ready: Project) -> None:
    squashed(ready)
    for name in ("a", "b"):
        ready.revision(5, f"op.create_table('{name}', sa.Column('id', sa.Integer))")
        ready.file("0005_by_hand.py").rename(ready.file(f"0005_{name}.py"))
    said(ready, "renumber", "--local")
    assert ready.revisions == ["0004_checkpoint.py", "0005_a.py", "0006_b.py"]


@pytest.mark.parametrize("value", ["", "()", "1", "last"])
def test_what_is_replaced_is_written_out(ready: Project, value: str) -> None:
    file = ready.file("0001_by_hand.py")
    file.write_text(file.read_text() + f"replaces = {value or repr('')}\n")
    assert "must write out what it replaces" in said(ready, "list", "--local", code=1)
