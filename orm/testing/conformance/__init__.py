"""What is asked of every backend, as tests for pytest: subclass `BackendConformance`."""

from orm.testing.conformance.engines import EngineRules
from orm.testing.conformance.errors import ErrorRules
from orm.testing.conformance.migrations import MigrationRules
from orm.testing.conformance.parts import PartRules
from orm.testing.conformance.positions import PositionRules

__all__ = ["BackendConformance"]


class BackendConformance(PositionRules, EngineRules, ErrorRules, PartRules, MigrationRules):
    """The rules that a backend has to keep, tried on its servers.

    A subclass has a fixture ``database``: a `Database` that is not started, of a primary and at
    least one replica. The tests make a table ``orm_conformance`` in it, and drop the table again.
    A subclass overrides `paused` and `caught_up`, unless its replicas are embedded ones or standbys
    of PostgreSQL. The rules of an optional part that the backend does not have are skipped.

    The tests are plain functions: no plugin for asynchronous ones is needed.
    """
