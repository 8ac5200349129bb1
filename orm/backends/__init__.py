"""Database engines: the contract of a backend, and how one is found for a URL."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orm._lazy import lazy

if TYPE_CHECKING:
    from orm.backends.base import Backend
    from orm.backends.migration_parts import Cost, Journal, NotAScript, Script
    from orm.backends.migrations import Migrations
    from orm.backends.parts import EmbeddedReplica, EmbeddedReplicas, Fences, Network, Roles
    from orm.backends.registry import backend_for, known_backends, migrations_for, register
    from orm.backends.things import Thing
    from orm.backends.tokens import Lexer, Token

__all__ = [
    "Backend",
    "Cost",
    "EmbeddedReplica",
    "EmbeddedReplicas",
    "Fences",
    "Journal",
    "Lexer",
    "Migrations",
    "Network",
    "NotAScript",
    "Roles",
    "Script",
    "Thing",
    "Token",
    "backend_for",
    "known_backends",
    "migrations_for",
    "register",
]

# `orm.backends.sqlite.quick` must not import SQLAlchemy, which takes longer than its work.
__getattr__: Callable[[str], Any] = lazy(
    __name__,
    {
        "Backend": "orm.backends.base",
        "Cost": "orm.backends.migration_parts",
        "EmbeddedReplica": "orm.backends.parts",
        "EmbeddedReplicas": "orm.backends.parts",
        "Fences": "orm.backends.parts",
        "Journal": "orm.backends.migration_parts",
        "Lexer": "orm.backends.tokens",
        "Migrations": "orm.backends.migrations",
        "Network": "orm.backends.parts",
        "NotAScript": "orm.backends.migration_parts",
        "Roles": "orm.backends.parts",
        "Script": "orm.backends.migration_parts",
        "Thing": "orm.backends.things",
        "Token": "orm.backends.tokens",
        "backend_for": "orm.backends.registry",
        "known_backends": "orm.backends.registry",
        "migrations_for": "orm.backends.registry",
        "register": "orm.backends.registry",
    },
)
