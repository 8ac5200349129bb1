"""How a revision file says what it does: by SQLAlchemy's own means, for each engine of the project.

Defaults, CHECKs and generated columns are text, as the compiler of each engine has it: what the
application's own functions and elements were is not needed to run the file.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from alembic.autogenerate.api import AutogenContext
from alembic.ddl.impl import DefaultImpl
from alembic.runtime.migration import MigrationContext
from sqlalchemy import (
    CheckConstraint,
    ClauseElement,
    Column,
    Computed,
    DefaultClause,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    false,
    schema,
    true,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from orm.migrations.compare.types import code_of, dialects

__all__ = ["Rendering", "ddl_text"]

_NOT_PLAIN: Final = re.compile(r"\\(?=:\w*(?![:\w]))|(?<![:\w\\]):(?=\w+(?![:\w]))")
"""What `sqlalchemy.text` would take for the beginning of a parameter, or of an escaped one."""


class Rendering:
    """Alembic's ``render_item``: it is asked for the code of each part of an operation."""

    def __init__(self, models: MetaData, engines: Sequence[str], types: frozenset[str]) -> None:
        """Begin with nothing rendered.

        Args:
            models: whose naming convention names the CHECKs that types make.
            engines: those that the revisions have to suit.
            types: the names of enums and the like that are there already.
        """
        self._models = models
        self._engines = engines
        self._types = types
        self._column: Column[Any] | None = None

    def __call__(self, kind: str, item: Any, context: AutogenContext) -> str | bool:
        """The code; False to leave it to Alembic."""
        match kind, item:
            case "column", Column():
                self._column = item  # its type is asked for next
                if isinstance(item.default, schema.Sequence) and not item.default.optional:
                    item.autoincrement = False  # it counts by that, and has no sequence of its own
            case "type", TypeEngine():
                code = code_of(item, self._check_of(item), self._types)
                context.imports.update(code.imports)
                return code.text
            case "server_default", Computed():
                text = self._text(item.sqltext)
                persisted = "" if item.persisted is None else f", persisted={item.persisted}"
                return f"sa.Computed({text}{persisted})"
            case "server_default", DefaultClause(arg=str(value)):
                return repr(str.__str__(value))  # not as a member of an enum shows itself
            case "server_default", DefaultClause(arg=ClauseElement() as value):
                return self._default(value)
            case "check", CheckConstraint() if (
                len({*_texts(item.sqltext, self._engines).values()}) > 1
            ):
                name = "" if item.name is None else f", name=op.f({str(item.name)!r})"
                return f"sa.CheckConstraint({self._text(item.sqltext)}{name})"
            case "primary_key", PrimaryKeyConstraint() if item.columns and (said := _options(item)):
                columns = ", ".join(repr(str.__str__(column.name)) for column in item.columns)
                return f"sa.PrimaryKeyConstraint({columns}, {', '.join(said)})"
            case _:
                pass
        return False

    def _check_of(self, type_: TypeEngine[Any]) -> str | None:
        """The name of the CHECK that the type of the present column makes."""
        column = self._column
        if column is None or column.type is not type_ or column.table is None:
            return None
        same = MetaData(naming_convention=self._models.naming_convention)
        alike = Column(column.name, code_of(type_).evaluated())
        made = Table(column.table.name, same, alike, schema=column.table.schema)
        names = [check.name for check in made.constraints if isinstance(check, CheckConstraint)]
        return str(names[0]) if names and isinstance(names[0], str) else None

    def _default(self, value: ClauseElement) -> str:
        texts = _texts(value, self._engines, is_server_default=True)
        if len({*texts.values()}) > 1:  # these are code that says the same on each engine
            for constant, code in ((true(), "sa.true()"), (false(), "sa.false()")):
                if type(value) is type(constant):
                    return code
            if isinstance(value, FunctionElement) and _is_plain(value):
                return f"sa.func.{value.name}()"
        return f"sa.text({self._text(value, is_server_default=True)})"

    def _text(self, value: ClauseElement, **options: bool) -> str:
        """Code for a string: the text of each engine, if they differ."""
        texts = _texts(value, self._engines, **options)
        if len({*texts.values()}) == 1:
            return repr(next(iter(texts.values())))
        return f"{texts!r}[op.get_context().dialect.name]"


def _options(key: PrimaryKeyConstraint) -> Sequence[str]:
    """What is said of a key beside its columns; nothing if that is a name, which Alembic writes."""
    timing = {name: getattr(key, name) for name in ("deferrable", "initially")}
    said = {name: value for name, value in timing.items() if value is not None}
    said |= key.dialect_kwargs
    name = [f"name=op.f({str(key.name)!r})"] if said and isinstance(key.name, str) else []
    return [*name, *(f"{option}={value!r}" for option, value in said.items())]


def _is_plain(function: FunctionElement[Any]) -> bool:
    """Whether it is one of SQLAlchemy's, without arguments."""
    return type(function).__module__.startswith("sqlalchemy.") and not len(function.clauses)


def _texts(value: ClauseElement, engines: Sequence[str], **options: bool) -> Mapping[str, str]:
    """What each engine compiles an expression to; engines that cannot are left out."""
    found: dict[str, str] = {}
    for engine in engines:
        try:
            found[engine] = ddl_text(engine, value, **options)
        except SQLAlchemyError:
            continue
    return found


def ddl_text(engine: str, value: ClauseElement, **options: bool) -> str:
    """The text of an expression, as `sqlalchemy.text` or, for an index, a literal column takes it.

    Args:
        engine: whose compiler writes it.
        value: the expression.
        options: ``is_server_default``, ``is_index``: what it is.

    Raises:
        SQLAlchemyError: the engine does not have it.
    """
    text = _impl(engine).render_ddl_sql_expr(value, **options)
    return text if options.get("is_index") else _NOT_PLAIN.sub(r"\\\g<0>", text)


@cache
def _impl(engine: str) -> DefaultImpl:
    """Alembic's part for an engine, without a database."""
    return MigrationContext.configure(dialect=dialects()[engine], opts={"as_sql": True}).impl
