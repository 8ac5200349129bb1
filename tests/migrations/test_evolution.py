"""A slice of the evolutions: ``python -m tests.harness.evolution`` runs more."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.harness.evolution.draw import pairs
from tests.harness.evolution.schema import Schema, source
from tests.harness.evolution.trial import Place, Violation, run

pytestmark = [
    pytest.mark.slow,
    # What drivers and Alembic say of models that applications should not have.
    pytest.mark.filterwarnings("ignore"),
]

SLICE = settings(
    max_examples=80,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_all_of_b_with_all_values_or_a_refusal(tmp_path: Path) -> None:
    place = Place(tmp_path / "app")

    @SLICE
    @given(pairs("sqlite", own=False, conventions=False))
    def evolve(pair: tuple[Schema, Schema]) -> None:
        try:
            run(pair, place)
        except Violation as violation:
            violation.add_note(f"A:\n{source(pair[0])}\nB:\n{source(pair[1])}")
            raise

    evolve()
