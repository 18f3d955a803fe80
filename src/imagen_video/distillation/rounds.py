"""Which students are made on the way from N steps to a few: the list of rounds.

    guided        w becomes an input (left out where the stage is not guided)
    ddim-N/2      half the steps, again and again
    few_step-M    only for the stochastic sampler: the last ddim student, on its own grid of M
                  times, learns the double stride 2/M

Assumption: one round for the double stride, at the end. Every teacher is then asked only at times
for which it was trained, and both samplers share all other rounds.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from imagen_video.cascade.distilled import DistilledSpec, StudentSampler
from imagen_video.cascade.spec import StageSpec
from imagen_video.distillation.targets import Stride
from imagen_video.errors import InputError

RoundKind = Literal["guided", "ddim", "few_step"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """One student."""

    kind: RoundKind
    """What it learns."""
    steps: int | None = None
    """Its number of steps; None for guided, which keeps continuous time."""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.kind if self.steps is None else f"{self.kind}-{self.steps}"

    @property
    def stride(self) -> Stride:
        """How far one of its steps goes."""
        return "few_step" if self.kind == "few_step" else "ddim"

    @property
    def teacher_steps(self) -> int | None:
        """Steps of the teacher that a full run of the student replaces."""
        if self.steps is None:
            return None
        return self.steps if self.kind == "few_step" else 2 * self.steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Route:
    """All rounds of a stage."""

    stage: StageSpec
    """The teacher."""
    rounds: tuple[Round, ...]
    """In order."""
    min_weight: float
    """Smallest guidance weight of the students."""
    max_weight: float
    """Largest; both 0 = w is no input."""

    def student(self, round_: Round) -> StageSpec:
        """Return the spec of the stage as a round leaves it.

        Raises:
            InputError: if the stage's own guidance weight lies outside the range.
        """
        return student_stage(self.stage, self.made_for(round_))

    def made_for(self, round_: Round) -> DistilledSpec:
        """Return what the student of a round may be asked."""
        return DistilledSpec(
            sampler=None if round_.steps is None else round_.stride,
            steps=round_.steps,
            min_weight=self.min_weight,
            max_weight=self.max_weight,
        )


def student_stage(stage: StageSpec, made_for: DistilledSpec) -> StageSpec:
    """Return a teacher's stage as its student's.

    A student without the weight as an input is the conditional model: its guidance is off. Else it
    is told w in all steps, and ends guidance itself where its teacher's did.

    Raises:
        InputError: if the stage's own guidance weight lies outside the range.
    """
    sampling = stage.sampling
    if made_for.sampler is not None and made_for.steps is not None:
        sampling = dataclasses.replace(sampling, sampler=made_for.sampler, steps=made_for.steps)
    sampling = dataclasses.replace(sampling, guidance_stop=0.0)
    if not made_for.takes_weight:
        sampling = dataclasses.replace(sampling, guidance="constant", guidance_weight=0.0)
    unet = dataclasses.replace(stage.unet, guidance_weight=made_for.takes_weight)
    return dataclasses.replace(stage, unet=unet, sampling=sampling, distilled=made_for)


def plan_route(
    stage: StageSpec,
    *,
    to: int,
    start: int | None = None,
    sampler: StudentSampler = "ddim",
    weights: tuple[float, float] | None = None,
) -> Route:
    """List the rounds from a stage to its student.

    Args:
        stage: the teacher.
        to: steps of the student.
        start: steps of the teacher's own DDIM sampler; those of the stage if None.
        sampler: of the student.
        weights: smallest and largest guidance weight that the student takes as an input; (0, 0) for
            none. None: what a distilled teacher has, else 0 to 15 where the stage is guided.

    Raises:
        InputError: if no halving leads from `start` to `to`, or the teacher cannot be asked so.
    """
    where = f"stage {stage.name!r}"
    first = _first_steps(where, stage, start)
    low, high = _weights(where, stage, weights)
    rounds = [Round(kind="guided")] if high > 0 and not stage.takes_weight else []
    steps = first
    while steps > to and steps % 2 == 0:
        steps //= 2
        rounds.append(Round(kind="ddim", steps=steps))
    if steps != to:
        raise InputError(
            where,
            f"{first} steps to {to}",
            f"{to} times a power of two to start from, such as {_near(first, to)}",
            "choose --from and --to accordingly",
        )
    if sampler == "few_step":
        if to < 2:
            raise InputError(
                where,
                "the sampler 'few_step' with one step",
                "at least 2 steps: one leaves nothing to go back to",
                "choose --sampler ddim for a single step",
            )
        rounds.append(Round(kind="few_step", steps=to))
    if not rounds:
        raise InputError(
            where,
            f"{first} steps without guidance, to {to} steps",
            "fewer steps than the teacher's, or guidance to distil",
            "leave this stage out, or choose a smaller --to or a larger --from",
        )
    route = Route(stage=stage, rounds=tuple(rounds), min_weight=low, max_weight=high)
    for round_ in rounds:
        route.student(round_)  # refuses what cannot be recorded
    return route


def is_guided(stage: StageSpec) -> bool:
    """Whether a stage takes a pass without the prompt, or a guidance weight instead of it."""
    return stage.rows_a_sample(stage.sampling) > 1 or stage.takes_weight


def needs_rounds(
    stage: StageSpec,
    *,
    to: int,
    start: int | None = None,
    sampler: StudentSampler = "ddim",
    weights: tuple[float, float] | None = None,
) -> bool:
    """Whether a stage has something left to distil; arguments as for `plan_route`."""
    first = start or stage.sampling.steps
    guided = is_guided(stage) if weights is None else weights[1] > 0
    if guided and not stage.takes_weight:
        return True
    last = sampler == "few_step" and stage.sampling.sampler != "few_step"
    return first > to or (first == to and last)


def _first_steps(where: str, stage: StageSpec, start: int | None) -> int:
    made_for = stage.distilled
    if made_for is None or made_for.steps is None:
        return start or stage.sampling.steps
    if made_for.sampler != "ddim":
        raise InputError(
            where,
            f"a teacher made for the sampler {made_for.sampler!r}",
            "one that takes deterministic steps (ddim), or an undistilled one",
            "distil from the bundle that this one was made from",
        )
    if start not in (None, made_for.steps):
        raise InputError(
            where,
            f"--from {start} with a teacher of {made_for.steps} steps",
            f"{made_for.steps}, the only grid it was made for",
            "leave --from out",
        )
    return made_for.steps


def _weights(
    where: str, stage: StageSpec, weights: tuple[float, float] | None
) -> tuple[float, float]:
    made_for = stage.distilled
    if made_for is None:
        low, high = weights or ((0.0, 15.0) if is_guided(stage) else (0.0, 0.0))
    else:
        low, high = weights or (made_for.min_weight, made_for.max_weight)
        if not made_for.min_weight <= low <= high <= made_for.max_weight:
            raise InputError(
                f"{where} weights",
                f"{low:g} to {high:g}",
                f"within {made_for.min_weight:g} to {made_for.max_weight:g}, the teacher's range",
                "leave --weights out, or distil from the undistilled bundle",
            )
        if high == 0 and made_for.takes_weight:
            raise InputError(
                f"{where} weights",
                "0 to 0 with a teacher that takes the weight as an input",
                "a range with a largest weight above 0",
                "leave --weights out",
            )
    DistilledSpec(min_weight=low, max_weight=high)  # refuses what is no range
    return low, high


def _near(first: int, to: int) -> str:
    """Name some numbers of steps that lead to `to`."""
    counts = [to * 2**power for power in range(1, 12)]
    nearest = sorted(counts, key=lambda count: abs(count - first))[:3]
    return ", ".join(map(str, sorted(nearest)))
