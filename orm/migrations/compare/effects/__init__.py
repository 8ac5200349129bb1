"""What a revision does to existing rows, and to a program that runs beside the migration."""

from orm.migrations.compare.effects.effect import Effect, Kind
from orm.migrations.compare.effects.operations import effects_of
from orm.migrations.compare.effects.tables import Schema, Tables, schema_of

__all__ = ["Effect", "Kind", "Schema", "Tables", "effects_of", "schema_of"]
