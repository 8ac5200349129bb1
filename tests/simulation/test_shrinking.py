"""Plans that Hypothesis draws: what goes wrong in one becomes as small as it gets."""

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from orm.routing.memory import SessionMemory
from orm.testing.consistency.timeline import text
from tests.harness.client import TrialHabits
from tests.harness.simulation import FAULTS, Plan, Strike, run, smallest
from tests.simulation.test_unsafe import VARIANTS, trial


def strikes(*faults: str, most: int) -> st.SearchStrategy[tuple[Strike, ...]]:
    """What goes wrong, and when, and for how long."""
    strike = st.builds(
        Strike,
        fault=st.sampled_from(faults),
        after=st.floats(0, 0.1),
        on=st.integers(0, 3),
        lasts=st.floats(0, 0.5) | st.floats(0, 12),
        force=st.floats(0, 1, exclude_max=True),
    )
    return st.lists(strike, max_size=most).map(tuple)


plans = st.builds(
    Plan,
    seed=st.integers(0, 1000).map(str),
    operations=st.integers(1, 100),
    clients=st.integers(1, 8),
    replicas=st.lists(st.integers(1, 2), min_size=1, max_size=3).map(tuple),
    latency=st.sampled_from([0.0001, 0.001, 0.01, 0.03]),
    samples=st.booleans(),
    strikes=strikes(*FAULTS, most=40),
    habits=st.builds(
        TrialHabits,
        keys=st.integers(1, 8),
        writes=st.sampled_from([0.15, 0.35, 0.6]),
        cancels=st.sampled_from([0.0, 0.05, 0.3]),
        forges=st.booleans(),
    ),
    options=st.fixed_dictionaries(
        {"bookmark_keys": st.just(["a secret"]), "max_wait": st.sampled_from([0.0, 0.05, 1.0])},
        optional={"fallback": st.booleans(), "stray_bookmarks": st.just("error")},
    ),
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(plans)
def test_sessions_keep_their_promises_in_any_plan(plan: Plan) -> None:
    result = run(plan)
    assert not result.violations, text(result.violations[0])


def test_a_violation_shrinks_to_a_plan_that_a_person_can_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SessionMemory, "located", lambda self, _: setattr(self, "unlocated", None))
    small = find(
        st.builds(
            Plan,
            seed=st.integers(0, 9).map(str),
            operations=st.integers(1, 50),
            clients=st.integers(1, 4),
            strikes=strikes("lag", "pause", most=4),
        ),
        lambda plan: bool(run(plan).violations),
        settings=settings(max_examples=100, deadline=None, derandomize=True, database=None),
    )
    assert small.operations < 10
    assert small.clients <= 2
    assert small.strikes == ()


def test_a_seed_shrinks_to_the_faults_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    patch, faults, seed = VARIANTS["losses not looked for"]
    patch(monkeypatch)
    plan = trial(seed, faults)
    small = smallest(plan)
    assert small.strikes is not None
    assert len(small.strikes) < 10 < len(run(plan).strikes)
    assert [strike.fault for strike in small.strikes].count("promote") == 1
