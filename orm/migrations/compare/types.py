"""Types as code that needs SQLAlchemy alone: what a type of one's own is made of.

A revision outlives the models that it was written from. So it names no class of the application or
of another package, but SQLAlchemy's types, one for each engine where they differ. What is found is
evaluated, and taken only if each engine calls it what it calls the type of the models.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from inspect import Parameter, signature
from types import ModuleType
from typing import Any, Final

import sqlalchemy
from sqlalchemy import URL, ClauseElement, Column, Dialect, Enum, TypeDecorator
from sqlalchemy.types import TypeEngine

from orm.backends import backend_for, known_backends

__all__ = ["TypeCode", "called", "code_of", "dialects"]

_NAMED: Final = {Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY}
_DIALECTS: Final = "sqlalchemy.dialects"
# Among the imports, and after them in the order of the alphabet, in which Alembic writes them. A
# revision imports nothing of this library either.
_IN_WORDS: Final = '''\
from sqlalchemy.types import UserDefinedType


class InWords(UserDefinedType):
    """A type in the database's own words."""

    cache_ok = True

    def __init__(self, words: str) -> None:
        self.words = words

    def get_col_spec(self, **_: object) -> str:
        return self.words
'''


@dataclass(frozen=True, slots=True)
class TypeCode:
    """An expression.

    Attributes:
        text: the expression.
        imports: the lines that it needs at the top of its file, beside ``import sqlalchemy as sa``.
    """

    text: str
    imports: frozenset[str] = field(default=frozenset())

    def evaluated(self) -> TypeEngine[Any]:
        """The type.

        Raises:
            Exception: the arguments are not the class's own.
        """
        names: dict[str, Any] = {"sa": sqlalchemy}
        for line in sorted(self.imports):
            exec(line, names)
        made: TypeEngine[Any] = eval(self.text, names)
        return made


@cache
def dialects() -> Mapping[str, Dialect]:
    """The engines that a type is written for, by their names in URLs."""
    urls = {name: URL.create(name) for name in known_backends()}
    classes: dict[str, Any] = {
        name: url.get_dialect()
        for name, url in urls.items()
        if backend_for(url).migrations is not None
    }
    # A driver whose own parameters begin with % would have each % doubled.
    return {name: cls(paramstyle="named") for name, cls in classes.items()}


def code_of(
    type_: TypeEngine[Any], check: str | None = None, there: frozenset[str] = frozenset()
) -> TypeCode:
    """A type as an expression.

    Args:
        type_: the type.
        check: the name of the CHECK that the type makes, if it makes one that has a name.
        there: the names of types that are made already, with their schemas.
    """
    engines = dialects()
    plain = _plain(type_)
    there_is = {"create_type": False} if _full_name(plain) in there else {}
    # Where an enum is no type of its own, its name is that of its CHECK. An engine that has such
    # types gets a variant: batch operations, which are for the others, lose variants.
    said = there_is | ({"name": check} if check else {})
    code = next(_natural(type_, said, there, engines), None) or _in_words(type_, engines)
    made = code.evaluated()
    for name, dialect in engines.items():
        name_there = called(type_, dialect)
        if called(made, dialect) == name_there:
            continue
        real, one = _plain(type_.dialect_impl(dialect)), {name: dialect}
        natural = _natural(real, there_is if isinstance(real, Enum) else said, there, one)
        words = next((code for code in natural if _is_called(code, name_there, dialect)), None)
        words = words or _in_words(type_, one)
        code = TypeCode(
            f"{code.text}.with_variant({words.text}, {name!r})", code.imports | words.imports
        )
    return code


def _plain(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """What a type is decorated from."""
    while isinstance(type_, TypeDecorator):
        type_ = type_.impl_instance
    return type_


def _full_name(type_: TypeEngine[Any]) -> str | None:
    name, schema = getattr(type_, "name", None), getattr(type_, "schema", None)
    return f"{schema}.{name}" if schema else name


def called(type_: TypeEngine[Any], dialect: Dialect) -> str | None:
    """What an engine calls a type in the definition of a column; None if it does not have it."""
    column: Column[Any] = Column("_")  # which some of an application's own compilers ask for
    column.type = type_
    try:
        return dialect.type_compiler_instance.process(type_, type_expression=column)
    except Exception:  # noqa: BLE001 - a type of another engine reads its own compiler, say, and
        return None  # what an application has registered with @compiles may do anything


def _is_called(code: TypeCode, name: str | None, dialect: Dialect) -> bool:
    return called(code.evaluated(), dialect) == name


def _natural(
    type_: TypeEngine[Any],
    said: Mapping[str, Any],
    there: frozenset[str],
    engines: Mapping[str, Dialect],
) -> Iterator[TypeCode]:
    """Expressions of SQLAlchemy's own classes, the nearest first, that are right for an engine."""
    for cls in type(type_).__mro__:
        place = _place(cls)
        if place is None:
            if cls is TypeDecorator and isinstance(type_, TypeDecorator):
                yield from _natural(type_.impl_instance, said, there, engines)
            continue
        prefix, imports = place
        arguments = list(_arguments(cls, type_, said, there))
        text = ", ".join(code.text for code in arguments)
        code = TypeCode(
            f"{prefix}{cls.__name__}({text})",
            imports.union(*(argument.imports for argument in arguments)),
        )
        try:
            made = code.evaluated()
        except Exception:  # noqa: BLE001 - its class takes other arguments: the next one is asked
            continue
        names = [(called(made, d), called(type_, d)) for d in engines.values()]
        if type(type_) is cls or any(one and one == other for one, other in names):
            yield code


def _in_words(type_: TypeEngine[Any], engines: Mapping[str, Dialect]) -> TypeCode:
    """An expression that says what the first engine that has the type calls it."""
    said = next(filter(None, (called(type_, dialect) for dialect in engines.values())), None)
    if said is None:
        return TypeCode("sa.types.NullType()")
    return TypeCode(f"InWords({said!r})", frozenset({_IN_WORDS}))


def _place(cls: type) -> tuple[str, frozenset[str]] | None:
    """Where a class of SQLAlchemy is public, and the import that it needs; None if it is not."""
    if cls.__module__.partition(".")[0] != "sqlalchemy" or not issubclass(cls, TypeEngine):
        return None
    if cls in (TypeEngine, TypeDecorator, sqlalchemy.types.UserDefinedType):
        return None
    name, module = cls.__name__, cls.__module__
    if name.startswith("_"):
        return None
    if module.startswith(f"{_DIALECTS}."):
        engine = module.split(".")[2]
        public: ModuleType = import_module(f"{_DIALECTS}.{engine}")
        if getattr(public, name, None) is cls:
            return f"{engine}.", frozenset({f"from {_DIALECTS} import {engine}"})
        return None
    for public, prefix in ((sqlalchemy, "sa."), (sqlalchemy.types, "sa.types.")):
        if getattr(public, name, None) is cls:
            return prefix, frozenset()
    return None


def _arguments(
    cls: type, type_: TypeEngine[Any], said: Mapping[str, Any], there: frozenset[str]
) -> Iterator[TypeCode]:
    """The arguments that a class is made with, to be what a type is.

    Args:
        cls: a class of SQLAlchemy.
        type_: the type.
        said: those that are not as the type has them.
        there: as of `code_of`.
    """
    if isinstance(type_, Enum) and issubclass(cls, Enum):
        yield from _of_enum(type_, said)
        return
    for name, parameter in signature(cls).parameters.items():
        if name.startswith("_") or parameter.kind not in _NAMED:
            continue
        value = said.get(name, getattr(type_, name, parameter.default))
        required = parameter.default is Parameter.empty
        if (code := _value(value, there, required=required)) is None:
            continue
        if required:
            yield code
        elif value != parameter.default:
            yield TypeCode(f"{name}={code.text}", code.imports)


def _of_enum(type_: Enum, said: Mapping[str, Any]) -> Iterator[TypeCode]:
    """Its constructor takes them as **options, and has them as attributes."""
    defaults = {
        "name": None,
        "schema": None,
        "native_enum": True,
        "create_constraint": False,
        "length": max(map(len, type_.enums), default=0),
        "create_type": True,
    }
    yield from (TypeCode(repr(str.__str__(label))) for label in type_.enums)
    for option, default in defaults.items():
        value = said.get(option, getattr(type_, option))
        if value != default:
            # A name that SQLAlchemy knows how to quote would say so in its repr.
            plain = str.__str__(value) if isinstance(value, str) else value
            yield TypeCode(f"{option}={plain!r}")


def _value(value: Any, there: frozenset[str], *, required: bool) -> TypeCode | None:
    """An argument; None if it is one that only Python knows, and the database does not."""
    if isinstance(value, TypeEngine):
        return code_of(value, None, there) if required else None
    if isinstance(value, ClauseElement):
        return TypeCode(f"sa.text({str(value)!r})")
    if isinstance(value, str):
        # A name that SQLAlchemy knows how to quote, and a member of an enum, too.
        return TypeCode(repr(str.__str__(value)))
    try:
        ast.literal_eval(repr(value))
    except (ValueError, SyntaxError):
        return None
    return TypeCode(repr(value))
