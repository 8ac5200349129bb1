"""The checker on histories written by hand: each anomaly is found, and nothing else is."""

import gc
import random
import time
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orm.testing.consistency import Anomaly, History, Operation, Seen, check


def ops(*lines: str) -> History:
    """One operation a line: ``id session[<after,after] words``.

    Words: ``r1=3:w`` read key 1 at version 3 of w; ``w1=3`` wrote it; ``bookmark``, ``audit``,
    ``failed``, ``unknown``, ``torn``. A session's operations follow each other by themselves.
    """
    made: History = []
    last: dict[str, str] = {}
    for number, line in enumerate(lines):
        name, session, *words = line.split()
        session, _, links = session.partition("<")
        after = [last[session]] if session in last else []
        last[session] = name
        reads, writes = [], []
        for word in words:
            key, _, version = word[1:].partition("=")
            version, _, writer = version.partition(":")
            if word[0] == "r" and version:
                reads.append(Seen(int(key), int(version), writer))
            elif word[0] == "w":
                writes.append(Seen(int(key), int(version), name))
        made.append(
            Operation(
                id=name,
                session=session,
                kind=next(
                    (k for k in ("bookmark", "audit") if k in words), "write" if writes else "read"
                ),
                start=float(number),
                end=number + 0.5,
                after=(*after, *filter(None, links.split(","))),
                reads=tuple(reads),
                writes=tuple(writes),
                torn="torn" if "torn" in words else "",
                outcome=next((o for o in ("failed", "unknown") if o in words), "ok"),
            )
        )
    return made


BAD = {
    "own write not seen": (
        Anomaly.READ_YOUR_WRITES,
        ops("a A w1=1", "x A w2=1", "y A r3=0", "b A r1=0"),
        "a b",
    ),
    "own write not seen after a hand-off": (
        Anomaly.READ_YOUR_WRITES,
        ops("a A w1=1", "h A bookmark", "n B<h r2=0", "i B bookmark", "b C<i r1=0"),
        "a h i b",
    ),
    "own write not seen after a merge": (
        Anomaly.READ_YOUR_WRITES,
        ops("a A w1=1", "h A bookmark", "c B w2=1", "i B bookmark", "b C<h,i r2=1:c r1=0"),
        "a h b",
    ),
    "a read that went back": (
        Anomaly.MONOTONIC_READS,
        ops("w W w1=1", "v W w1=2", "a A r1=2:v", "n A r2=0", "b A r1=1:w"),
        "a b",
    ),
    "a read that went back after a hand-off": (
        Anomaly.MONOTONIC_READS,
        ops("w W w1=1", "a A r1=1:w", "h A bookmark", "b B<h r1=0"),
        "a h b",
    ),
    "writes out of order": (
        Anomaly.MONOTONIC_WRITES,
        ops("a A w1=5", "b A w1=4"),
        "a b",
    ),
    "a write before what was read": (
        Anomaly.WRITES_FOLLOW_READS,
        ops("w W w1=7", "a A r1=7:w", "b A w1=6"),
        "a b",
    ),
    "an answer without the question": (
        Anomaly.WRITES_FOLLOW_READS,
        ops("q Q w1=1", "a A r1=1:q", "b A w2=1", "c C r2=1:b", "d C r1=0"),
        "a b c d",
    ),
    "half of a transaction": (
        Anomaly.ATOMIC_VISIBILITY,
        ops("a A w1=1 w2=1", "b B r1=1:a r2=0"),
        "a b",
    ),
    "half of a transaction that was cut off": (
        Anomaly.ATOMIC_VISIBILITY,
        ops("a A unknown", "c C r2=1:a", "b B r1=1:a r2=0"),
        "a b",
    ),
    "a repeatable read that changed": (
        Anomaly.ATOMIC_VISIBILITY,
        ops("a A w1=1", "b B r1=0 r1=1:a"),
        "b",
    ),
    "a state that contradicts itself": (Anomaly.ATOMIC_VISIBILITY, ops("a A torn"), "a"),
    "two that saw each other's future": (
        Anomaly.CAUSAL_ORDER,
        ops("a A r1=1:d", "b A w2=1", "c C r2=1:b", "d C w1=1"),
        "a b c d",
    ),
    "versions against the order of the writers": (
        Anomaly.CAUSAL_ORDER,
        ops("a A w1=2 w2=1", "b B w1=1 w2=2"),
        "a b",
    ),
    "what was rolled back": (
        Anomaly.ABORTED_READ,
        ops("a A w1=1 failed", "b B r1=1:a"),
        "a b",
    ),
    "two that wrote one version": (
        Anomaly.ONE_WRITE_A_VERSION,
        ops("a A w1=1", "b B w1=1"),
        "a b",
    ),
    "an acknowledged write that is gone": (
        Anomaly.LOST_WRITE,
        ops("a A w1=1", "b B w2=1", "z Z audit r2=1:b"),
        "a",
    ),
    "a version that no session wrote": (
        Anomaly.UNKNOWN_WRITER,
        ops("a A r1=1:ghost", "z Z audit"),
        "a",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_each_anomaly_is_found_and_the_history_is_the_shortest(case: str) -> None:
    anomaly, history, shortest = BAD[case]
    found = check(history)
    assert found[0].anomaly is anomaly
    assert sorted(o.id for o in found[0].history) == sorted(shortest.split())


@pytest.mark.parametrize("case", BAD)
def test_what_is_shown_shows_it_by_itself(case: str) -> None:
    shown = check(BAD[case][1])[0]
    if shown.anomaly in (Anomaly.LOST_WRITE, Anomaly.UNKNOWN_WRITER):
        return  # only the whole history says that there is nothing else
    if case == "half of a transaction that was cut off":
        return  # what it wrote is known from a third
    assert shown.anomaly in {v.anomaly for v in check(shown.history)}


GOOD = {
    "unlinked sessions may differ": ops("w W w1=1", "a A r1=1:w", "b B r1=0"),
    "a bookmark covers what came before it, not after": ops(
        "h A bookmark", "a A w1=1", "b B<h r1=0", "c A r1=1:a"
    ),
    "what failed need not be seen": ops("a A w1=1 failed", "b A r1=0"),
    "what was cut off may appear": ops("a A w1=1 unknown", "b A r1=1:a", "z Z audit r1=1:a"),
    "what was cut off may be gone": ops(
        "a A w1=1 unknown", "b A r1=0", "c C w1=1", "z Z audit r1=1:c"
    ),
    "what was cut off may appear late": ops("a A w1=1 unknown", "b A r1=0", "c C r1=1:a"),
    "a failed read says nothing": ops("w W w1=1", "a A r1=1:w failed", "b A r1=0"),
    "versions may be missed": ops("a A w1=1", "b A w1=2", "c C r1=0", "d C r1=2:b"),
    "two keys in two transactions": ops("a A w1=1", "b A w2=1", "c C r1=1:a r2=0"),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_is_allowed_is_not_found(case: str) -> None:
    assert check(GOOD[case]) == []


LOSS = ("a A w1=1", "h A bookmark", "b B w1=1", "z Z audit r1=1:b")


def test_a_failover_may_lose_what_no_session_relies_on() -> None:
    assert check(ops(*LOSS), losses=True) == []


def test_a_lost_write_has_to_be_reported() -> None:
    told = ops(*LOSS[:3], "c C<h r1=1:b failed", LOSS[3])
    assert check(told, losses=True) == []
    (found, *_) = check(ops(*LOSS[:3], "c C<h r1=1:b", LOSS[3]), losses=True)
    assert found.anomaly is Anomaly.LOST_WRITE
    assert [o.id for o in found.history] == ["a", "h", "c"]


# A serial database with replicas that lag: what sessions with bookmarks may see, and no more.


def simulated(seed: int, *, honest: bool, steps: int = 120) -> History:
    chance = random.Random(seed)
    states: list[dict[int, Seen]] = [{key: Seen(key, 0, "") for key in range(4)}]
    floors = dict.fromkeys("ABCD", 0)
    bookmarks: list[tuple[str, int]] = []
    made: History = []
    last: dict[str, str] = {}
    for number in range(steps):
        session, name = chance.choice("ABCD"), f"o{number}"
        after = (last[session],) if session in last else ()
        floor = floors[session]
        reads: tuple[Seen, ...] = ()
        writes: tuple[Seen, ...] = ()
        kind = chance.choice(["read", "read", "write", "bookmark", "start"])
        if kind == "start":
            some = chance.sample(bookmarks, k=min(len(bookmarks), chance.randint(0, 2)))
            last.pop(session, None)
            after = tuple(n for n, _ in some)
            floor = max((at for _, at in some), default=0)
            kind = "read"
        if kind == "bookmark":
            bookmarks.append((name, floor))
        elif kind == "write":
            keys = chance.sample(range(4), k=chance.randint(1, 2))
            writes = tuple(Seen(key, states[-1][key].version + 1, name) for key in keys)
            states.append(states[-1] | {seen.key: seen for seen in writes})
            floor = len(states) - 1
        else:
            at = chance.randint(floor if honest else 0, len(states) - 1)
            reads = tuple(
                states[at][key] for key in chance.sample(range(4), k=chance.randint(1, 4))
            )
            floor = max(floor, at)
        floors[session], last[session] = floor, name
        made.append(
            Operation(
                id=name, session=f"{session}", kind=kind, start=number, end=number + 0.5,
                after=after, reads=reads, writes=writes,
            )
        )  # fmt: skip
    everything = {s for state in states for s in state.values() if s.version}
    made.append(Operation(id="z", session="z", kind="audit", reads=tuple(everything)))
    return made


@given(st.integers(), st.randoms())
def test_what_bookmarks_allow_is_never_found(seed: int, chance: random.Random) -> None:
    history = simulated(seed, honest=True)
    chance.shuffle(history)
    assert check(history) == []


def test_what_is_known_from_a_failed_transaction_is_explained_by_it() -> None:
    history = ops("w W w1=5 failed", "b B r2=7:w", "c C r1=5:w r2=6:x", "x X w2=6")
    [torn] = [v for v in check(history) if v.anomaly is Anomaly.ATOMIC_VISIBILITY]
    assert [operation.id for operation in torn.history] == ["w", "c"]


_NAMES = "abcdef"
_SEEN = st.builds(Seen, st.integers(0, 1), st.integers(0, 3), st.sampled_from(["", *_NAMES]))
_OPERATION = st.builds(
    Operation,
    id=st.sampled_from(_NAMES),
    session=st.sampled_from("XY"),
    kind=st.sampled_from(["read", "write", "bookmark", "audit"]),
    after=st.lists(st.sampled_from(_NAMES), max_size=2).map(tuple),
    reads=st.lists(_SEEN, max_size=2).map(tuple),
    outcome=st.sampled_from(["ok", "failed", "unknown"]),
)


@given(
    st.lists(_OPERATION, unique_by=lambda o: o.id),
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3)), max_size=2),
    st.booleans(),
)
@example(
    [
        Operation(id="d", session="X", kind="audit", after=(), reads=(), outcome="ok"),
        Operation(
            id="a", session="X", kind="read", after=(), outcome="ok",
            reads=(Seen(0, 0, ""), Seen(0, 0, "d")),
        ),
    ],
    [],
    False,
)  # fmt: skip
def test_no_history_is_too_broken_to_be_judged(
    read: History, written: list[tuple[int, int]], losses: bool
) -> None:
    history = [replace(o, writes=tuple(Seen(*version, o.id) for version in written)) for o in read]
    for violation in check(history, losses=losses):
        assert violation.history


def test_reads_of_any_replica_are_found_out() -> None:
    found = [check(simulated(seed, honest=False)) for seed in range(20)]
    assert all(found)
    for violation in (v for violations in found for v in violations[:5]):
        assert violation.anomaly in {v.anomaly for v in check(violation.history)}


@pytest.mark.slow
def test_time_is_linear_in_the_history() -> None:
    took = []
    gc.collect()
    gc.disable()  # what it takes depends on all that other tests have left
    try:
        for size in (2_000, 16_000):
            history = simulated(1, honest=True, steps=size)
            best = float("inf")
            for _ in range(3):  # the machine does other things, too
                began = time.process_time()
                assert check(history) == []
                best = min(best, time.process_time() - began)
            took.append(best)
    finally:
        gc.enable()
    assert took[1] < 4 * 8 * took[0]  # quadratic: 64
