"""Values that SQLAlchemy keeps in a column of another type are taken for no others in silence."""

import pytest

from tests.migrations.support import ENGINES, Project
from tests.migrations.test_judge import created

pytestmark = pytest.mark.slow  # each replays and applies revisions

MODELS = """
class Span(TypeDecorator):
    impl = Interval
    cache_ok = True

class Kept(TypeDecorator):
    impl = PickleType
    cache_ok = True

Table("jobs", metadata, Column("id", Integer, primary_key=True), Column("it", {}))
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Interval()", "String(40)"),
        ("Interval()", "DateTime()"),
        ("Interval()", "TIMESTAMP()"),
        ("Span()", "DateTime()"),
        ("DateTime()", "Span()"),
        ("PickleType()", "LargeBinary()"),
        ("LargeBinary()", "Kept()"),
    ],
)
def test_create_does_not_write_it(project: Project, old: str, new: str) -> None:
    project.models(MODELS.format(old))
    assert created(project, "start")[0] == 0
    project.upgrade("orm")
    project.models(MODELS.format(new))
    checked = project.orm("check").output
    assert "column jobs.it has values in the form of " in checked
    assert (
        "with op.batch_alter_table('jobs') as batch_op: batch_op.alter_column('it', typ" in checked
    )
    assert "…" not in checked
    code, made, said = created(project, "other")
    assert code == 1
    assert made is not None, said
    assert [one["subject"] for one in made["left"]] == ["column jobs.it"]
    assert "not written yet: column jobs.it" in project.refusal("orm")


@ENGINES
@pytest.mark.parametrize(
    ("old", "new"), [("Interval()", "Span()"), ("Kept()", "PickleType()"), ("Kept()", "Kept()")]
)
def test_a_type_of_ones_own_in_the_same_form(project: Project, old: str, new: str) -> None:
    project.models(MODELS.format(old))
    assert created(project, "start")[0] == 0
    project.models(MODELS.format(new))
    assert created(project, "nothing")[:2] == (0, None)


def test_it_is_well_when_a_revision_says_the_type(project: Project) -> None:
    project.models(MODELS.format("Interval()"))
    assert created(project, "start")[0] == 0
    project.upgrade("orm")
    project.query("INSERT INTO jobs (it) VALUES ('1970-01-01 00:00:05.000000')")
    project.models(MODELS.format("DateTime()"))
    project.revision(
        2,
        "op.execute(\"UPDATE jobs SET it = replace(it, '1970', '2026')\")",
        "with op.batch_alter_table('jobs') as batch_op:",
        "    batch_op.alter_column('it', new_column_name='at')",
        "with op.batch_alter_table('jobs') as batch_op:",
        "    batch_op.alter_column('at', new_column_name='it', type_=sa.DateTime())",
    )
    project.upgrade("orm")
    assert project.orm("check", "--local").stdout == "All is well.\n"
    assert project.query("SELECT it FROM jobs") == [("2026-01-01 00:00:05.000000",)]


def test_what_a_revision_asks_of_the_database_is_not_known(project: Project) -> None:
    project.models(MODELS.format("DateTime()"))
    project.revision(
        1,
        "op.create_table('jobs', sa.Column('id', sa.Integer(), primary_key=True),",
        "    sa.Column('it', sa.Interval()))",
        "op.get_bind().execute(sa.text('SELECT 1')).scalar()",
    )
    assert "in the form of" not in project.orm("check").output


ROLES = 'Table("users", metadata, Column("id", Integer, primary_key=True), Column("role", {}))'
MY_ENUM = "class Own(TypeDecorator):\n    impl = Enum({})\n    cache_ok = True\n\n"


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("other", ["'admin'", "'admin', 'administrator'"])
def test_a_label_that_is_gone(project: Project, own: bool, other: str) -> None:
    """Also where the length of the string changes, and in a type of one's own."""

    def models(labels: str) -> str:
        enum = "Own()" if own else f"Enum({labels})"
        return (MY_ENUM.format(labels) if own else "") + ROLES.format(enum)

    project.models(models("'customer', 'admin'"))
    assert created(project, "start")[0] == 0
    project.upgrade("orm")
    project.query("INSERT INTO users (role) VALUES ('admin'), ('customer'), (NULL)")
    project.models(models(other))
    assert "column users.role may have rows with 'customer'" in project.orm("check").output
    code, made, said = created(project, "less")
    assert code == 0, said
    assert made is not None
    [effect] = made["effects"]
    assert "takes 'customer' from the enum of users.role" in effect["message"]
    said = project.refusal("orm")
    assert "users.role cannot become Enum('admin'" in said
    assert "1 row(s) have a value there that is no Enum" in said
    assert "'customer'" in said
    project.query("UPDATE users SET role = 'admin' WHERE role = 'customer'")
    project.upgrade("orm")
    assert project.query("SELECT role FROM users") == [("admin",), ("admin",), (None,)]
    assert project.orm("check", "--local").exit_code == 0
    assert created(project, "nothing")[:2] == (0, None)


def test_a_label_that_is_added_is_no_change(project: Project) -> None:
    project.models(ROLES.format("Enum('customer', 'admin')"))
    assert created(project, "start")[0] == 0
    project.models(ROLES.format("Enum('admin', 'staff', 'customer')"))
    assert created(project, "nothing")[:2] == (0, None)
