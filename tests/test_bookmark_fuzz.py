"""Bookmarks as hostile input: random bytes and altered tokens, a slice of a longer run.

``python tests/test_bookmark_fuzz.py 1000000 1`` (count, seed) is the longer run.
"""

import base64
import random
import sys
from collections import Counter
from time import thread_time

from orm import Bookmark, InvalidBookmark

KEYS = [b"one secret key", b"an older secret key"]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=/"


def token(chance: random.Random, keys: list[bytes]) -> str:
    domains = sorted({f"d{chance.randrange(9)}" for _ in range(chance.randint(1, 4))})
    ends = {
        domain: sorted(chance.sample(range(1, 2**63), chance.randint(1, 6))) for domain in domains
    }
    intervals = {
        d: [(1, first), *zip(rest[::2], rest[1::2], strict=False)]
        for d, (first, *rest) in ends.items()
    }
    shown = chance.choice([0, chance.randrange(2**63)])
    return Bookmark.of_intervals(f"h{chance.randrange(9)}", intervals, shown).encode(keys)


def hostile(chance: random.Random, keys: list[bytes]) -> str:
    """A string of one of the kinds that an attacker tries."""
    kind = chance.randrange(6)
    if kind == 0:
        return "".join(chr(chance.randrange(0x11000)) for _ in range(chance.randrange(80)))
    if kind == 1:
        return "v1." + "".join(chance.choices(LETTERS, k=chance.randrange(200)))
    if kind == 2:
        raw = chance.randbytes(chance.randrange(120))
        return "v1." + base64.urlsafe_b64encode(raw).decode().rstrip("=")
    if kind == 3:
        parts = chance.choices(
            [b"h", b"/", b"=", b"0", b"1", b"9" * 19, b"d1", b"\n", b"-", b"~", b"!", b"2-3"],
            k=9,
        )
        return "v1." + base64.urlsafe_b64encode(b"".join(parts)).decode().rstrip("=")
    real = list(token(chance, keys))
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(real))
        match chance.randrange(4):
            case 0:
                real[at] = chance.choice(LETTERS)
            case 1:
                real.insert(at, chance.choice([*LETTERS, "\0", "\u0660", " "]))
            case 2:
                del real[at]
            case _:
                real[at:] = real[at:] * chance.choice([0, 2, 40])
        if not real:
            break
    return "".join(real)


def attack(count: int, seed: int) -> tuple[Counter[tuple[str, str]], float]:
    """What came of so many strings, and the most seconds of a processor that one took."""
    chance = random.Random(seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    longest = 0.0
    for number in range(count):
        keys = KEYS if number % 2 else []
        given = hostile(chance, keys)
        began = thread_time()
        try:
            bookmark = Bookmark.decode(given, keys)
        except InvalidBookmark:
            outcomes["signed" if keys else "unsigned", "refused"] += 1
        else:
            spellings = {bookmark.encode([key]) for key in KEYS} if keys else {bookmark.encode()}
            assert given in spellings, "a state has two spellings"
            outcomes["signed" if keys else "unsigned", "taken"] += 1
        longest = max(longest, thread_time() - began)
    return outcomes, longest


def test_nothing_but_bookmarks_gets_in() -> None:
    outcomes, longest = attack(20_000, seed=1)
    assert outcomes["signed", "refused"] > 9_000
    assert outcomes["unsigned", "taken"] > 0  # some were only altered in their numbers
    assert longest < 1


if __name__ == "__main__":
    sys.stdout.write(f"{attack(int(sys.argv[1]), seed=int(sys.argv[2]))}\n")
