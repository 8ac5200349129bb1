"""A column of every common type, with every kind of default: no difference that is none."""

import pytest

from tests.migrations.support import ENGINES, Project
from tests.migrations.test_judge import created

pytestmark = pytest.mark.slow  # each replays and applies revisions

MODELS = """
import enum

class Color(enum.Enum):
    red = 1
    blue = 2

Table(
    "parent",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("Code", String(5), unique=True),
)
Table(
    "users",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("age", Integer),
    Column("yes", Boolean, server_default=true(), nullable=False),
    Column("checked", Boolean(create_constraint=True, name="checked"), server_default=false()),
    Column("color", Enum(Color), server_default="red"),
    Column(
        "mood",
        Enum("good", "it's", name="mood", native_enum=False, create_constraint=True),
        server_default="good",
    ),
    Column("json", JSON, server_default=text("'{}'")),
    Column("price", Numeric(10, 2), server_default="0.00"),
    Column("ratio", Float, server_default=text("1.5")),
    Column("at", DateTime(timezone=True), server_default=func.now()),
    Column("day", Date),
    Column("time", Time),
    Column("span", Interval),
    Column("bytes", LargeBinary),
    Column("uuid", Uuid),
    Column("text", Text, server_default=""),
    Column("name", String(20), server_default="it's"),
    Column("below", Integer, server_default=text("-1")),
    Column("beneath", Integer, server_default="-1"),
    Column("lower", String(20), Computed("lower(name)", persisted=True)),
    Column("Mixed Case", String(20), nullable=False, server_default="x"),
    Column("select", Integer),
    Column("parent", ForeignKey("parent.id", ondelete="SET NULL", onupdate="CASCADE"), index=True),
    Column("self", ForeignKey("users.id"), index=True),
    CheckConstraint("age > 0 AND (name <> 'A(' OR price > 1)", "age"),
    UniqueConstraint("age", "name"),
    Index("ix_lower", func.lower(column("name")), unique=True),
    Index("ix_part", "day", sqlite_where=text("yes = 1"), postgresql_where=text("yes")),
)
Table(
    "pairs",
    metadata,
    Column("a", Integer, primary_key=True),
    Column("b", String(3), primary_key=True),
)
Table(
    "of_pairs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("a", Integer),
    Column("b", String(3)),
    ForeignKeyConstraint(["a", "b"], ["pairs.a", "pairs.b"], ondelete="CASCADE"),
)
Table("without_key", metadata, Column("a", Integer))
Table(
    "counted",
    metadata,
    Column("id", Integer, Identity(start=5), primary_key=True),
    sqlite_autoincrement=True,
)
"""


@ENGINES
def test_all_is_well_after_a_table_was_made_and_changed(project: Project) -> None:
    project.models(MODELS)
    code, made, said = created(project, "start")
    assert code == 0, said
    project.upgrade("orm")
    project.query("INSERT INTO users (age, time) VALUES (1, '09:00')")
    changed = MODELS.replace('Column("age", Integer)', 'Column("age", Integer, nullable=False)')
    added = 'Column("time", Time, nullable=False, server_default="10:00")'
    project.models(changed.replace('Column("time", Time)', added))
    code, made, said = created(project, "more")
    assert code == 0, said
    assert len(made["effects"]) == 2
    project.upgrade("orm")
    assert project.query("SELECT age, name FROM users") == [(1, "it's")]
    assert project.orm("check", "--local").stdout == "All is well.\n"
    assert created(project, "nothing")[1] is None
