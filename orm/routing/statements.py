"""Which statements are provably plain reads.

A statement that is not proven plain goes to the primary; a caller that knows better marks it with
``execution_options(route="read")``. The proof goes by SQLAlchemy's own classes: `_PLAIN` has those
that cannot write whatever they are made of, and a test names every other one.

What SQLAlchemy adds only at compile time (a `column_property`, loader criteria, a type's bind
expression) is not visible here and counts as plain. Replicas are read-only by their own means, so
such a mistake is an error there and never a lost write.
"""

import re
from collections.abc import Iterator
from itertools import chain
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
    Extract,
    FromGrouping,
    FunctionFilter,
    Join,
    Label,
    Lateral,
    Over,
    Select,
    Subquery,
    TableClause,
    TableSample,
    TryCast,
    Tuple,
    TypeCoerce,
    UnaryExpression,
    Values,
    WithinGroup,
)
from sqlalchemy.dialects.mysql import match
from sqlalchemy.dialects.postgresql import aggregate_order_by, array
from sqlalchemy.dialects.postgresql.ext import DistinctOnClause
from sqlalchemy.orm import FromStatement
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import (
    AggregateOrderBy,
    ClauseElement,
    ClauseList,
    CollationClause,
    ExpressionClauseList,
    False_,
    FrameClause,
    GroupedElement,
    Null,
    OrderByList,
    Slice,
    TableValuedColumn,
    True_,
    TypeClause,
)
from sqlalchemy.sql.functions import Function, FunctionElement, ScalarFunctionColumn
from sqlalchemy.sql.lambdas import LambdaElement, StatementLambdaElement
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.sql.selectable import (
    ScalarValues,
    SelectStatementGrouping,
    TableValuedAlias,
)

__all__ = ["is_plain_read"]


_PLAIN: Final = (
    AggregateOrderBy,
    Alias,
    BinaryExpression,
    BindParameter,
    Case,
    Cast,
    ClauseList,
    CollationClause,
    ColumnClause,
    CompoundSelect,
    CTE,
    DistinctOnClause,
    ExpressionClauseList,
    Extract,
    False_,
    FrameClause,
    FromGrouping,
    FromStatement,
    FunctionFilter,
    GroupedElement,
    Join,
    Label,
    LambdaElement,
    Lateral,
    Null,
    OrderByList,
    Over,
    ScalarFunctionColumn,
    ScalarValues,
    Select,
    SelectStatementGrouping,
    Slice,
    Subquery,
    TableClause,
    TableSample,
    TableValuedAlias,
    TableValuedColumn,
    True_,
    TryCast,
    Tuple,
    TypeClause,
    TypeCoerce,
    UnaryExpression,
    Values,
    WithinGroup,
    aggregate_order_by,
    array,
    match,
)
_QUERIES: Final = (
    Select,
    CompoundSelect,
    SelectStatementGrouping,
    FromStatement,
    StatementLambdaElement,
)
# Without a public name. The first two are names that the compiler looks up among the labels, as in
# order_by("name"), and never text; the third is what a SELECT was before `with_only_columns`.
_UNNAMED: Final = frozenset(
    {"label_reference", "textual_label_reference", "memoized_select_entities"}
)
# Of SQLite, PostgreSQL, MySQL and MariaDB. Not those that tell about the connection, such as
# last_insert_rowid(): a replica's connection would answer for itself.
_PURE_FUNCTIONS: Final = frozenset(
    """
    abs acos adddate addtime age aggregate_strings all any any_value array_agg array_append
    array_cat array_length array_lower array_position array_positions array_prepend array_remove
    array_replace array_to_json array_to_string array_upper ascii asin atan atan2 avg bernoulli
    bin bit_and bit_length bit_or bit_xor bm25 bool_and bool_or btrim cardinality cast cbrt ceil
    ceiling char char_length character_length chr coalesce concat concat_ws convert_tz corr cos
    count covar_pop covar_samp crc32 cube cume_dist curdate current_date current_time
    current_timestamp current_user curtime date date_add date_bin date_format date_part date_sub
    date_trunc datediff datetime day dayname dayofmonth dayofweek dayofyear decode degrees
    dense_rank div elt encode every exp extract field find_in_set first_value floor format
    from_unixtime gen_random_uuid generate_series glob greatest group_concat grouping
    grouping_sets hex highlight hour if ifnull iif initcap instr interval isfinite isnull json
    json_agg json_array json_array_elements json_array_elements_text json_array_length
    json_arrayagg json_build_array json_build_object json_contains json_each json_each_text
    json_extract json_extract_path json_extract_path_text json_group_array json_group_object
    json_insert json_keys json_object json_object_agg json_object_keys json_objectagg json_patch
    json_quote json_remove json_replace json_search json_set json_table json_tree json_type
    json_typeof json_unquote json_valid json_value jsonb jsonb_agg jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each
    jsonb_each_text jsonb_exists jsonb_exists_all jsonb_exists_any jsonb_extract_path
    jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg jsonb_object_keys
    jsonb_path_exists jsonb_path_match jsonb_path_query jsonb_path_query_array
    jsonb_path_query_first jsonb_pretty jsonb_set jsonb_strip_nulls jsonb_typeof julianday
    justify_days justify_hours justify_interval lag last_day last_value lcase lead least left
    length levenshtein like ln localtime localtimestamp locate log log10 log2 lower lpad ltrim
    make_date make_interval make_time make_timestamp make_timestamptz makedate maketime max md5
    median mid min minute mod mode month monthname multirange now nth_value ntile nullif
    octet_length ord overlay percent_rank percentile_cont percentile_disc phraseto_tsquery pi
    plainto_tsquery position pow power printf quarter quote radians rand random randomblob
    range_merge rank regexp_count regexp_instr regexp_like regexp_match regexp_matches
    regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr regr_slope repeat
    replace reverse right rollup round row row_number row_to_json rpad rtrim second session_user
    sha1 sha2 sha256 sha512 sign similarity sin snippet some soundex space split_part sqrt
    starts_with stddev stddev_pop stddev_samp str_to_date strcmp strftime string_agg
    string_to_array strpos substr substring substring_index sum sysdate system tan time
    time_format timediff timestamp timestampadd timestampdiff to_char to_date to_days to_hex
    to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector total translate trim trunc
    truncate ts_headline ts_rank ts_rank_cd typeof ucase unaccent unhex unicode unistr unixepoch
    unix_timestamp unnest upper user utc_date utc_time utc_timestamp uuid var_pop var_samp
    variance week weekday weekofyear websearch_to_tsquery width_bucket word_similarity
    xmlagg year yearweek zeroblob
    """.split()
)
_WORDS: Final = frozenset(
    """
    AT COLLATE CONTAINS DISTINCT DIV ESCAPE FROM GLOB ILIKE IN IS LIKE MATCH MEMBER MOD NOT NULL OF
    OVERLAPS REGEXP RLIKE SIMILAR SOUNDS TIME TO XOR ZONE
    """.split()
)
"""Of operators. All else that an operator is made of has no letters."""

_PLAIN_TEXT: Final = re.compile(
    r"""
    /\*(?!!|M!)((?!\*/|/\*).)*\*/
    | (ALL | DISTINCT | DISTINCTROW | HIGH_PRIORITY | STRAIGHT_JOIN | (NOT\ )?MATERIALIZED
      | SQL_(SMALL|BIG|BUFFER)_RESULT | SQL(_NO)?_CACHE | SQL_CALC_FOUND_ROWS) \b
    | (NOT\ INDEXED | INDEXED\ BY\ ["\w]+)
    | (USE|FORCE|IGNORE)\ (INDEX|KEY)\ ?(\ FOR\ (JOIN|ORDER\ BY|GROUP\ BY)\ ?)?\([`\w, ]*\)
    | \s+
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
"""Of prefixes, suffixes and hints: comments, if MySQL does not run them, and words of engines."""
_LITERAL: Final = re.compile(r"\*|\d+(\.\d+)?|[A-Za-z_]\w*|'[^'\\]*'")
"""What `literal_column` may hold: SQLAlchemy itself writes EXISTS (SELECT 1 …) and (SELECT * …).
No dot: ``row.function`` is a call on PostgreSQL."""

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
        return not element.is_literal or _LITERAL.fullmatch(element.name) is not None
    if isinstance(operator := getattr(element, "operator", None), custom_op):
        words = re.findall(r"\w*[^\W\d_]\w*", operator.opstring)
        return {word.upper() for word in words} <= _WORDS
    if isinstance(element, Values | ScalarValues):
        return all(map(_is_plain_value, _values_in(element)))
    if isinstance(element, Select | CTE):
        return all(map(_is_plain_text, _text_around(element)))
    return isinstance(element, _PLAIN) or element.__visit_name__ in _UNNAMED


def _values_in(element: Values | ScalarValues) -> Iterator[object]:
    # SQLAlchemy visits the columns alone; what is in the rows has no public name.
    return chain.from_iterable(chain.from_iterable(element._data))


def _is_plain_value(value: object) -> bool:
    return not isinstance(value, ClauseElement) or all(map(_is_plain, visitors.iterate(value)))


def _text_around(element: Select[Any] | CTE) -> Iterator[object]:
    # SQLAlchemy exposes it by no public name, and visits it as no element.
    yield from (text for text, _ in (*element._prefixes, *element._suffixes))
    if isinstance(element, Select):
        yield from element._hints.values()
        yield from (text for _, text in element._statement_hints)


def _is_plain_text(text: object) -> bool:
    return not _PLAIN_TEXT.sub("", str(text))
