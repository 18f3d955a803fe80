"""How far made clips are from real ones, how sure that is, and whether one output beats another.

The errors come from a jackknife over groups of scenes (Efron 1982): everything is computed again
without each group, which leaves the real renders, ours and the baseline together. Both the
distances and the difference of two are so measured over scenes, and what two outputs of one scene
share does not count against their difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from imagen_video.evaluation.features.frechet import DIMENSIONS, lite0_frechet_distance
from imagen_video.evaluation.scoring.statistics import GROUPS

REAL = "real"
TOLD_APART = 2.0
"""Standard errors that a difference must exceed to be called one."""


def dimensions_of(clips: int) -> int:
    """Return how many principal components so many clips can be compared in."""
    return min(DIMENSIONS, clips // 2)


class Distances:
    """Lite0 Frechet distances of several outputs to real renders, all of the same scenes."""

    def __init__(self, features: Mapping[str, Tensor]) -> None:
        """Compute all distances, with and without each group.

        Args:
            features: `(n, d)` by the name of an output and for `REAL`, scene i in row i of each.
        """
        self.clips = len(features[REAL])
        self.dimensions = dimensions_of(self.clips)
        assert all(len(vectors) == self.clips for vectors in features.values())
        names = [name for name in features if name != REAL]
        everything = torch.ones(self.clips, dtype=torch.bool)
        self.values = {name: self._distance(features, name, everything) for name in names}
        # with fewer a group is a single clip or none, and nothing is said, as in evaluation.scoring
        groups = GROUPS if self.clips >= 2 * GROUPS else 0
        kept = [torch.arange(self.clips) % GROUPS != group for group in range(groups)]
        self._without = {
            name: [self._distance(features, name, rows) for rows in kept] for name in names
        }

    def _distance(self, features: Mapping[str, Tensor], name: str, rows: Tensor) -> float:
        real, made = features[REAL][rows], features[name][rows]
        return lite0_frechet_distance(real, made, self.dimensions)

    def error(self, name: str) -> float | None:
        """Return the standard error of a distance; None for too few clips."""
        return jackknife_error(self._without[name])

    def difference(self, ours: str, other: str) -> tuple[float, float | None]:
        """Return our distance less another's, and the standard error of that, paired by scene."""
        pairs = zip(self._without[ours], self._without[other], strict=True)
        return self.values[ours] - self.values[other], jackknife_error([a - b for a, b in pairs])

    def row(self, name: str, ours: str) -> dict[str, Any]:
        """Return the columns of one output; beside a baseline, whether ours beats it."""
        row: dict[str, Any] = {"clips": self.clips, "dimensions": self.dimensions}
        row |= {"Lite0 Frechet": self.values[name], "+-": self.error(name)}
        difference, error = self.difference(ours, name) if name != ours else (None, None)
        row |= {"ours - this": difference, "+- of it": error}
        return row | {"ours is": None if difference is None else verdict(difference, error)}


def verdict(difference: float, error: float | None) -> str | None:
    """Say what a difference of two distances shows, of which less is better; None without error."""
    if error is None:
        return None
    if abs(difference) <= TOLD_APART * error:
        return "not told apart"
    return "better" if difference < 0 else "worse"


def jackknife_error(values: Sequence[float]) -> float | None:
    """Return the standard error of a number from its values without each group; None of none."""
    count = len(values)
    if not count:
        return None
    mean = math.fsum(values) / count
    return math.sqrt((count - 1) / count * math.fsum((value - mean) ** 2 for value in values))
