"""What a person, a program and a browser get to see of a violation."""

import json
from xml.etree import ElementTree

from orm.testing.consistency import Operation, Seen, check
from orm.testing.consistency.history import dump, load
from orm.testing.consistency.timeline import picture, text

HISTORY = [
    Operation(
        id="a", session="alice", kind="write", start=10.0, end=10.1, writes=(Seen(1, 1, "a"),),
        server="primary",
    ),
    Operation(
        id="h", session="alice", kind="bookmark", start=10.2, end=10.2, after=("a",), handed="v1.x",
    ),
    Operation(
        id="b", session="<bob>", kind="read", start=10.5, end=10.6, after=("h",), given=("v1.x",),
        reads=(Seen(1, 0, ""),), server="replica-1",
        why="it has all that the session has seen and written",
    ),
]  # fmt: skip


def test_a_timeline_tells_who_saw_what_where() -> None:
    (violation,) = check(HISTORY)
    assert text(violation).splitlines() == [
        "read your writes: <bob> saw version 0 of key 1, after version 1 of key 1",
        "    0.0 ms  alice  writes k1=v1          primary",
        "  200.0 ms  alice  hands out a bookmark",
        "  500.0 ms  <bob>  reads k1=v0           "
        "replica-1 (it has all that the session has seen and written)  <- alice",
    ]


def test_a_picture_stands_by_itself() -> None:
    (violation,) = check(HISTORY)
    root = ElementTree.fromstring(picture(violation))
    boxes = root.findall("{*}rect")
    assert len(boxes) == 3
    assert [box.get("class") for box in boxes] == [None, None, "bad"]
    assert "href" not in picture(violation)
    assert "<bob>" in "".join(root.itertext())


def test_a_history_survives_json() -> None:
    lines = [json.dumps(dump(operation)) for operation in HISTORY]
    assert list(load(lines)) == HISTORY
