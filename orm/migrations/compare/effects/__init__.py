"""What a revision does to existing rows, and to a program that runs beside the migration."""

from orm.migrations.compare.effects.effect import Effect, Kind
from orm.migrations.compare.effects.operations import effects_of, schemas_of
from orm.migrations.compare.effects.tables import Catalog, Tables, catalog_of

__all__ = [
    "Catalog",
    "Effect",
    "Kind",
    "Tables",
    "catalog_of",
    "effects_of",
    "schemas_of",
]
