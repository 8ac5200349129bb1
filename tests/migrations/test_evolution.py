"""A slice of the evolutions: ``python -m tests.harness.evolution`` runs more."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings

from tests.harness.evolution.draw import pairs, sound
from tests.harness.evolution.kinds import KINDS
from tests.harness.evolution.schema import (
    Column,
    Constraint,
    Reference,
    Schema,
    Table,
    source,
)
from tests.harness.evolution.trial import Place, Violation, database_of, run

pytestmark = [
    pytest.mark.slow,
    # What drivers and Alembic say of models that applications should not have.
    pytest.mark.filterwarnings("ignore"),
]

SLICE = settings(
    max_examples=40,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


SOME = settings(SLICE, max_examples=8)  # it takes longer where a server answers
FEW = settings(SLICE, max_examples=4)  # and longer where each statement is committed
SLICES = {"sqlite": SLICE, "postgresql": SOME}


def _of(source: str) -> Schema:
    kind = next(kind for kind in KINDS if kind.source == source)
    return Schema((Table("alpha", columns=(Column("b", kind),)),))


@pytest.mark.parametrize(
    ("old", "new", "outcome"),
    [
        ("DateTime()", "Time()", "rows"),  # without the day
        ("BigInteger()", "REAL()", "rows"),  # 2**40 is shown with fewer digits
        ('Enum("red", "blue", "green", name="{name}")', "LargeBinary()", "rows"),
        ('Enum("red", "blue", "green", name="{name}")', "Hue()", "written"),
        ("Hue()", "postgresql.TSVECTOR()", "rows"),
        ("postgresql.ARRAY(Text())", "Text()", "rows"),
        ("Interval()", "String(20)", "rows"),
        ("postgresql.INET()", "String(40)", "written"),
    ],
)
def test_a_type_keeps_the_values_or_refuses(
    tmp_path: Path, old: str, new: str, outcome: str
) -> None:
    with database_of("postgresql") as url:
        assert run((_of(old), _of(new)), Place(tmp_path / "app", url)).kind == outcome


def test_an_enum_of_a_type_of_ones_own_is_made_once(tmp_path: Path) -> None:
    hue = next(kind for kind in KINDS if kind.source == "Hue()")
    both = Schema((*_of("Hue()").tables, Table("beta", columns=(Column("a", hue),))))
    with database_of("postgresql") as url:
        place = Place(tmp_path / "app", url)
        assert run((both, Schema()), place).kind == "written"
        assert run((Schema(), both), place).kind == "written"


@pytest.mark.parametrize("engine", ["mariadb", "mysql"])
def test_no_check_is_on_a_column_that_a_reference_changes(tmp_path: Path, engine: str) -> None:
    """The engines refuse it (errors 1901 and 3823)."""
    check = Constraint('CheckConstraint("{0} IS NOT NULL", name={name})', ("a",), "of_a")
    column = Column("a", KINDS[0], reference=Reference("alpha", 'onupdate="CASCADE"'))
    table = sound(Table("alpha", columns=(column,), constraints=(check,)), engine)
    with database_of(engine) as url:
        assert run((Schema((table,)), Schema()), Place(tmp_path / "app", url)).kind == "written"


@pytest.mark.parametrize(
    ("engine", "number"),
    [*(("sqlite", number) for number in range(4)), ("postgresql", 0), ("mariadb", 0), ("mysql", 0)],
)
def test_all_of_b_with_all_values_or_a_refusal(tmp_path: Path, engine: str, number: int) -> None:
    @seed(number)
    @SLICES.get(engine, FEW)
    @given(pairs(engine))
    def evolve(pair: tuple[Schema, Schema]) -> None:
        try:
            run(pair, place)
        except Violation as violation:
            violation.add_note(f"A:\n{source(pair[0])}\nB:\n{source(pair[1])}")
            raise

    with database_of(engine) as url:
        place = Place(tmp_path / "app", url)
        evolve()
