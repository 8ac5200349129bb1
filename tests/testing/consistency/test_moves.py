"""Between which servers clients went, whatever the servers are called."""

import pytest

from orm.testing.consistency.history import Operation
from orm.testing.consistency.moves import Move, moves


@pytest.mark.parametrize("primary", ["primary", "db-1:5432"])
def test_a_move_is_told_by_the_name_of_the_primary(primary: str) -> None:
    servers = [primary, "db-2", "db-3", "db-3", primary]
    history = [
        Operation(
            id=str(number),
            session="s",
            kind="read",
            after=(str(number - 1),) if number else (),
            server=server,
        )
        for number, server in enumerate(servers)
    ]
    assert moves(history, history, primary) == {
        Move.TO_REPLICA: 1, Move.BETWEEN: 1, Move.TO_PRIMARY: 1,
    }  # fmt: skip
