"""Two ways of doing the same, compared on a machine that has other things to do as well.

They take turns, one operation of each, so that whatever slows the machine down for a while slows
down both. A round is a number of such pairs, and has one ratio: that of the two medians. What
counts is the median of the rounds' ratios; how far the rounds disagree is said beside it.
"""

import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter

__all__ = ["Comparison", "compare"]

_WARM_UP = 30  # pairs before anything is measured


@dataclass(frozen=True)
class Comparison:
    """How much longer `ours` takes than `plain`.

    Attributes:
        plain: microseconds for one operation, the median of the rounds.
        ours: the same.
        ratio: the median of the rounds' ratios.
        quartiles: the middle half of those ratios lies between them.
    """

    plain: float
    ours: float
    ratio: float
    quartiles: tuple[float, float]

    @property
    def score(self) -> float:
        return self.ratio

    def __str__(self) -> str:
        low, high = self.quartiles
        middle = f"{low:.2f} to {high:.2f}"
        return f"{self.plain:>7.0f} us{self.ours:>7.0f} us{self.ratio:>9.3f}{middle:>15}"


async def compare(
    plain: Callable[[], Awaitable[object]],
    ours: Callable[[], Awaitable[object]],
    *,
    settle: Callable[[], Awaitable[object]] | None,
    rounds: int,
    pairs: int,
) -> Comparison:
    """Measure two operations.

    Args:
        plain: what to compare with.
        ours: what is compared.
        settle: returns when what `ours` has set off in the background is done; called before each
            operation, and not measured.
        rounds: how many.
        pairs: in each round.
    """
    operations = [plain, ours]

    async def take(number: int) -> tuple[float, float]:
        """The medians, in microseconds, of so many pairs."""
        taken: list[list[float]] = [[], []]
        for _ in range(number):
            order.reverse()
            for which in order:
                if settle is not None:
                    await settle()
                began = perf_counter()
                await operations[which]()
                taken[which].append((perf_counter() - began) * 1e6)
        return median(taken[0]), median(taken[1])

    order = [0, 1]
    await take(_WARM_UP)
    medians = []
    for _ in range(rounds):
        gc.collect()
        gc.disable()  # or it comes now to the one, now to the other
        try:
            medians.append(await take(pairs))
        finally:
            gc.enable()
    low, middle, high = quantiles((b / a for a, b in medians), n=4)
    return Comparison(
        plain=median(a for a, _ in medians),
        ours=median(b for _, b in medians),
        ratio=middle,
        quartiles=(low, high),
    )
