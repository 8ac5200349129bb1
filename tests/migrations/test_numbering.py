import pytest
from alembic.util import CommandError

from tests.migrations.support import Project

USERS = 'Table("users", metadata, Column("id", Integer, primary_key=True))'
POSTS = (
    'Table("posts", metadata, Column("id", Integer, primary_key=True),'
    ' Column("user_id", ForeignKey("users.id")))'
)


def test_revisions_are_numbered_in_line(project: Project) -> None:
    project.models(USERS)
    project.alembic("revision", "--autogenerate", "-m", "Create users")
    project.alembic("upgrade", "head")
    project.models(f"{USERS}\n{POSTS}")
    project.alembic("revision", "--autogenerate", "-m", "add posts")
    project.alembic("revision", "-m", "by hand")
    assert project.revisions == ["0001_create_users.py", "0002_add_posts.py", "0003_by_hand.py"]
    assert project.alembic("history").splitlines() == [
        "0002 -> 0003 (head), by hand",
        "0001 -> 0002, add posts",
        "<base> -> 0001, Create users",
    ]


def test_a_revision_has_no_way_back(project: Project) -> None:
    project.models(USERS)
    project.alembic("revision", "--autogenerate", "-m", "create users")
    text = (project.folder / "alembic/versions/0001_create_users.py").read_text()
    assert "def upgrade() -> None:" in text
    assert "downgrade" not in text


def test_no_change_no_file(project: Project) -> None:
    project.models(USERS)
    project.alembic("revision", "--autogenerate", "-m", "create users")
    project.alembic("upgrade", "head")
    said = project.alembic("revision", "--autogenerate", "-m", "nothing")
    assert "matches the models" in said
    assert project.revisions == ["0001_create_users.py"]


def test_the_highest_number_counts(project: Project) -> None:
    project.revision(1, "pass")
    text = (project.folder / "alembic/versions/0001_by_hand.py").read_text()
    (project.folder / "alembic/versions/0001_by_hand.py").unlink()
    (project.folder / "alembic/versions/far.py").write_text(text.replace('"0001"', '"0041"'))
    project.alembic("revision", "-m", "next")
    assert project.revisions == ["0042_next.py", "far.py"]


@pytest.mark.parametrize(
    "options",
    [
        ["--rev-id", "abc"],
        ["--splice", "--head", "base"],
        ["--head", "base"],
        ["--branch-label", "side"],
        ["--depends-on", "0001"],
    ],
)
def test_what_leaves_the_line_is_refused(project: Project, options: list[str]) -> None:
    project.revision(1, "pass")
    with pytest.raises(CommandError, match=f"leave out .*{options[0]}"):
        project.alembic("revision", "-m", "x", *options)
    assert project.revisions == ["0001_by_hand.py"]


def test_check_tells_what_is_missing(project: Project) -> None:
    project.alembic("upgrade", "head")
    project.models(USERS)
    with pytest.raises(CommandError, match="add_table"):
        project.alembic("check")
    project.alembic("revision", "--autogenerate", "-m", "create users")
    project.alembic("upgrade", "head")
    assert "No new upgrade operations" in project.alembic("check")


def test_changed_types_and_defaults_are_seen(project: Project) -> None:
    column = 'Table("t", metadata, Column("x", {}))'
    project.models(column.format("String(10)"))
    project.alembic("revision", "--autogenerate", "-m", "one")
    project.alembic("upgrade", "head")
    for changed in ("String(20)", 'String(10), server_default="a"', "Integer"):
        project.models(column.format(changed))
        with pytest.raises(CommandError, match="modify_"):
            project.alembic("check")


def test_of_two_files_with_a_number_the_applied_one_is_known(project: Project) -> None:
    project.revision(1, "op.create_table('t1', sa.Column('id', sa.Integer))")
    project.revision(2, "op.create_table('t2', sa.Column('id', sa.Integer))")
    project.upgrade("orm")
    project.revision(2, "op.create_table('other', sa.Column('id', sa.Integer))")
    project.file("0002_by_hand.py").rename(project.file("0002_a_branch.py"))
    project.revision(2, "op.create_table('t2', sa.Column('id', sa.Integer))")
    said = project.orm("list", "--local")
    assert said.exit_code == 1
    lines = said.output.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [
        ["0001_by_hand", "applied"],
        ["0002_by_hand", "applied"],
        ["0002_a_branch", "pending"],
    ]
    assert "are both number 2" in lines[3]
    assert len(lines) == 4  # nothing was edited or renamed
