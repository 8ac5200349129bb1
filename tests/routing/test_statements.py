"""Which statements are taken for plain reads."""

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Sequence,
    Table,
    and_,
    case,
    cast,
    delete,
    exists,
    extract,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
    tuple_,
    union,
    union_all,
    update,
    values,
)
from sqlalchemy.orm import aliased, joinedload, selectinload
from sqlalchemy.schema import CreateTable, DropTable
from sqlalchemy.types import String

from models import Post, User
from orm.routing.statements import is_plain_read

users = User.__table__
numbers = values(Column("n", Integer), name="numbers").data([(1,)])

READS = {
    "entity": select(User),
    "columns": select(User.id, User.email.label("address")),
    "table": select(users),
    "where": select(User).where(and_(User.id > 1, ~User.email.ilike("a%"))),
    "in": select(User).where(User.id.in_([1, 2])),
    "tuples": select(User).where(tuple_(User.id, User.email).in_([(1, "a")])),
    "join": select(Post).join(Post.user).order_by(User.email.desc().nulls_last()).limit(3),
    "alias": select(aliased(User)),
    "exists": select(User).where(exists().where(Post.user_id == User.id)),
    "any": select(User).where(User.posts.any(Post.title == "t")),
    "count": select(func.count()).select_from(User),
    "group": select(User.email, func.max(User.id)).group_by(User.email).having(func.count() > 1),
    "label": select(User.id.label("n")).order_by("n"),
    "cte": select(select(User.id).cte()),
    "subquery": select(select(User).subquery()),
    "scalar": select(select(func.min(Post.id)).scalar_subquery()),
    "union": union(select(User.id), select(Post.id)),
    "union of entities": union_all(select(User), select(User)),
    "window": select(func.row_number().over(partition_by=User.email, order_by=User.id)),
    "filter": select(func.count().filter(User.id > 1)),
    "case": select(case((User.id > 1, "a"), else_="b")),
    "cast": select(cast(User.id, String)),
    "extract": select(extract("year", User.created_at)),
    "arithmetic": select(User.id.op("&")(3) + 1),
    "literal": select(literal(1)),
    "values": select(numbers),
    "table function": select(func.json_each("[1]").table_valued("value")),
    "loaders": select(User).options(selectinload(User.posts), joinedload(User.posts)),
    "distinct": select(User.email).distinct(),
}
WRITES = {
    "insert": insert(User),
    "insert returning": insert(User).returning(User.id),
    "update": update(User).values(email="x"),
    "delete": delete(User),
    "insert from select": insert(users).from_select(["email"], select(User.email)),
    "dml in a cte": select(insert(User).values(email="x").returning(User.id).cte()),
    "for update": select(User).with_for_update(),
    "for share": select(User).with_for_update(read=True),
    "for update inside": select(select(User).with_for_update().subquery()),
    "create": CreateTable(users),
    "drop": DropTable(Table("t", MetaData())),
}
UNKNOWN = {
    "text": text("SELECT 1"),
    "textual select": text("SELECT 1 AS n").columns(Column("n", Integer)),
    "from statement": select(User).from_statement(text("SELECT * FROM users")),
    "text in where": select(User).where(text("1 = 1")),
    "text in order by": select(User).order_by(text("1")),
    "literal column": select(literal_column("nextval('s')")),
    "unknown function": select(func.pg_advisory_lock(1)),
    "unknown function inside": select(func.count(func.setval("s", 1))),
    "schema of its own": select(func.mine.count()),
    "sequence": select(Sequence("s").next_value()),
    "operator in words": select(User.id.op("FROBS")(3)),
    "prefix": select(User).prefix_with("HIGH_PRIORITY"),
    "suffix": select(User).suffix_with("FOR UPDATE"),
    "statement hint": select(User).with_statement_hint("FOR UPDATE"),
    "table hint": select(User).with_hint(User, "WITH (UPDLOCK)"),
}


@pytest.mark.parametrize(
    ("statement", "plain"),
    [
        pytest.param(statement, plain, id=name)
        for plain, statements in ((True, READS), (False, WRITES), (False, UNKNOWN))
        for name, statement in statements.items()
    ],
)
def test_plain_reads(statement, plain: bool) -> None:
    assert is_plain_read(statement) is plain
    assert is_plain_read(statement) is plain, "the remembered answer is the same"


def test_a_lock_is_not_mistaken_for_the_read_that_it_resembles() -> None:
    assert is_plain_read(select(User).where(User.id == 1))
    assert not is_plain_read(select(User).where(User.id == 1).with_for_update())
    assert is_plain_read(select(User).where(User.id == 2))
