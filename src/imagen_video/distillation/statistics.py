"""Is a difference there, or was it luck? Means with standard errors, and paired intervals.

Every cell of the report makes the same prompts from the same seeds, so cells are compared clip by
clip: the spread between prompts, which is the larger part, drops out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

CONFIDENCE = 0.95
Z = 1.959964
"""Quantile of the normal distribution for that confidence, two-sided."""
RESAMPLES = 200
"""Bootstrap samples of an interval."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean and how sure it is."""

    value: float
    error: float
    """Standard error; NaN of a single value."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """A paired difference with its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def contains_zero(self) -> bool:
        """Whether nothing is shown either way."""
        return self.low <= 0 <= self.high


def mean_over(values: Sequence[float]) -> Mean:
    """Return the mean and standard error of independent values."""
    count = len(values)
    mean = math.fsum(values) / count if count else math.nan
    if count < 2:
        return Mean(value=mean, error=math.nan)
    spread = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return Mean(value=mean, error=math.sqrt(spread / count))


def mean_over_seeds(values: Sequence[float], seeds: Sequence[int]) -> Mean:
    """Average the clips of every seed, then the seeds: the paper's mean over runs.

    Args:
        values: one a clip.
        seeds: the seed (run) of every clip. With one seed the error is that over its clips.
    """
    runs: dict[int, list[float]] = {}
    for value, seed in zip(values, seeds, strict=True):
        runs.setdefault(seed, []).append(value)
    if len(runs) < 2:
        return mean_over(values)
    return mean_over([math.fsum(run) / len(run) for run in runs.values()])


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Return the mean of ours minus theirs with Student's interval over the pairs."""
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    mean = mean_over(differences)
    if math.isnan(mean.error):
        return Difference(value=mean.value, low=math.nan, high=math.nan)
    reach = t_quantile(len(differences) - 1) * mean.error
    return Difference(value=mean.value, low=mean.value - reach, high=mean.value + reach)


def t_quantile(degrees: int) -> float:
    """Return Student's two-sided 95 % quantile (Cornish-Fisher expansion, within 1 % from 3 on)."""
    z, n = Z, max(degrees, 1)
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )


def bootstrap(
    count: int,
    measure: Callable[[np.ndarray], float],
    *,
    value: float,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[Mean, Difference]:
    """Resample clips with replacement, for measures that are no mean over clips.

    A distance between sets grows when clips repeat in a resample, so the interval is centred: the
    quantiles of the resampled values around their own mean are laid around `value`.

    Args:
        count: number of clips.
        measure: indices of clips `(count,)` to a number; for a paired difference it takes both
            cells' clips by the same indices.
        value: the measure of the clips as they are.
        seed: of the resampling.
        resamples: how many.

    Returns:
        `value` with its standard error, and with its interval.
    """
    rng = np.random.default_rng(seed)
    drawn = np.array([measure(rng.integers(0, count, count)) for _ in range(resamples)])
    low, high = np.quantile(drawn - drawn.mean(), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return (
        Mean(value=value, error=float(drawn.std(ddof=1))),
        Difference(value=value, low=value + float(low), high=value + float(high)),
    )
