"""The contract of a backend: what it has is tried by the suite, and is met by each backend.

mypy reads this file: an assignment below is an error if a member is missing, or of another type.
"""

import ast
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from orm.backends import (
    Backend,
    EmbeddedReplica,
    EmbeddedReplicas,
    Fences,
    Migrations,
    Network,
    Roles,
)
from orm.backends.mysql import MySQLBackend
from orm.backends.postgresql import PostgreSQLBackend
from orm.backends.sqlite import SQLiteBackend
from orm.testing import conformance
from tests.harness.simulation.backend import SimulatedBackend

SQLITE: Backend = SQLiteBackend()
POSTGRESQL: Backend = PostgreSQLBackend()
MYSQL: Backend = MySQLBackend()
SIMULATED: Backend = SimulatedBackend()

PARTS = {
    "backend": Backend,
    "network": Network,
    "roles": Roles,
    "fences": Fences,
    "embedded": EmbeddedReplicas,
    "copy": EmbeddedReplica,
    "migrations": Migrations,
}
"""What each part is called in the suite."""


def members(part: type) -> set[str]:
    return {name for name in (*vars(part), *part.__annotations__) if name[0] != "_"}


def asked_of(part: str, source: str) -> Iterator[str]:
    """The members of a part that some source uses: of ``roles.lost(a, b)`` the ``lost``."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=member) if name == part:
                yield member
            case ast.Attribute(value=ast.Attribute(attr=name), attr=member) if name == part:
                yield member


@pytest.mark.parametrize("part", PARTS)
def test_the_suite_tries_every_member(part: str) -> None:
    files = Path(conformance.__file__).parent.glob("*.py")
    tried = {member for file in files for member in asked_of(part, file.read_text("utf-8"))}
    assert members(PARTS[part]) - tried == set()


def test_a_member_that_is_not_tried_is_found() -> None:
    source = "roles.lost(a, b)\ndb.cluster.backend.fences\nserver.engine\nbackend = unit"
    assert set(asked_of("roles", source)) == {"lost"}
    assert set(asked_of("backend", source)) == {"fences"}
    assert set(asked_of("migrations", source)) == set()


def test_every_backend_in_the_box_is_checked_by_its_type() -> None:
    entries = distribution("bookmark-orm").entry_points.select(group="orm.backends")
    checked = {type(backend) for backend in (SQLITE, POSTGRESQL, MYSQL, SIMULATED)}
    assert {entry.load() for entry in entries} <= checked
