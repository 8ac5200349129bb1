"""`orm migrations …` as a person or a script calls it."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from orm.cli import main
from orm.testing import caught_up, paused
from tests.migrations.support import ENGINES, Project
from tests.migrations.test_progress import on_a_terminal

pytestmark = pytest.mark.slow  # many of them run a program

TABLE = "op.create_table('t{}', sa.Column('id', sa.Integer))"
ORM = [sys.executable, "-c", "from orm.cli import main; main()", "migrations"]


@pytest.fixture
def ready(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two revisions; local and remote are two files."""
    for number in (1, 2):
        project.revision(number, TABLE.format(number))
    monkeypatch.setenv("ORM_REMOTE_URL", f"sqlite+aiosqlite:///{project.folder}/remote.db")
    return project


# Which database ----------------------------------------------------------------------------


@pytest.mark.parametrize("targets", [[], ["--local", "--remote"]])
@pytest.mark.parametrize(
    "command",
    [["list"], ["apply"], ["baseline", "0001", "--reason", "x"], ["repair", "--reason", "x"]],
    ids=lambda command: command[0],
)
def test_exactly_one_target(
    ready: Project, command: list[str], targets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", "postgresql+asyncpg://me:secret@host/name")
    said = ready.orm(*command, *targets)
    assert said.exit_code == 2
    assert "sqlite+aiosqlite:///app.db" in said.output
    assert "postgresql+asyncpg://me:***@host/name" in said.output
    assert "secret" not in said.output
    monkeypatch.delenv("ORM_REMOTE_URL")
    assert "ORM_REMOTE_URL is not set" in ready.orm(*command, *targets).output
    assert ready.is_untouched


@pytest.mark.parametrize("command", ["list", "apply"])
def test_no_application_here(
    ready: Project,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    said = ready.orm(command, "--local")
    assert said.exit_code == 1
    assert "there is no pyproject.toml" in said.output
    (elsewhere / "pyproject.toml").write_text("[tool.alembic]\n")
    assert "does not say where the migrations are" in ready.orm(command, "--local").output
    (elsewhere / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "nowhere"\n')
    assert "no such folder" in ready.orm(command, "--local").output


def test_a_subfolder_is_of_the_application(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """As git has it. A pyproject.toml of something else is passed by; paths are the user's."""
    below = ready.folder / "shop" / "orders"
    below.mkdir(parents=True)
    (below / "pyproject.toml").write_text("[tool.ruff]\n")
    monkeypatch.chdir(below)
    assert ready.orm("apply", "--local").exit_code == 0
    assert ready.ledger == ["0001", "0002"]
    assert f"(from {ready.folder})" in ready.orm("list").output
    for command in (["list", "--local"], ["show", "0001"], ["check", "--wrangler", "files"]):
        assert "pyproject.toml" not in ready.orm(*command).output
    assert ready.orm("export", "--wrangler", "files").exit_code == 0
    assert ready.orm("status", "--local").exit_code == 2  # of `orm`, and not of `orm migrations`
    assert sorted(file.name for file in below.iterdir()) == ["files", "pyproject.toml"]
    assert Path.cwd() == below


# list --------------------------------------------------------------------------------------


@ENGINES
def test_list_changes_nothing(ready: Project) -> None:
    assert ready.orm("list", "--local").output.count("pending") == 2
    assert ready.is_untouched
    ready.query("CREATE TABLE mine (id INTEGER)")
    before = ready.contents
    assert ready.orm("list", "--local").exit_code == 0
    assert ready.contents == before


@ENGINES
def test_list_shows_what_is_applied_and_pending(ready: Project) -> None:
    ready.orm("apply", "--local", "--to", "0001")
    first, second = ready.orm("list", "--local").output.splitlines()
    assert first.startswith("0001_by_hand  applied 20")
    assert second == "0002_by_hand  pending"
    listed = json.loads(ready.orm("list", "--local", "--json").stdout)
    assert [row["state"] for row in listed["revisions"]] == ["applied", "pending"]
    assert listed["revisions"][0]["applied_at"].endswith("+00:00")
    assert listed["revisions"][0]["bookmark"].startswith("v1.")


# apply -------------------------------------------------------------------------------------


def test_apply_says_what_it_did(ready: Project) -> None:
    said = ready.orm("apply", "--local")
    assert said.output == "applied 0001_by_hand\napplied 0002_by_hand\n"
    said = ready.orm("apply", "--local")
    assert said.output == "Nothing to apply: sqlite+aiosqlite:///app.db is at 0002.\n"
    assert said.exit_code == 0


@ENGINES
def test_apply_up_to_a_revision(ready: Project) -> None:
    said = ready.orm("apply", "--local", "--to", "0001", "--json")
    assert json.loads(said.stdout)["applied"] == ["0001_by_hand"]
    assert ready.ledger == ["0001"]
    said = ready.orm("apply", "--local", "--to", "0007")
    assert said.exit_code == 1
    assert "there is no revision '0007'" in said.output


@ENGINES
def test_apply_shows_progress_on_a_terminal(ready: Project) -> None:
    said = on_a_terminal(ready, "apply", "--local", columns=80)
    assert "Applying" in said
    assert "0002_by_hand" in said
    assert "2/2" in said


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "maybe\n"])
def test_a_remote_wants_a_yes(ready: Project, answer: str) -> None:
    said = ready.orm("apply", "--remote", input=answer)
    assert said.exit_code == 1
    assert "0002_by_hand" in said.output
    assert not (ready.folder / "remote.db").exists()


@pytest.mark.parametrize(("arguments", "answer"), [([], "y\n"), (["--yes"], "")])
def test_a_remote_that_gets_its_yes(ready: Project, arguments: list[str], answer: str) -> None:
    assert ready.orm("apply", "--remote", *arguments, input=answer).exit_code == 0
    assert (ready.folder / "remote.db").exists()
    assert ready.is_untouched


@pytest.mark.parametrize("redirection", ["<&-", "</dev/null"])
def test_a_closed_input_is_no_yes(ready: Project, redirection: str) -> None:
    command = f'"$@" {redirection}'
    said = subprocess.run(
        ["sh", "-c", command, "sh", *ORM, "apply", "--remote"],
        cwd=ready.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    assert not (ready.folder / "remote.db").exists()


def test_a_terminal_that_goes_away_is_no_yes(ready: Project) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*ORM, "apply", "--remote"], cwd=ready.folder, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(ours, 1000)
    os.close(ours)
    assert process.wait() != 0
    assert not (ready.folder / "remote.db").exists()


async def test_wait_returns_when_every_replica_has_it(
    ready: Project, servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ready.folder / "pyproject.toml"
    settings.write_text(settings.read_text() + f'[tool.orm]\nlocal = "{servers.url}"\n')
    command = ["apply", "--local"]
    if "sqlite" not in servers.url:  # whose replicas are embedded
        command += [word for url in servers.replica_urls for word in ("--replica", url)]
    async with servers.database() as db:
        async with paused(db):
            said = await asyncio.to_thread(ready.orm, *command, "--wait", "0.2")
            assert said.exit_code == 1
            assert "everything is applied; after 0.2 s of waiting: replica-1 has" in said.output
        said = await asyncio.to_thread(ready.orm, *command, "--wait")
        assert said.exit_code == 0, said.output
        await caught_up(db)


@ENGINES
def test_wait_without_a_replica(ready: Project) -> None:
    said = ready.orm("apply", "--local", "--wait")
    assert said.exit_code == 1
    assert "no replica to wait for" in said.output
    assert ready.is_untouched


@pytest.mark.parametrize(
    "command", [["status"], ["verify"], ["migrations", "apply", "--yes", "--wait"]], ids=" ".join
)
@pytest.mark.parametrize("named", ["--replica", "ORM_REMOTE_REPLICAS"])
def test_a_replica_that_is_no_url(
    ready: Project, monkeypatch: pytest.MonkeyPatch, command: list[str], named: str
) -> None:
    monkeypatch.chdir(ready.folder)
    monkeypatch.setenv("ORM_REMOTE_URL", ready.url)
    arguments = [*command, "--remote"]
    if named == "--replica":
        arguments += ["--replica", "secret"]
    else:
        monkeypatch.setenv(named, "secret")
    said = CliRunner().invoke(main, arguments)
    assert said.exit_code in (1, 3)
    assert f"{named} is not a database URL, such as " in said.stderr
    assert "secret" not in said.output
    assert ready.is_untouched


# baseline ----------------------------------------------------------------------------------


@ENGINES
def test_baseline_adopts(ready: Project) -> None:
    ready.query("CREATE TABLE t1 (id INTEGER)")
    said = ready.orm("baseline", "0001", "--local", "--reason", "made by hand")
    assert said.exit_code == 0, said.output
    assert ready.applied == ready.ledger == ["0001"]
    listed = ready.orm("list", "--local")
    assert "baseline: made by hand" in listed.output
    assert listed.exit_code == 0
    ready.upgrade("alembic")
    assert {"t1", "t2"} <= ready.tables


@ENGINES
def test_baseline_of_a_schema_that_is_not_there(ready: Project) -> None:
    ready.query("CREATE TABLE t1 (id INTEGER, more INTEGER)")
    said = ready.orm("baseline", "0002", "--local")
    assert said.exit_code == 1
    assert "0002 makes table t2, and the database does not have it" in said.output
    assert "the database has column t1.more, and 0002 does not make it" in said.output
    assert 'orm migrations baseline 0002 --anyway "they do not matter" --local' in said.output
    assert ready.ledger == []
    said = ready.orm("baseline", "0002", "--local", "--anyway", "t2 comes later")
    assert said.exit_code == 0, said.output
    assert ready.ledger == ["0001", "0002"]
    assert "t2 comes later" in ready.orm("list", "--local").output


@ENGINES
def test_baseline_at_the_head(ready: Project) -> None:
    ready.query("CREATE TABLE t1 (id INTEGER)")
    said = ready.orm("baseline", "head", "--local", "--anyway", "t2 comes later")
    assert said.exit_code == 0, said.output
    assert ready.ledger == ["0001", "0002"]
    assert ready.applied == ["0002"]
    assert json.loads(ready.orm("show", "head", "--json").stdout)["revision"] == "0002"
    ready.shown.clear()  # the trial after a test wants numbers
    again = ready.orm("baseline", "head", "--local")
    assert "revision 0002 is in the ledger already" in again.output


@ENGINES
def test_baseline_adopts_what_plain_alembic_has_migrated(ready: Project) -> None:
    ready.upgrade("alembic")
    ready.query("DROP TABLE orm_revisions")
    said = ready.orm("baseline", "0002", "--local", "--reason", "before there was a ledger")
    assert said.exit_code == 0, said.output
    assert ready.ledger == ["0001", "0002"]
    assert ready.orm("apply", "--local").output.startswith("Nothing to apply")


@ENGINES
@pytest.mark.parametrize(
    ("revision", "sentence"),
    [("0001", "would take it back"), ("0002", "in the ledger already"), ("9", "no revision '9'")],
)
def test_baseline_does_not_go_back(ready: Project, revision: str, sentence: str) -> None:
    ready.upgrade("alembic")
    said = ready.orm("baseline", revision, "--local", "--reason", "x")
    assert said.exit_code == 1
    assert sentence in said.output
    assert ready.applied == ["0002"]


def test_baseline_of_nothing(ready: Project) -> None:
    said = ready.orm("baseline", "0001", "--local", "--reason", "x")
    assert "no database to adopt" in said.output
    assert ready.is_untouched
    ready.query("VACUUM")
    said = ready.orm("baseline", "0001", "--local", "--reason", "x")
    assert said.exit_code == 1
    assert "no tables to adopt" in said.output
    assert ready.tables == set()


def test_a_reason_is_needed(ready: Project) -> None:
    assert ready.orm("baseline", "0001", "--local", "--anyway").exit_code == 2
    assert ready.orm("repair", "0001", "--local").exit_code == 2


# repair ------------------------------------------------------------------------------------


@ENGINES
def test_repair_accepts_text_and_name_and_keeps_the_reason(ready: Project) -> None:
    ready.upgrade("alembic")
    kept = ready.query("SELECT checksum FROM orm_revisions ORDER BY 1")[1][0]
    file = ready.file("0002_by_hand.py")
    file.write_text(file.read_text() + "# a comment\n")
    file.rename(ready.file("0002_better.py"))
    assert ready.orm("list", "--local").exit_code == 1
    for reason in ("a comment", "another"):
        said = ready.orm("repair", "0002", "--local", "--reason", reason)
        assert said.exit_code == 0, said.output
        new = ready.file("0002_better.py")
        new.write_text(new.read_text() + "#\n")
    said = ready.orm("repair", "0002", "--local", "--reason", "the last", "--json")
    assert json.loads(said.stdout) == {"repaired": ["0002"]}
    listed = ready.orm("list", "--local")
    assert listed.exit_code == 0
    for reason in ("a comment", "another", "the last", kept):
        assert reason in listed.output


@ENGINES
def test_repair_makes_alembics_table_what_the_ledger_says(ready: Project) -> None:
    ready.upgrade("alembic")
    ready.query("UPDATE alembic_version SET version_num = '0001'")
    said = ready.orm("repair", "--local", "--reason", "a stamp")
    assert said.exit_code == 0, said.output
    assert ready.applied == ["0002"]
    assert "a stamp" in ready.orm("list", "--local").output


@ENGINES
@pytest.mark.parametrize(
    ("revision", "sentence"),
    [([], "nothing to repair"), (["0002"], "is not applied"), (["0001"], "nothing to repair")],
)
def test_nothing_to_repair(ready: Project, revision: list[str], sentence: str) -> None:
    ready.orm("apply", "--local", "--to", "0001")
    said = ready.orm("repair", *revision, "--local", "--reason", "x")
    assert said.exit_code == 1
    assert sentence in said.output


def test_repair_of_a_remote_wants_a_yes(ready: Project) -> None:
    assert ready.orm("apply", "--remote", "--yes").exit_code == 0
    file = ready.file("0002_by_hand.py")
    file.write_text(file.read_text() + "#\n")
    for command in (["repair", "0002"], ["baseline", "0002"]):
        assert ready.orm(*command, "--remote", "--reason", "x", input="n\n").exit_code == 1
    assert ready.orm("list", "--remote").exit_code == 1
    assert ready.orm("repair", "0002", "--remote", "--reason", "x", "--yes").exit_code == 0
    assert ready.orm("list", "--remote").exit_code == 0


def test_a_database_that_does_not_answer(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (ready.folder / "remote.db").write_text(
        "this is no database, and long enough to be seen as one"
    )
    for command in ("list", "apply"):
        said = ready.orm(command, "--remote")
        assert said.exit_code == 1
        assert "file is not a database" in said.output


@pytest.mark.parametrize("arguments", [["--help"], ["list", "--local"]], ids=" ".join)
def test_cheap_commands_import_little(ready: Project, arguments: list[str]) -> None:
    ready.upgrade("orm")
    code = (
        "import sys; from orm.cli import main\n"
        f"try: main(['migrations', *{arguments}])\n"
        "except SystemExit as done: assert not done.code\n"
        "assert not {'alembic', 'sqlalchemy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@ENGINES
def test_to_apply_nothing_imports_no_alembic(project: Project) -> None:
    project.revision(1, "op.create_table('a', sa.Column('id', sa.Integer))")
    project.upgrade("orm")
    code = (
        "import sys; from orm.cli import main\n"
        "try: main(['migrations', 'apply', '--local'])\n"
        "except SystemExit as done: assert not done.code\n"
        "assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_list_reads_the_same_with_and_without_sqlalchemy(ready: Project) -> None:
    ready.upgrade("orm")
    settings = ready.folder / "pyproject.toml"
    quick = ready.orm("list", "--local", "--json").stdout
    local = '[tool.orm]\nlocal = "sqlite+aiosqlite:///app.db?timeout=1"\n'
    settings.write_text(settings.read_text() + local)
    assert ready.orm("list", "--local", "--json").stdout == quick


@pytest.mark.parametrize(
    "command",
    [
        ("create", "x"),
        ("check",),
        ("apply", "--local"),
        ("show", "0001"),
        ("reset", "--local", "--yes"),
    ],
)
def test_an_environment_that_is_gone(project: Project, command: tuple[str, ...]) -> None:
    project.revision(1, "pass")
    (project.folder / "alembic" / "env.py").unlink()
    result = project.orm(*command)
    assert result.exit_code == 1
    assert "env.py, which imports the models: get it back from version control" in result.stderr
