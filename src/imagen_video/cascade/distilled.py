"""What a distilled stage was made for: `DistilledSpec`, and the refusal of everything else.

A student of progressive distillation knows one grid of times, i / steps for i = steps ... 1, and
one length of step. With another number of steps, or another sampler, it would be asked at times or
for strides that it never saw, and would answer with a blur. So the stage says what it is for, and
sampling is held to it.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from imagen_video.errors import InputError
from imagen_video.models.spec import checked_fields

if TYPE_CHECKING:
    from imagen_video.cascade.sampling_spec import SamplingSpec
    from imagen_video.cascade.spec import StageSpec

StudentSampler = Literal["ddim", "few_step"]

MAX_STUDENT_STEPS = 1024
"""Most steps that a student may name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilledSpec:
    """How a distilled stage may be sampled."""

    sampler: StudentSampler | None = None
    """ddim: stride 1 / steps; few_step: stride 2 / steps, noise back by half of it. None: any
    sampler and any steps (only guidance was distilled)."""
    steps: int | None = None
    """Network calls. They are made at the times i / steps; None exactly where `sampler` is."""
    min_weight: float = 0.0
    """Smallest guidance weight w that the student has seen."""
    max_weight: float = 0.0
    """Largest one. Both 0: w is no input of the network, which is the conditional model."""

    def __post_init__(self) -> None:
        """Refuse what no student can be."""
        if self.sampler is not None and self.sampler not in get_args(StudentSampler):
            raise InputError(
                "DistilledSpec.sampler",
                repr(self.sampler),
                f"one of {get_args(StudentSampler)}, or null",
                "choose one",
            )
        least = 2 if self.sampler == "few_step" else 1
        fits = self.steps is None or least <= self.steps <= MAX_STUDENT_STEPS
        if (self.sampler is None) != (self.steps is None) or not fits:
            raise InputError(
                "DistilledSpec.steps",
                f"{self.steps} for sampler {self.sampler!r}",
                f"{least} to {MAX_STUDENT_STEPS}, or null together with sampler",
                "correct it",
            )
        finite = math.isfinite(self.min_weight) and math.isfinite(self.max_weight)
        if not finite or not 0 <= self.min_weight <= self.max_weight:
            raise InputError(
                "DistilledSpec.min_weight, max_weight",
                f"{self.min_weight}, {self.max_weight}",
                "0 <= min_weight <= max_weight, finite",
                "correct them",
            )

    @property
    def takes_weight(self) -> bool:
        """Whether the network has w as an input; else it is the conditional model (w = 0)."""
        return self.max_weight > 0

    @property
    def times(self) -> list[float]:
        """Times at which the student was trained, falling; empty where any time is allowed."""
        steps = self.steps or 0
        return [i / steps for i in range(steps, 0, -1)]

    def check(self, where: str, sampling: SamplingSpec) -> None:
        """Refuse settings that the student was not made for.

        Args:
            where: the stage, for the message.
            sampling: how it shall be sampled.

        Raises:
            InputError: naming both sides.
        """
        if self.sampler is not None:
            made_for = f"{self.sampler}, {self.steps} steps: what it was distilled for"
            fix = "leave sampler and steps to the stage, or use the bundle of its teacher"
            if sampling.sampler != self.sampler:
                raise InputError(f"{where} sampler", repr(sampling.sampler), made_for, fix)
            if sampling.steps != self.steps:
                raise InputError(f"{where} steps", f"{sampling.steps}", made_for, fix)
        for name, weight in weights_of(sampling).items():
            if not self.min_weight <= weight <= self.max_weight:
                raise InputError(
                    f"{where} {name}",
                    f"{weight:g}",
                    f"{self.min_weight:g} to {self.max_weight:g}, the range it was distilled for",
                    "choose a weight in that range, or use the bundle of its teacher",
                )

    @classmethod
    def from_json(cls, data: Any, where: str) -> DistilledSpec | None:
        """Rebuild a spec; null is None.

        Raises:
            InputError: on anything unknown, mistyped or out of range.
        """
        if data is None:
            return None
        # `sampler` is checked when the spec is built
        return cls(**checked_fields(cls, data, where, skip=("sampler",)))


def check_student(stage: StageSpec) -> None:
    """Check a stage's own settings against what it was distilled for.

    Raises:
        InputError: if they contradict one another.
    """
    made_for = stage.distilled
    if stage.takes_weight != (made_for is not None and made_for.takes_weight):
        raise InputError(
            f"stage {stage.name!r}",
            f"UNetSpec.guidance_weight={stage.takes_weight} with {made_for}",
            "an input for w exactly in stages whose guidance was distilled",
            "set StageSpec.distilled and UNetSpec.guidance_weight together",
        )
    check_request(stage, stage.sampling)


def check_request(stage: StageSpec, sampling: SamplingSpec, *, negative: bool = False) -> None:
    """Refuse what a distilled stage was not made for; with `negative`, a negative prompt as well.

    Raises:
        InputError: naming both sides.
    """
    where = f"stage {stage.name!r}"
    if stage.distilled is not None:
        stage.distilled.check(where, sampling)
        shown = stage.sampling.temperature
        if stage.distilled.sampler is not None and sampling.temperature > shown:
            raise InputError(
                f"{where} temperature",
                f"{sampling.temperature:g}",
                f"at most {shown:g}: it was distilled on noise of that size",
                "leave temperature to the stage, or use the bundle of its teacher",
            )
    if negative and stage.takes_weight:
        raise InputError(
            where,
            "a negative prompt",
            "none: its guidance was distilled into one call, which leads away from the null text",
            "leave the negative prompt out, or use the bundle of its teacher",
        )


def keeping_own_steps(stages: Sequence[StageSpec], steps: int) -> tuple[str, ...]:
    """Return the stages that a number of steps for all of them passes by, and warn of it.

    A stage that was distilled for another number keeps its own. If no stage is left that could take
    the number, none keeps its own, so that the run is refused with the reason.

    Args:
        stages: those that will run and have no steps of their own.
        steps: the number for all of them.
    """
    kept = {
        stage.name: stage.distilled.steps
        for stage in stages
        if stage.distilled is not None and stage.distilled.steps not in (None, steps)
    }
    if len(kept) == len(stages):
        return ()
    if kept:
        told = ", ".join(f"{name}: {own}" for name, own in kept.items())
        warnings.warn(
            f"distilled stages keep the steps that they were made for ({told}); {steps} is for the "
            "other stages",
            stacklevel=2,
        )
    return tuple(kept)


def weights_of(sampling: SamplingSpec) -> dict[str, float]:
    """Return the guidance weights that some step uses, by the name of their setting."""
    weights = {"guidance_weight": sampling.guidance_weight}
    if sampling.guidance == "oscillating":
        weights["guidance_low"] = sampling.guidance_low
    if sampling.guidance_stop > 0:
        weights["guidance_stop"] = 0.0
    return weights
