"""A number with how sure it is: means over clips, and distances between sets of clips.

A mean's standard error is that of independent clips. A Frechet distance is no mean, so its error
comes from a jackknife over ten groups of clips (Efron 1982): the distance without each group, and
the spread of those. Neither depends on the order of the clips.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from imagen_video.errors import InputError
from imagen_video.evaluation.features.frechet import Moments, frechet_distance

GROUPS = 10
"""Groups of the jackknife; clip i is in group i modulo this."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A measured number."""

    value: float
    """What was measured."""
    error: float | None
    """Its standard error; None where there are too few clips to tell."""
    count: int
    """Clips it is made from."""


def mean_estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of one value a clip.

    Raises:
        InputError: for no values, or one that is not finite.
    """
    count = len(values)
    if not count or not all(map(math.isfinite, values)):
        raise InputError("scores", f"{values!r}"[:80], "finite numbers", "check the clips")
    mean = math.fsum(values) / count
    if count < 2:
        return Estimate(value=mean, error=None, count=count)
    spread = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return Estimate(value=mean, error=math.sqrt(spread / count), count=count)


def mean_of_means(groups: Sequence[Estimate]) -> Estimate:
    """Return the mean of the means of groups, each with the same weight, however many it has.

    Args:
        groups: independent ones; the mean has no error if one of them has none.

    Raises:
        InputError: for no groups.
    """
    if not groups:
        raise InputError("groups", "none", "at least one", "give clips")
    errors = [group.error for group in groups]
    known = [error for error in errors if error is not None]
    return Estimate(
        value=math.fsum(group.value for group in groups) / len(groups),
        error=math.hypot(*known) / len(groups) if len(known) == len(groups) else None,
        count=sum(group.count for group in groups),
    )


class SetStatistics:
    """Moments of a set of clips, streamed, with those of each group of the jackknife apart."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._groups = [Moments() for _ in range(GROUPS)]
        self._clips: set[int] = set()

    @property
    def clips(self) -> int:
        """Clips taken in."""
        return len(self._clips)

    def add(self, number: int, vectors: Float[Tensor, "n d"]) -> None:
        """Take in the vectors of one clip.

        Args:
            number: the clip's number in its set: it alone decides the group.
            vectors: one for the clip, or one a frame.

        Raises:
            InputError: for a clip that is there already, or features that cannot be used.
        """
        if number in self._clips:
            raise InputError("clips", f"number {number} twice", "each once", "leave one out")
        self._groups[number % GROUPS].add(vectors)
        self._clips.add(number)

    def moments(self, without: int | None = None) -> Moments:
        """Return the moments of all groups, or of all but one."""
        total = Moments()
        for index, group in enumerate(self._groups):
            if index != without:
                total.merge(group)
        return total

    def distance_to(self, real: Moments) -> Estimate:
        """Return the Frechet distance to a reference.

        Raises:
            InputError: if a covariance would be singular.
        """
        value = frechet_distance(real, self.moments())
        return Estimate(value=value, error=self._error(real), count=self.clips)

    def _error(self, real: Moments) -> float | None:
        width = len(real.mean)
        parts = [self.moments(without=group) for group in range(GROUPS)]
        if self.clips < 2 * GROUPS or any(part.count <= width for part in parts):
            return None
        values = [frechet_distance(real, part) for part in parts]
        mean = math.fsum(values) / GROUPS
        return math.sqrt((GROUPS - 1) / GROUPS * math.fsum((v - mean) ** 2 for v in values))
