"""The pools of a plan, played through event by event: does it make what the plan says?

The plan knows mean times only. Here every sample takes a time of its own (log-normal about the
mean), a stage waits when it has nothing to do, and stops when too much is waiting behind it, as Ray
Data stops it when the object store fills. Pure Python: 1,000 GPUs take seconds.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import random
from collections.abc import Mapping

WAITING_PER_ACTOR = 2
"""Samples that may wait for each actor; Ray Data queues two tasks an actor."""
SETTLING = 0.1
"""Share of the samples at either end that is left out of the rate: pools fill and drain."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """What came of a simulation."""

    samples: int
    """Made in all."""
    rate: float
    """Samples a second once the pools are full."""
    seconds: float
    """From the first to the last, filling and draining included."""
    busy: Mapping[str, float]
    """Share of that time that the actors of a stage worked."""


def simulate(
    actors: Mapping[str, int],
    seconds: Mapping[str, float],
    *,
    samples: int,
    spread: Mapping[str, float],
    seed: int = 0,
) -> Simulated:
    """Run samples through the pools.

    Args:
        actors: by stage, in order.
        seconds: mean of a sample, by stage.
        samples: how many.
        spread: standard deviation over mean of the times, by stage.
        seed: of the times.
    """
    return _Pools(actors, seconds, spread, random.Random(seed)).run(samples)


class _Pools:
    """Tandem queues with finite room between them."""

    def __init__(
        self,
        actors: Mapping[str, int],
        seconds: Mapping[str, float],
        spread: Mapping[str, float],
        chance: random.Random,
    ) -> None:
        self.names = list(actors)
        self.actors = [actors[name] for name in self.names]
        self.chance = chance
        # exp(mu + sigma g) has mean t and deviation spread * t for these two.
        self.sigmas = [math.sqrt(math.log1p(spread[name] ** 2)) for name in self.names]
        self.mus = [
            math.log(seconds[name]) - sigma**2 / 2
            for name, sigma in zip(self.names, self.sigmas, strict=True)
        ]
        count = len(self.names)
        self.waiting = [0] * (count + 1)
        """Samples before each stage, and the finished ones behind the last."""
        self.working = [0] * count
        self.worked = [0.0] * count
        self.events: list[tuple[float, int]] = []
        self.now = 0.0

    def run(self, samples: int) -> Simulated:
        self.waiting[0] = samples
        first, last = int(samples * SETTLING), samples - int(samples * SETTLING)
        settled: list[float] = []
        for stage in reversed(range(len(self.names))):
            self._start(stage)
        while self.events:
            self.now, stage = heapq.heappop(self.events)
            self.working[stage] -= 1
            self.waiting[stage + 1] += 1
            if stage + 1 == len(self.names) and self.waiting[-1] in (first + 1, last):
                settled.append(self.now)
            # Later stages first: what they take makes room for the earlier ones.
            for near in range(min(stage + 1, len(self.names) - 1), -1, -1):
                self._start(near)
        window = settled[-1] - settled[0]
        return Simulated(
            samples=samples,
            rate=(last - first - 1) / window if window else math.nan,
            seconds=self.now,
            busy={
                name: worked / (self.now * actors)
                for name, worked, actors in zip(self.names, self.worked, self.actors, strict=True)
            },
        )

    def _start(self, stage: int) -> None:
        """Give samples to idle actors as long as there is room for what they make."""
        while (
            self.waiting[stage]
            and self.working[stage] < self.actors[stage]
            and self._has_room(stage)
        ):
            self.waiting[stage] -= 1
            self.working[stage] += 1
            time = math.exp(self.chance.gauss(self.mus[stage], self.sigmas[stage]))
            self.worked[stage] += time
            heapq.heappush(self.events, (self.now + time, stage))

    def _has_room(self, stage: int) -> bool:
        after = stage + 1
        if after == len(self.names):
            return True
        room = self.actors[stage] + WAITING_PER_ACTOR * self.actors[after]
        return self.waiting[after] + self.working[stage] < room
