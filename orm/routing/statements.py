"""Which statements are provably plain reads.

A statement that is not proven plain goes to the primary; a caller that knows better marks it with
``execution_options(route="read")``. What SQLAlchemy adds only at compile time (a
`column_property`, loader criteria, a type's bind expression) is not visible here and counts as
plain. Replicas are read-only by their own means, so such a mistake is an error there and never a
lost write.
"""

from typing import Any, Final

from sqlalchemy import (
    CTE,
    Alias,
    BinaryExpression,
    BindParameter,
    Case,
    Cast,
    ColumnClause,
    CompoundSelect,
    Exists,
    Extract,
    FromGrouping,
    FunctionFilter,
    Grouping,
    Join,
    Label,
    Lateral,
    Over,
    ScalarSelect,
    Select,
    Subquery,
    TableClause,
    TableSample,
    Tuple,
    TypeCoerce,
    UnaryExpression,
    Values,
    WithinGroup,
)
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import (
    BooleanClauseList,
    ClauseElement,
    ClauseList,
    CollationClause,
    ExpressionClauseList,
    False_,
    Null,
    True_,
)
from sqlalchemy.sql.functions import Function, FunctionElement, ScalarFunctionColumn
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.sql.selectable import (
    SelectStatementGrouping,
    TableValuedAlias,
)

__all__ = ["is_plain_read"]


_PLAIN: Final = (
    Alias,
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    Case,
    Cast,
    ClauseList,
    CollationClause,
    ColumnClause,
    CompoundSelect,
    CTE,
    Exists,
    ExpressionClauseList,
    Extract,
    False_,
    FromGrouping,
    FunctionFilter,
    Grouping,
    Join,
    Label,
    Lateral,
    Null,
    Over,
    ScalarFunctionColumn,
    ScalarSelect,
    Select,
    SelectStatementGrouping,
    Subquery,
    TableClause,
    TableSample,
    TableValuedAlias,
    True_,
    Tuple,
    TypeCoerce,
    UnaryExpression,
    Values,
    WithinGroup,
)
_QUERIES: Final = (Select, CompoundSelect, SelectStatementGrouping)
_PURE_FUNCTIONS: Final = frozenset(
    """
    abs aggregate_strings array_agg array_length avg bernoulli cast ceil ceiling char_length
    coalesce concat concat_ws count cube cume_dist current_date current_time current_timestamp
    date date_part date_trunc datetime dense_rank exp extract first_value floor greatest
    group_concat grouping_sets ifnull instr json json_array json_array_length json_each
    json_extract json_object json_type julianday lag last_value lead least left length ln
    localtime localtimestamp log lower ltrim max median min mod nth_value ntile now nullif
    percent_rank percentile_cont percentile_disc position power rank regexp_replace replace
    right rollup round row_number rtrim sign sqrt stddev strftime string_agg substr substring
    sum sysdate system time to_char total trim typeof unixepoch unnest upper variance
    """.split()
)
# The text in a SELECT that SQLAlchemy neither visits as an element nor exposes by a public name.
_TEXT_AROUND: Final = ("_prefixes", "_suffixes", "_hints", "_statement_hints")
# order_by("name"): a name that the compiler looks up among the labels, never text.
_LABELS: Final = frozenset({"label_reference", "textual_label_reference"})
_MEMO_SIZE: Final = 2_000
_memo: dict[Any, bool] = {}


def is_plain_read(statement: ClauseElement) -> bool:
    """Whether a statement is provably a plain read, judged from its structure alone."""
    # The key under which SQLAlchemy caches the compiled statement. It is private and is used here
    # only to look up an earlier answer: SQLAlchemy memoises it on the statement and needs it right
    # afterwards, so asking costs a microsecond where a walk costs twenty.
    cached = statement._generate_cache_key()
    if cached is None:
        return _walk(statement)
    plain = _memo.get(cached.key)
    if plain is None:
        if len(_memo) >= _MEMO_SIZE:
            _memo.clear()
        plain = _memo[cached.key] = _walk(statement)
    return plain


def _walk(statement: ClauseElement) -> bool:
    return isinstance(statement, _QUERIES) and all(map(_is_plain, visitors.iterate(statement)))


def _is_plain(element: visitors.ExternallyTraversible) -> bool:
    if isinstance(element, FunctionElement):
        pure = isinstance(element, Function) and not element.packagenames
        return pure and element.name.lower() in _PURE_FUNCTIONS
    if isinstance(element, ColumnClause):
        # literal_column() is text; SQLAlchemy itself writes EXISTS (SELECT 1 …) and (SELECT * …).
        return not element.is_literal or element.name == "*" or element.name.isdigit()
    if isinstance(element, BinaryExpression) and isinstance(element.operator, custom_op):
        return not any(character.isalpha() for character in element.operator.opstring)
    if isinstance(element, Select):
        return not any(getattr(element, name) for name in _TEXT_AROUND)
    return isinstance(element, _PLAIN) or element.__visit_name__ in _LABELS
