"""Pairs of models, drawn so that Hypothesis shrinks them: the second is the first, changed."""

import re
from dataclasses import replace
from functools import cache
from typing import Final

from hypothesis import strategies as st

from tests.harness.evolution.kinds import MYSQL, kinds_of
from tests.harness.evolution.schema import KEYS, Column, Constraint, Reference, Schema, Table

__all__ = ["pairs", "sound"]

_TABLES: Final = ("alpha", "beta", "Gamma")
_COLUMNS: Final = ("a", "b", "Mixed", "order")
_ACTIONS: Final = (
    "",
    'ondelete="CASCADE"',
    'ondelete="SET NULL"',
    'ondelete="RESTRICT"',
    'onupdate="CASCADE"',
    'ondelete="SET DEFAULT", onupdate="SET NULL"',
    'deferrable=True, initially="DEFERRED"',
    'deferrable=True, initially="IMMEDIATE"',
    'ondelete="CASCADE", deferrable=True, initially="DEFERRED"',
    "use_alter=True",
)
_COMPUTED: Final = ("row * 2", "row * 3", "row + 1")
_IDENTITIES: Final = ("Identity()", "Identity(always=True)", "Identity(start=5, increment=2)")
_ROW: Final = re.compile(r"\brow(?= (?:[<>+*]|BETWEEN|DESC|IS))")
"""The column where it is not quoted, as MySQL wants it to be."""
_OPTIONS: Final = ("", "index=True", 'comment="it\'s a comment"', "unique=True", 'comment="other"')
_JSON: Final = ("JSON()", "JSON(none_as_null=True)")
_OF_TABLES: Final = (
    "",
    "sqlite_autoincrement=True",
    'comment="a table"',
    "sqlite_with_rowid=False",
    "sqlite_strict=True",
    'info={"index_foreign_keys": False}',
)
_CHECKS: Final = (
    "row > 0",
    "row > -1",
    "row <> 99 AND (row > 0 OR row IS NULL)",
    "row BETWEEN 0 AND 1000",
)


@cache
def _constraints(engine: str) -> list[Constraint]:
    where = "sqlite_where={}, postgresql_where={}"
    found = [
        *(Constraint(f'CheckConstraint("{text}", name={{name}})', (), "ck") for text in _CHECKS),
        Constraint(
            'CheckConstraint("{0} IS NULL OR {0} IS NOT NULL", name={name})', ("a",), "Ck_A"
        ),
        Constraint("CheckConstraint(\"row <> 1 OR 'it''s (:x' <> ''\", name={name})", (), "quote"),
        Constraint('UniqueConstraint("row", name={name})', (), "one"),
        Constraint('UniqueConstraint("row", "id", name={name})', (), "two"),
        Constraint('UniqueConstraint("{0}", "row", name={name})', ("b",), "three"),
        Constraint('UniqueConstraint("{0}", name={name})', ("a",), "of_a", distinct=True),
        Constraint('Index({name}, "row")', (), "ix"),
        Constraint('Index({name}, "row", unique=True)', (), "ix"),
        Constraint('Index({name}, text("row DESC"))', (), "ix"),
        Constraint('Index({name}, "{0}", "row")', ("Mixed",), "ix_Mixed"),
        Constraint('Index({name}, "{0}", unique=True)', ("a",), "ix_a", distinct=True),
        Constraint('Index({name}, text("(row + 1)"))', (), "ix_sum"),
        Constraint('Index({name}, text("(row + 2)"))', (), "ix_sum"),
        *(
            Constraint(f'Index({{name}}, "row", {where.format(on, on)})', (), "ix_part")
            for on in ('text("row > 1")', 'text("row > 2")', 'text("row <> 5 AND row > 0")')
        ),
    ]
    if engine in MYSQL:
        found = [one for one in found if one.name not in ("ix_sum", "ix_part")]
        found = [replace(one, text=_ROW.sub("`row`", one.text)) for one in found]
    if engine == "mysql":
        found += [
            Constraint(f'Index({{name}}, text("((`row` + {n}))"))', (), "ix_sum") for n in (1, 2)
        ]
    if engine == "postgresql":
        found += [
            Constraint('Index({name}, "row", postgresql_include=["id"])', (), "ix_more"),
            Constraint('Index({name}, "row", postgresql_using="hash")', (), "ix_more"),
            Constraint('Index({name}, "row", postgresql_ops={"row": "int4_ops"})', (), "ix_more"),
            Constraint(
                'Index({name}, "row", postgresql_nulls_not_distinct=True, unique=True)', (), "ix_n"
            ),
            Constraint('UniqueConstraint("row", name={name}, deferrable=True)', (), "late"),
            Constraint(
                'postgresql.ExcludeConstraint(("row", "="), name={name}, using="btree")',
                (),
                "excluded",
            ),
        ]
    return found


@cache
def _columns(name: str, engine: str, own: bool) -> st.SearchStrategy[Column]:
    kinds = kinds_of(engine, own=own)
    free = engine not in MYSQL  # which refuse SET NULL of what is NOT NULL, and SET DEFAULT
    actions = [one for one in _ACTIONS if free or not re.search("defer|DEFAULT|SET NULL", one)]
    references = st.builds(
        Reference, st.sampled_from(_TABLES), st.sampled_from(actions), st.booleans()
    )
    integer = kinds[0]
    plain = st.builds(
        Column,
        st.just(name),
        st.sampled_from(kinds),
        st.booleans().map(lambda b: not b),
        st.none() | st.integers(0, 5),
        st.sampled_from(_OPTIONS).map(lambda option: option if option != "unique=True" else ""),
    )
    numbers = st.builds(Column, st.just(name), st.just(integer), options=st.sampled_from(_OPTIONS))
    stored = st.just(True) if engine == "postgresql" else st.booleans()
    computed = st.builds(
        Column,
        st.just(name),
        st.just(integer),
        computed=st.tuples(st.sampled_from(_COMPUTED), stored).map(
            lambda said: (_ROW.sub("`row`", said[0]), said[1]) if engine in MYSQL else said
        ),
    )
    identity = st.builds(
        Column,
        st.just(name),
        st.just(integer),
        st.just(False),
        identity=st.sampled_from(_IDENTITIES),
    )
    referring = st.builds(
        Column,
        st.just(name),
        st.just(integer),
        st.booleans().map(lambda b: not b),
        st.none(),
        st.sampled_from(_OPTIONS),
        reference=references,
    )
    found = [plain, plain, plain, numbers, referring, computed]
    if engine == "postgresql":
        found.append(identity)
    return st.one_of(found)


@st.composite
def _tables(draw: st.DrawFn, name: str, engine: str, own: bool) -> Table:
    columns = tuple(
        draw(_columns(column, engine, own)) for column in _COLUMNS if draw(st.booleans())
    )
    return sound(
        Table(
            name,
            draw(st.sampled_from(_keys(engine))),
            columns,
            _named(draw(st.lists(st.sampled_from(_constraints(engine)), max_size=3))),
            draw(st.sampled_from(_OF_TABLES)),
        ),
        engine,
    )


def _keys(engine: str) -> list[str]:
    if engine not in MYSQL:
        return list(KEYS)
    # A foreign key refers to the very same type; and no expression may be made of a column that
    # counts, as a key of one number does there.
    return [k for k in KEYS if "BigInteger" not in k and 'PrimaryKeyConstraint("row")' not in k]


def _named(constraints: list[Constraint]) -> tuple[Constraint, ...]:
    """Those without those that have the name of another."""
    return tuple({constraint.name: constraint for constraint in constraints}.values())


def sound(table: Table, engine: str) -> Table:
    """The table without what the engine would not take."""
    names = {column.name: column for column in table.columns}

    def can_be(constraint: Constraint) -> bool:
        return all(
            name not in names
            or (
                names[name].computed is None
                and (not constraint.distinct or len(names[name].kind.values) >= 3)
                and (not constraint.distinct or names[name].reference is None)
                and names[name].kind.family not in ("json", "pickle", "tsvector")
                and (engine not in MYSQL or not names[name].kind.is_large)
                and not (engine in MYSQL and _is_changed_by(names[name], constraint))
            )
            for name in constraint.columns
        )

    table = replace(
        table,
        columns=tuple(_changeable(_indexable(one, engine), engine) for one in table.columns),
        constraints=tuple(c for c in table.constraints if can_be(c)),
    )
    options, is_rowid = table.options, table.key.startswith('Column("id", Integer, primary_key')
    if options == "sqlite_autoincrement=True" and not is_rowid:
        options = ""
    if options == "sqlite_with_rowid=False" and KEYS[table.key] != ("id",):
        options = ""
    if options == "sqlite_with_rowid=False" and ("unique" in table.key or "Identity" in table.key):
        options = ""
    strict = all(column.kind.strict for column in table.columns)
    if options == "sqlite_strict=True" and not (strict and is_rowid):
        options = ""
    return replace(table, options=options)


def _changeable(column: Column, engine: str) -> Column:
    """The column, which may be NULL if a reference changes it (error 1005)."""
    changes = column.reference is not None and "onupdate" in column.reference.options
    return replace(column, nullable=True) if engine in MYSQL and changes else column


def _is_changed_by(column: Column, check: Constraint) -> bool:
    """Whether a reference would change the column of a CHECK, which MariaDB and MySQL refuse."""
    actions = "" if column.reference is None else column.reference.options
    return check.text.startswith("CheckConstraint") and "onupdate" in actions


def _indexable(column: Column, engine: str) -> Column:
    """The column, without an index if the engine has none for its type."""
    if engine == "postgresql" and column.kind.source in _JSON:
        return replace(column, options=column.options.replace("index=True", ""))
    if engine in MYSQL and column.kind.is_large and "index" in column.options:
        return replace(column, options="")
    return column


@st.composite
def _changed(draw: st.DrawFn, table: Table, engine: str, own: bool) -> Table:
    """The table after a few changes."""
    other = draw(_tables(table.name, engine, own))
    theirs = {column.name: column for column in other.columns}
    columns = []
    for column in table.columns:
        match draw(st.sampled_from(("same", "same", "part", "part", "other", "gone"))):
            case "same":
                columns.append(column)
            case "part":
                columns.append(draw(_altered(column, engine, own)))
            case "other" if column.name in theirs:
                columns.append(theirs[column.name])
            case _:
                pass
    columns += [
        column for name, column in theirs.items() if all(name != one.name for one in table.columns)
    ]
    constraints = [one for one in table.constraints if draw(st.sampled_from((True, True, False)))]
    constraints += [one for one in other.constraints if draw(st.booleans())]
    return sound(
        Table(
            table.name,
            draw(st.sampled_from((table.key, table.key, table.key, other.key))),
            tuple(columns),
            _named(constraints),
            draw(st.sampled_from((table.options, table.options, other.options))),
        ),
        engine,
    )


@st.composite
def _altered(draw: st.DrawFn, column: Column, engine: str, own: bool) -> Column:
    """The column with one thing of it changed."""
    other = draw(_columns(column.name, engine, own))
    if column.computed is not None:
        return replace(column, computed=other.computed)
    if column.identity is not None:
        return (
            replace(column, identity=other.identity, kind=other.kind) if other.identity else other
        )
    if column.reference is not None:
        changed = [
            replace(column, reference=other.reference),
            replace(column, nullable=other.nullable),
            replace(column, options=other.options),
        ]
    else:
        plain = "" if "unique" in other.options else other.options
        changed = [
            replace(column, kind=other.kind, default=None),
            replace(column, kind=other.kind),
            replace(column, nullable=other.nullable),
            replace(column, default=other.default),
            replace(column, options=plain),
        ]
    return draw(st.sampled_from(changed))


@st.composite
def _renamed(draw: st.DrawFn, old: list[Table], new: list[Table]) -> list[Table]:
    """The tables of B, of which some have a new name, or a column that has one."""
    if draw(st.sampled_from((False, False, True))):
        return new
    names: dict[str, str] = {}
    found = []
    for table in new:
        was = next((one for one in old if one.name == table.name), None)
        both = {one.name for one in was.columns} if was else set()
        of_both = [column.name for column in table.columns if column.name in both]
        if draw(st.booleans()) and of_both:
            table = _with_renamed_column(table, draw(st.sampled_from(of_both)))
        if was is not None and draw(st.sampled_from((False, False, True))):
            names[table.name] = f"{table.name}_now"
            table = replace(table, name=names[table.name], was=table.name)
        found.append(table)

    def follows(column: Column) -> Column:
        to = column.reference
        if to is None or to.table not in names:
            return column
        return replace(column, reference=replace(to, table=names[to.table]))

    return [replace(table, columns=tuple(map(follows, table.columns))) for table in found]


def _with_renamed_column(table: Table, name: str) -> Table:
    new = f"{name}_now"
    return replace(
        table,
        columns=tuple(
            replace(column, name=new, was=name) if column.name == name else column
            for column in table.columns
        ),
        constraints=tuple(
            replace(one, columns=tuple(new if each == name else each for each in one.columns))
            for one in table.constraints
        ),
    )


@st.composite
def pairs(
    draw: st.DrawFn, engine: str, *, own: bool = True, conventions: bool = True
) -> tuple[Schema, Schema]:
    """Models A, and models B that they become.

    Args:
        draw: Hypothesis's.
        engine: SQLAlchemy's name of the engine.
        own: whether columns have types of the application's own.
        conventions: whether the naming convention may change.
    """
    number = draw(st.integers(1, len(_TABLES)))
    old: list[Table] = []
    new: list[Table] = []
    for name in _TABLES[:number]:
        match draw(st.sampled_from(("both", "both", "both", "both", "gone", "made"))):
            case "both":
                table = draw(_tables(name, engine, own))
                old.append(table)
                new.append(draw(_changed(table, engine, own)))
            case "gone":
                old.append(draw(_tables(name, engine, own)))
            case _:
                new.append(draw(_tables(name, engine, own)))
    new = draw(_renamed(old, new))
    convention = draw(st.booleans())
    changes = conventions and draw(st.sampled_from((False,) * 9 + (True,)))
    within = (
        "other" if engine == "postgresql" and draw(st.sampled_from((False, False, True))) else None
    )
    return (
        Schema(tuple(old), convention, within),
        Schema(tuple(new), convention != changes, within),
    )
