"""Which statements are taken for plain reads."""

import pytest
from sqlalchemy import (
    Column,
    ColumnElement,
    Integer,
    MetaData,
    Sequence,
    Table,
    and_,
    any_,
    case,
    cast,
    delete,
    exists,
    extract,
    func,
    insert,
    lambda_stmt,
    literal,
    literal_column,
    select,
    text,
    try_cast,
    tuple_,
    union,
    union_all,
    update,
    values,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, array, distinct_on
from sqlalchemy.orm import Bundle, aliased, joinedload, selectinload
from sqlalchemy.schema import CreateTable, DropTable
from sqlalchemy.types import String

from models import Post, User
from orm.routing.statements import is_plain_read

users = User.__table__


class Frobnicate(ColumnElement[int]):
    """As by an application that has a `compiles` for it."""

    inherit_cache = True


tree = select(literal(1).label("id")).cte(recursive=True)
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
    "count of a join": select(Post).join(Post.user).with_only_columns(func.count()),
    "frame": select(func.sum(User.id).over(order_by=User.id, rows=(-1, 3))),
    "unbounded frame": select(func.sum(User.id).over(order_by=User.id, range_=(None, 0))),
    "from a statement": select(User).from_statement(union_all(select(User), select(User))),
    "ordered aggregate": select(func.array_agg(aggregate_order_by(User.id, User.email))),
    "ordered aggregate, 2.1": select(func.group_concat(User.id).aggregate_order_by(User.email)),
    "random": select(User).order_by(func.random()),
    "glob": select(User).where(User.email.op("GLOB")("a*")),
    "not similar to": select(User).where(User.email.op("not similar to")("a%")),
    "distinct on": select(User).ext(distinct_on(User.email)),
    "slice": select(array([1, 2, 3])[1:2]),
    "any of": select(User).where(User.id == any_(select(Post.id).scalar_subquery())),
    "try cast": select(try_cast(User.id, String)),
    "scalar values": select(numbers.scalar_values()),
    "lambda": lambda_stmt(lambda: select(User)),
    "lambda in where": select(User).where(lambda: User.id > 1),
    "bundle": select(Bundle("pair", User.id, User.email)),
    "column of a function": select(func.json_each("[1]").column_valued("n")),
    "lateral": select(User, select(Post.id).where(Post.user_id == User.id).lateral()),
    "recursive": select(tree.union_all(select(tree.c.id + 1).where(tree.c.id < 9))),
    "materialized": select(select(User.id).cte().prefix_with("NOT MATERIALIZED")),
    "prefix": select(User).prefix_with("SQL_NO_CACHE HIGH_PRIORITY"),
    "hint in a comment": select(User).with_statement_hint("/*+ SeqScan(users) */"),
    "index by name": select(User).with_hint(User, "INDEXED BY ix_users_email"),
    "index of mysql": select(User).with_hint(User, "USE INDEX (ix_1, `ix_2`)"),
    "literal columns": select(literal_column("email"), literal_column("'a'"), literal_column("1")),
    "full text": select(User).where(func.to_tsvector(User.email).match("a")),
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
    "prefix": select(User).prefix_with("FROBNICATE"),
    "prefix of a cte": select(select(User.id).cte().prefix_with("FROBNICATE")),
    "prefix that goes on": select(User).prefix_with("DISTINCT nextval('s'),"),
    "comment that runs": select(User).prefix_with("/*! SQL_NO_CACHE, f() */"),
    "comment of mariadb that runs": select(User).prefix_with("/*M! f() */"),
    "comment that ends": select(User).with_statement_hint("/* */ FOR UPDATE /* */"),
    "function in values": select(values(Column("n", Integer), name="v").data([(func.f(1),)])),
    "call by a dot": select(literal_column("s.nextval")),
    "call of a connection": select(func.last_insert_rowid()),
    "text in a statement": select(User).from_statement(text("SELECT 1").columns(User.id)),
    "insert in a statement": select(User).from_statement(insert(User).returning(User)),
    "lambda that inserts": lambda_stmt(lambda: insert(User)),
    "lambda in where that calls": select(User).where(lambda: func.f(User.id) > 1),
    "function of one's own": select(Frobnicate()),
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
