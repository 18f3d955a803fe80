"""How strongly should the text pull? Classifier-free guidance and its weight over the steps.

    x_tilde = (1 + w) x_hat(z, c) - w x_hat(z)

w is the paper's `guidance_weight`: 0 is off, and off is bit for bit the conditional output. The
same combination holds for x, eps and v predictions, as they are affine in each other.
Source: Imagen Video (2210.02303), sections on classifier-free and oscillating guidance.

Guidance wraps a denoiser; networks and samplers know nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from imagen_video.diffusion.parameterization import expand
from imagen_video.errors import InputError
from imagen_video.tensor_types import Denoiser, PerExample, Video

__all__ = [
    "GUIDANCE_SCHEDULES",
    "ConditionalPredictor",
    "ConstantGuidance",
    "Denoiser",
    "GuidanceSchedule",
    "OscillatingGuidance",
    "combine",
    "guided_prediction",
]

ConditionalPredictor = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`(z, logsnr, conditional) -> prediction`, with a boolean per row: False = without the condition.

For n examples it may be called with n or 2n rows; row i then belongs to example `i % n`."""


class GuidanceSchedule(Protocol):
    """A weight for every sampling step."""

    def weight(self, step: int, num_steps: int) -> float:
        """Guidance weight w of step `step` (0 = noisiest) out of `num_steps`."""
        ...


@dataclass(frozen=True)
class ConstantGuidance:
    """The same weight at every step; 0 switches guidance off."""

    guidance_weight: float = 0.0
    """w of (1 + w) cond - w uncond. A `guidance_scale` of other libraries is w + 1."""

    def __post_init__(self) -> None:
        """Refuse weights that are not finite."""
        _check_weight("guidance_weight", self.guidance_weight)

    def weight(self, step: int, num_steps: int) -> float:
        """Return the weight at any step."""
        _check_step(step, num_steps)
        return self.guidance_weight


@dataclass(frozen=True, kw_only=True)
class OscillatingGuidance:
    """A high weight for some initial steps, then low and high in turn.

    w_i = high                                        for i < n0 = ceil(initial_fraction * N)
    w_i = low if (i - n0) is even else high           afterwards

    Source: Imagen Video (2210.02303), 15 and 1, used for the base and the first two SR models.
    """

    # Assumption: 10 % initial steps, and low first after them; the paper gives neither.
    high: float = 15.0
    """Weight of the initial steps and of every second later one."""
    low: float = 1.0
    """Weight of the other later steps."""
    initial_fraction: float = 0.1
    """Share of the steps, from the noisiest, that only use `high`; in [0, 1]."""

    def __post_init__(self) -> None:
        """Refuse weights that are not finite and fractions outside [0, 1]."""
        _check_weight("high", self.high)
        _check_weight("low", self.low)
        if not 0.0 <= self.initial_fraction <= 1.0:
            raise InputError(
                "initial_fraction",
                str(self.initial_fraction),
                "0 to 1",
                "give a share of the steps",
            )

    def weight(self, step: int, num_steps: int) -> float:
        """Return `high` or `low` for step `step` (0 = noisiest) of `num_steps`."""
        _check_step(step, num_steps)
        # 0.07 * 100 is a little more than 7 in binary: the ceiling must not see that.
        initial = math.ceil(self.initial_fraction * num_steps - 1e-9)
        if step < initial:
            return self.high
        return self.low if (step - initial) % 2 == 0 else self.high


GUIDANCE_SCHEDULES: dict[str, type[ConstantGuidance] | type[OscillatingGuidance]] = {
    "constant": ConstantGuidance,
    "oscillating": OscillatingGuidance,
}


def combine(cond: Video, uncond: Video, weight: float | PerExample) -> Video:
    """Extrapolate from the unconditional to the conditional prediction and beyond.

    Args:
        cond: prediction with the condition.
        uncond: prediction without it, same parameterisation.
        weight: w, one for all or one per example `(b,)`.

    Returns:
        (1 + w) cond - w uncond, computed as cond + w (cond - uncond), so that equal predictions
        (and w = 0) return `cond` exactly.
    """
    if isinstance(weight, Tensor):
        return cond + expand(weight.to(cond.dtype), cond) * (cond - uncond)
    return cond.add(cond - uncond, alpha=weight)


def guided_prediction(predict: ConditionalPredictor, weight: float | PerExample) -> Denoiser:
    """Wrap a conditional predictor as an ordinary one, guided with weight w.

    Args:
        predict: see `ConditionalPredictor`. With w != 0 it is called ONCE with 2b rows: rows 0..b-1
            with the condition, rows b..2b-1 the same `z` without. With w = 0 it is called once with
            b rows.
        weight: w, a number, or one per example (distillation draws it per example; then always 2b
            rows).

    Returns:
        `(z, logsnr) -> prediction`, in whatever `predict` predicts (x, eps or v).

    Raises:
        InputError: if a number is not finite.
    """
    if not isinstance(weight, Tensor):
        _check_weight("guidance_weight", weight)

    def predict_guided(z: Tensor, logsnr: Tensor) -> Tensor:
        conditional = torch.ones(z.shape[0], dtype=torch.bool, device=z.device)
        if not isinstance(weight, Tensor) and weight == 0.0:
            return predict(z, logsnr, conditional)
        both = predict(
            torch.cat([z, z]),
            torch.cat([logsnr, logsnr]),
            torch.cat([conditional, ~conditional]),
        )
        cond, uncond = both.chunk(2)
        return combine(cond, uncond, weight)

    return predict_guided


def _check_weight(name: str, weight: float) -> None:
    if not math.isfinite(weight):
        raise InputError(name, str(weight), "a finite number", "use 0 to switch guidance off")


def _check_step(step: int, num_steps: int) -> None:
    if not 0 <= step < num_steps:
        raise InputError(
            "guidance step", f"{step} of {num_steps}", "0 <= step < num_steps", "count from 0"
        )
