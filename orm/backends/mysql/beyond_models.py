"""Statements for what a MariaDB or MySQL database has and no model makes."""

from collections.abc import Sequence

from sqlalchemy import Connection

from orm.backends.mysql.definitions import BEYOND, definitions, events

__all__ = ["beyond_models"]


def beyond_models(connection: Connection) -> tuple[Sequence[str], Sequence[str]]:
    """Sequences and routines; then views, each after those that it names, triggers and events."""
    found = {thing: said for thing, said in definitions(connection).items() if thing.kind in BEYOND}
    first = [said for thing, said in found.items() if BEYOND.index(thing.kind) < 3]
    triggers = [said for thing, said in found.items() if thing.kind == "trigger"]
    views = {thing.name: said for thing, said in found.items() if thing.kind == "view"}
    last: list[str] = []
    while views:
        ready = [
            name
            for name, said in views.items()
            if not any(f"`{other}`" in said for other in views if other != name)
        ]
        last += [views.pop(name) for name in ready or list(views)]
    return first, [*last, *triggers, *(said for _, said in events(connection))]
