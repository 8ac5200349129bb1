"""Positions over many failovers: what a bookmark forgets, no server is judged by."""

import random
from dataclasses import dataclass

import pytest

from orm import Bookmark
from orm.backends.lineage import KEPT, current, without_oldest
from orm.backends.postgresql.roles import lost


@dataclass(frozen=True)
class Line:
    """The way to one domain: the places where the earlier ones were left."""

    number: int
    forks: tuple[tuple[int, int], ...] = ()

    @property
    def start(self) -> int:
        return self.forks[-1][1] if self.forks else 0

    def at(self, place: int) -> Bookmark:
        """Where a server on this line is."""
        known = {**dict(self.forks), self.number: place}
        return Bookmark("one", tuple(sorted((str(n), at) for n, at in known.items())))


def lines(chance: random.Random) -> list[Line]:
    """Domains, most of which come from the latest one, and some from an old one."""
    made = [Line(1)]
    for number in range(2, chance.randrange(60, 90)):
        parent = made[-1] if chance.random() < 0.95 else chance.choice(made)
        fork = parent.start + chance.randrange(5)
        made.append(Line(number, (*parent.forks, (parent.number, fork))))
    return made


@pytest.mark.parametrize("seed", range(20))
def test_servers_are_judged_by_what_is_kept_as_by_all(seed: int) -> None:
    chance = random.Random(seed)
    made, shortened = lines(chance), 0
    for _ in range(200):
        line = chance.choice(made[2 * KEPT :])
        has = line.at(line.start + chance.randrange(5))
        # A chain of sessions has seen some of that, in any of the domains.
        seen = [(name, at) for name, at in has.position if chance.random() < 0.9]
        need = Bookmark("one", tuple((name, max(0, at - chance.randrange(3))) for name, at in seen))
        latest = dict(need.position).get(str(line.number))
        if latest is None or latest < line.start or not has.covers(need):
            continue
        short = without_oldest(need)
        assert len(short.position) <= KEPT
        assert current(short) == current(need)
        shortened += short != need
        for other in made:
            server = other.at(other.start + chance.randrange(8))
            assert server.covers(short) == server.covers(need)
            if current(server) >= current(need):
                assert (lost(server, short) is None) == (lost(server, need) is None)
    assert shortened
