import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    event,
    func,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from models import Post, User
from orm.backends import backend_for
from orm.model import Base


@pytest.fixture
def base() -> type[Base]:
    """A base like `Base`, with tables of its own."""

    class Own(Base):
        __abstract__ = True
        metadata = MetaData(
            naming_convention=Base.metadata.naming_convention, info=Base.metadata.info.copy()
        )

    return Own


@pytest.fixture
def metadata(base: type[Base]) -> MetaData:
    """With a table `parent(id)`, and `pair` that has a key of two columns."""
    Table("parent", base.metadata, Column("id", Integer, primary_key=True))
    Table("pair", base.metadata, Column("a", primary_key=True), Column("b", primary_key=True))
    return base.metadata


def indexes(table: object) -> dict[str | None, list[str]]:
    assert isinstance(table, Table)
    found = {str(index.name): [column.name for column in index.columns] for index in table.indexes}
    assert len(found) == len(table.indexes), "two indexes of one name"
    return found


def to_parent(name: str, **options: object) -> Column[int]:
    return Column(name, Integer, ForeignKey("parent.id"), **options)  # type: ignore[arg-type]


# Names and types ---------------------------------------------------------------------------


def test_every_constraint_has_a_name(metadata: MetaData) -> None:
    table = Table(
        "child",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("email", Integer, unique=True),
        Column("x", Integer, index=True),
        to_parent("parent_id"),
        UniqueConstraint("email", "x"),
        CheckConstraint("x > 0", name="positive"),
    )
    assert {str(item.name) for item in table.constraints | table.indexes} == {
        "pk_child",
        "uq_child_email",
        "uq_child_email_x",
        "ix_child_x",
        "ix_child_parent_id",
        "fk_child_parent_id_parent",
        "ck_child_positive",
    }


def test_a_check_has_to_be_named(metadata: MetaData) -> None:
    with pytest.raises(InvalidRequestError, match="explicitly named"):
        Table("child", metadata, Column("x", Integer), CheckConstraint("x > 0"))


def test_datetimes_have_a_time_zone(base: type[Base]) -> None:
    class Event(base):
        __tablename__ = "event"
        at: Mapped[datetime] = mapped_column(primary_key=True)

    column_type = Event.__table__.c.at.type
    assert isinstance(column_type, DateTime)
    assert column_type.timezone


# An index for each foreign key -------------------------------------------------------------


def test_declarative_foreign_key_is_indexed(base: type[Base], metadata: MetaData) -> None:
    class Mixin:
        mixed_id: Mapped[int] = mapped_column(ForeignKey("parent.id"))

    class Child(Mixin, base):
        __tablename__ = "child"
        id: Mapped[int] = mapped_column(primary_key=True)
        own_id: Mapped[int] = mapped_column(ForeignKey("parent.id"))

    assert indexes(Child.__table__) == {
        "ix_child_mixed_id": ["mixed_id"],
        "ix_child_own_id": ["own_id"],
    }


def test_single_table_inheritance_and_later_columns(base: type[Base], metadata: MetaData) -> None:
    class Animal(base):
        __tablename__ = "animal"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    class Dog(Animal):
        __mapper_args__ = {"polymorphic_identity": "dog"}
        owner_id: Mapped[int | None] = mapped_column(ForeignKey("parent.id"))

    Animal.keeper_id = mapped_column(ForeignKey("parent.id"))  # type: ignore[attr-defined]
    assert indexes(Dog.__table__) == {
        "ix_animal_owner_id": ["owner_id"],
        "ix_animal_keeper_id": ["keeper_id"],
    }


def test_plain_tables_and_appended_columns(metadata: MetaData) -> None:
    table = Table("child", metadata, to_parent("x"))
    table.append_column(to_parent("y"))
    assert indexes(table) == {"ix_child_x": ["x"], "ix_child_y": ["y"]}


def test_composite_foreign_key_gets_one_index_that_serves_its_prefix(metadata: MetaData) -> None:
    table = Table(
        "child",
        metadata,
        to_parent("b"),
        to_parent("a"),
        ForeignKeyConstraint(["a", "b"], ["pair.a", "pair.b"]),
    )
    assert indexes(table) == {"ix_child_a_b": ["a", "b"], "ix_child_b": ["b"]}


@pytest.mark.parametrize(
    ("given", "names"),
    [
        pytest.param([to_parent("x", primary_key=True)], set(), id="primary key"),
        pytest.param([to_parent("x", unique=True)], set(), id="unique column"),
        pytest.param([to_parent("x", index=True)], {"ix_child_x"}, id="indexed column"),
        pytest.param([to_parent("x"), UniqueConstraint("x", "y")], set(), id="wider constraint"),
        pytest.param([to_parent("x"), Index("own", "x", "y")], {"own"}, id="wider index"),
        pytest.param(
            [to_parent("x"), Index("own", "y", "x")], {"own", "ix_child_x"}, id="not its first"
        ),
        pytest.param(
            [to_parent("x"), Index("own", "x", sqlite_where=text("x > 1"))],
            {"own", "ix_child_x"},
            id="partial index",
        ),
        pytest.param(
            [to_parent("x"), Index("own", text("abs(x)"))],
            {"own", "ix_child_x"},
            id="index of an expression",
        ),
        pytest.param(
            [to_parent("x"), Index("own", text("abs(y)"), "x")],
            {"own", "ix_child_x"},
            id="index that begins with an expression",
        ),
    ],
)
def test_what_covers_a_foreign_key(
    metadata: MetaData, given: list[Column[int] | Index], names: set[str]
) -> None:
    table = Table("child", metadata, Column("y", Integer), *given)
    assert indexes(table).keys() == names


def test_the_second_column_of_a_primary_key_is_not_covered(metadata: MetaData) -> None:
    table = Table(
        "link", metadata, to_parent("x", primary_key=True), to_parent("y", primary_key=True)
    )
    assert indexes(table) == {"ix_link_y": ["y"]}


def test_an_index_given_later_takes_the_place_of_the_added_one(metadata: MetaData) -> None:
    table = Table("child", metadata, to_parent("x"), Column("y", Integer))
    assert indexes(table) == {"ix_child_x": ["x"]}
    Index("own", table.c.x.desc(), table.c.y)
    assert indexes(table) == {"own": ["x", "y"]}


def test_a_table_opts_out(base: type[Base], metadata: MetaData) -> None:
    class Loner(base):
        __tablename__ = "loner"
        __table_args__ = {"info": {"index_foreign_keys": False}}
        parent_id: Mapped[int] = mapped_column(ForeignKey("parent.id"), primary_key=True)
        other_id: Mapped[int] = mapped_column(ForeignKey("parent.id"))

    assert indexes(Loner.__table__) == {}


def test_other_metadata_is_left_alone() -> None:
    metadata = MetaData()
    Table("parent", metadata, Column("id", Integer, primary_key=True))
    assert indexes(Table("child", metadata, to_parent("x"))) == {}


def test_metadata_that_takes_part_later_gets_each_index_once(metadata: MetaData) -> None:
    flag = metadata.info.copy()
    metadata.info.clear()
    table = Table("child", metadata, to_parent("x"), to_parent("y"))
    metadata.info.update(flag)
    table.append_column(to_parent("z"))
    assert indexes(table).keys() == {"ix_child_x", "ix_child_y", "ix_child_z"}


def test_a_copied_table_has_each_index_once(metadata: MetaData) -> None:
    table = Table("child", metadata, to_parent("x"), to_parent("y", index=True))
    copy = MetaData(naming_convention=metadata.naming_convention, info=metadata.info.copy())
    for original in metadata.sorted_tables:
        original.to_metadata(copy)
    assert [index.name for index in copy.tables["child"].indexes].count("ix_child_x") == 1
    assert indexes(copy.tables["child"]) == indexes(table)


@pytest.mark.slow
def test_names_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "from sqlalchemy import *; from orm.model import Base; m = Base.metadata;"
        "Table('p', m, Column('a', primary_key=True), Column('b', primary_key=True));"
        "f = ForeignKeyConstraint; t = Table('c', m, Column('a'), Column('b'),"
        "f(['b', 'a'], ['p.b', 'p.a']), f(['a', 'b'], ['p.a', 'p.b']), f(['b'], ['p.b']));"
        "print(sorted(i.name for i in t.indexes))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            cwd=Path(__file__).parents[1],
            capture_output=True,
            check=True,
        ).stdout.strip()
        for seed in range(4)
    }
    assert seen == {b"['ix_c_a_b', 'ix_c_b']"}


# The models of this repository -------------------------------------------------------------


async def test_posts_go_with_their_user_by_the_database_alone(tmp_path: Path) -> None:
    url = make_url(f"sqlite+aiosqlite:///{tmp_path}/app.db")
    backend = backend_for(url)
    engine = backend.writer_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(backend.prepare)
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        user = User(email="a@example.org")
        user.posts = [Post(title="one", body=""), Post(title="two", body="")]
        session.add(user)
        await session.commit()
        await session.refresh(user)
        assert isinstance(user.created_at, datetime)
        assert [post.title for post in await user.awaitable_attrs.posts] == ["one", "two"]

    statements: list[str] = []
    event.listen(
        engine.sync_engine, "before_cursor_execute", lambda *given: statements.append(given[2])
    )
    async with AsyncSession(engine) as session:
        user = (await session.scalars(select(User))).one()
        await session.delete(user)
        await session.flush()
        assert not any("posts" in statement for statement in statements)
        assert await session.scalar(select(func.count()).select_from(Post)) == 0
        await session.commit()
    await engine.dispose()
