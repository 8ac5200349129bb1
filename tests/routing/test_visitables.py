"""All of SQLAlchemy's elements of statements, and which of them are plain reads.

When SQLAlchemy adds one, this fails: decide whether it can write, whatever it is made of, and
add it to a list here; if it cannot, to `_PLAIN` in `orm/routing/statements.py` too.
"""

from collections.abc import Iterator
from importlib import import_module

from sqlalchemy.sql.annotation import Annotated
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.functions import FunctionElement

from orm.routing.statements import _PLAIN, _UNNAMED

DIALECTS = tuple(f"sqlalchemy.dialects.{name}" for name in ("mysql", "postgresql", "sqlite"))
ENGINE_FREE = ("sqlalchemy.sql.", "sqlalchemy.orm.", "sqlalchemy.engine.")
for module in DIALECTS:
    import_module(module)

PLAIN = """
    dialects.mysql.expression.match dialects.postgresql.array.array
    dialects.postgresql.ext.DistinctOnClause dialects.postgresql.ext.aggregate_order_by
    elements.AggregateOrderBy elements.AsBoolean elements.BinaryExpression
    elements.BindParameter elements.BooleanClauseList elements.Case elements.Cast
    elements.ClauseList elements.CollationClause elements.CollectionAggregate
    elements.ColumnClause elements.ExpressionClauseList elements.Extract elements.False_
    elements.FrameClause elements.FunctionFilter elements.GroupedElement elements.Grouping
    elements.IndexExpression elements.Label elements.Null elements.OrderByList elements.Over
    elements.Slice elements.TableValuedColumn elements.True_ elements.TryCast elements.Tuple
    elements.TypeClause elements.TypeCoerce elements.UnaryExpression elements.WithinGroup
    elements._label_reference elements._textual_label_reference functions.FunctionAsBinary
    functions.ScalarFunctionColumn lambdas.DeferredLambdaElement lambdas.LambdaElement
    lambdas.LinkedLambdaElement lambdas.StatementLambdaElement orm.context.FromStatement
    orm.util._ORMJoin schema.Column schema.Table selectable.Alias selectable.CTE
    selectable.CompoundSelect selectable.Exists selectable.FromGrouping selectable.Join
    selectable.Lateral selectable.NamedFromGrouping selectable.ScalarSelect
    selectable.ScalarValues selectable.Select selectable.SelectStatementGrouping
    selectable.Subquery selectable.TableClause selectable.TableSample
    selectable.TableValuedAlias selectable.Values selectable._OffsetLimitParam
""".split()
NOT_PLAIN = """
    crud._multiparam_column ddl.AddConstraint ddl.BaseDDLElement ddl.CreateColumn
    ddl.CreateConstraint ddl.CreateIndex ddl.CreateSchema ddl.CreateSequence ddl.CreateTable
    ddl.CreateTableAs ddl.CreateView ddl.DDL ddl.DropColumnComment ddl.DropConstraint
    ddl.DropConstraintComment ddl.DropIndex ddl.DropSchema ddl.DropSequence ddl.DropTable
    ddl.DropTableComment ddl.DropView ddl.ExecutableDDLElement ddl.SetColumnComment
    ddl.SetConstraintComment ddl.SetTableComment ddl.TableCreateDDL ddl.TableDropDDL
    ddl._CreateBase ddl._CreateDropBase ddl._DropBase ddl._TableViaSelect
    dialects.mysql.dml.DMLLimitClause dialects.mysql.dml.Insert dialects.mysql.dml.OnDuplicateClause
    dialects.postgresql.dml.Insert dialects.postgresql.dml.OnConflictClause
    dialects.postgresql.dml.OnConflictDoNothing dialects.postgresql.dml.OnConflictDoUpdate
    dialects.postgresql.named_types.CreateDomainType dialects.postgresql.named_types.CreateEnumType
    dialects.postgresql.named_types.DropDomainType dialects.postgresql.named_types.DropEnumType
    dialects.sqlite.dml.Insert dialects.sqlite.dml.OnConflictClause
    dialects.sqlite.dml.OnConflictDoNothing dialects.sqlite.dml.OnConflictDoUpdate
    dml.Delete dml.Insert dml.ReturningDelete dml.ReturningInsert dml.ReturningUpdate
    dml.Update dml.UpdateBase dml.ValuesBase elements.AbstractTextClause
    elements.ColumnElement elements.DMLTargetCopy elements.DQLDMLClauseElement
    elements.ElementList elements.KeyedColumnElement elements.NamedColumn
    elements.OperatorExpression elements.ReleaseSavepointClause
    elements.RollbackToSavepointClause elements.SavepointClause elements.TString
    elements.TextClause elements.WrapsColumnExpression elements._IdentifiedClause
    elements._OverrideBinds elements._TStringText lambdas.NullLambdaStatement
    selectable.AliasedReturnsRows selectable.ExecutableReturnsRows selectable.ForUpdateArg
    selectable.FromClause selectable.FromClauseAlias selectable.GenerativeSelect
    selectable.HasCTE selectable.LateralFromClause selectable.NamedFromClause
    selectable.ReturnsRows selectable.SelectBase selectable.Selectable
    selectable.SelectsRows selectable.TextualSelect selectable.TypedReturnsRows
""".split()
"""Text, DML, DDL, savepoints, locks; and bases, which are not plain, since an application's own
elements derive from them. Functions are judged by their names."""


def below(kind: type) -> Iterator[type]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from below(subclass)


def elements() -> dict[str, type[ClauseElement]]:
    """All of them by name, but for functions and the annotated twins that the ORM makes."""
    return {
        f"{kind.__module__.removeprefix('sqlalchemy.').removeprefix('sql.')}.{kind.__name__}": kind
        for kind in below(ClauseElement)
        if kind.__module__.startswith(ENGINE_FREE + DIALECTS)
        if not issubclass(kind, Annotated | FunctionElement)
    }


def test_every_element_is_judged() -> None:
    assert sorted(elements()) == sorted(PLAIN + NOT_PLAIN)


def test_plain_ones_are_those_of_the_library() -> None:
    plain = [
        name
        for name, kind in elements().items()
        if issubclass(kind, _PLAIN) or kind.__visit_name__ in _UNNAMED
    ]
    assert sorted(plain) == sorted(PLAIN)
