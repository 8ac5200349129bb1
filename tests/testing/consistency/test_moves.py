"""How often clients went from one server to another."""

from orm.testing.consistency.history import Operation
from orm.testing.consistency.moves import Move, moves


def test_the_primary_is_known_by_its_name() -> None:
    servers = ["db-1:3306", "db-2:3306", "db-2:3306", "db-3:3306", "db-1:3306"]
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
    assert moves(history, history, "db-1:3306") == {
        Move.TO_REPLICA: 1,
        Move.BETWEEN: 1,
        Move.TO_PRIMARY: 1,
    }
