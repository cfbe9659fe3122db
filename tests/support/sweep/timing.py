"""Do two requests take different times? Measured in interleaved pairs, judged by Wilcoxon's signed-rank test."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def paired_times(first: Callable[[], object], second: Callable[[], object], *, pairs: int) -> list[float]:
    """Make both requests ``pairs`` times, side by side and in a random order; return first minus second, in seconds.

    A machine that slows down meanwhile slows both down.
    """
    chance = random.Random(7)  # noqa: S311 - an order, no secret
    differences = []
    for _ in range(pairs):
        took = {}
        for one in chance.sample((first, second), 2):
            began = time.perf_counter()
            one()
            took[one] = time.perf_counter() - began
        differences.append(took[first] - took[second])
    return differences


def signed_rank_p(differences: Sequence[float]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test by its normal approximation, good from 20 pairs on.

    Under the hypothesis that the two are alike a difference has either sign with the same chance, so the ranks of the
    positive ones add up to n(n+1)/4, with variance n(n+1)(2n+1)/24 (Wilcoxon 1945). Times are measured to the
    nanosecond: ties are too few to correct for, and differences of nothing are left out.
    """
    ordered = sorted((one for one in differences if one), key=abs)
    n = len(ordered)
    positive = sum(rank for rank, one in enumerate(ordered, 1) if one > 0)
    z = (positive - n * (n + 1) / 4) / math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return math.erfc(abs(z) / math.sqrt(2))
