"""How many actors of each stage keep a cluster busy: exact, in whole actors.

Stage s takes t_s seconds a sample on one actor, and an actor has one GPU. n_s actors finish
n_s / t_s samples a second, and the cascade as many as its slowest stage:

    X(n) = min over s of n_s / t_s,     sum over s of n_s <= K,     n_s >= 1 whole.

Greedy is optimal: begin with one actor each and, while GPUs are left, add one to the slowest
stage. Proof: let X* be the best possible. It needs n_s >= ceil(X* t_s) everywhere, and those fit
into K. Greedy adds to a stage only while n_s / t_s is the minimum; as long as the minimum is below
X*, that stage has fewer than ceil(X* t_s) actors. So no stage gets more than that before all have
it, which happens within K.

At last every stage is cut to ceil(X t_s), which changes nothing but frees GPUs that nobody needs.
No whole allocation beats K / sum of t_s, where every GPU would always be busy.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Mapping

from imagen_video.errors import InputError

MAX_GPUS = 1_000_000
_SLACK = 1e-9
"""Of ceil(X t): X is n / t of some stage, and n / t * t may be a hair above n."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Allocation:
    """The actors of each stage, and what comes of them."""

    gpus: int
    """K."""
    seconds: Mapping[str, float]
    """t_s: of one sample on one actor, by stage in order."""
    actors: Mapping[str, int]
    """n_s."""

    @property
    def rate(self) -> float:
        """X: samples a second."""
        return min(self.actors[name] / seconds for name, seconds in self.seconds.items())

    @property
    def spare(self) -> int:
        """GPUs that no stage needs: with them it would be no faster."""
        return self.gpus - sum(self.actors.values())

    @property
    def utilisation(self) -> float:
        """Share of all K GPUs' time that is spent on samples."""
        return self.rate * sum(self.seconds.values()) / self.gpus

    def busy(self, stage: str) -> float:
        """Share of a stage's actors' time that is spent on samples."""
        return self.rate * self.seconds[stage] / self.actors[stage]


def allocate(seconds: Mapping[str, float], gpus: int) -> Allocation:
    """Return the allocation that makes the most samples a second.

    Args:
        seconds: of one sample on one actor, by stage.
        gpus: K, at least one a stage.

    Raises:
        InputError: for fewer GPUs than stages, or times that are not positive.
    """
    for name, value in seconds.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"seconds of {name}", f"{value}", "above 0", "measure again")
    if not len(seconds) <= gpus <= MAX_GPUS:
        raise InputError(
            "--gpus",
            f"{gpus} for {len(seconds)} stages",
            f"one a stage at least, and at most {MAX_GPUS}",
            "give fewer stages (--until), or let stages share GPUs: batch --gpus 1,base=0.25",
        )
    actors = dict.fromkeys(seconds, 1)
    slowest = [(1 / value, name) for name, value in seconds.items()]
    heapq.heapify(slowest)
    for _ in range(gpus - len(seconds)):
        name = slowest[0][1]
        actors[name] += 1
        heapq.heapreplace(slowest, (actors[name] / seconds[name], name))
    rate = slowest[0][0]
    needed = {name: actors_for(rate, value) for name, value in seconds.items()}
    return Allocation(gpus=gpus, seconds=dict(seconds), actors=needed)


def actors_for(rate: float, seconds: float) -> int:
    """Return how many actors make `rate` samples a second where one takes `seconds` for each."""
    return max(1, math.ceil(rate * seconds * (1 - _SLACK)))
