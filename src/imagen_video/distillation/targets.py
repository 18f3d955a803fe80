"""What should one step of the student do? Two DDIM steps of the teacher, as one v-prediction.

With alpha = cos(phi) and sigma = sin(phi), a DDIM step from phi to phi' is a rotation:

    z' = cos(phi - phi') z - sin(phi - phi') v,       v = alpha eps - sigma x

Two of them, by d1 = phi - phi' with v1 = v(z) and by d2 = phi' - phi'' with v2 = v(z'), equal one
rotation by d = d1 + d2 with

    v_tgt = (cos(d2) sin(d1) v1 + sin(d2) v2 - sin(d1) sin(d2) z) / sin(d)

which is the x-target of Salimans & Ho (2202.00512, algorithm 2) written in v: nothing is divided by
alpha or sigma, no close numbers are subtracted, and every factor is of order 1 at both ends of
time. The sampler returns x_hat at t = 0, hence phi'' = 0 there.

    ddim       student of N steps      t = i/N,  t' = (i - 1/2)/N,  t'' = (i - 1)/N
    few_step   stride 2/N on grid 1/N  t = i/N,  t' = (i - 1)/N,    t'' = (i - 2)/N, not below 0

At the last time of few_step (i = 1) the teacher takes one step to 0: d2 = 0 and v_tgt = v1.
Source: Imagen Video (2210.02303), distillation; Meng et al. (2210.03142) for few_step.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from imagen_video.diffusion.parameterization import expand
from imagen_video.diffusion.schedule import alpha_sigma, logsnr_from_t
from imagen_video.tensor_types import PerExample, Video

Stride: TypeAlias = Literal["ddim", "few_step"]
"""How far a student of N steps goes at once: 1/N or 2/N."""


class StepTimes(NamedTuple):
    """The three times of a target, float64, one an example."""

    start: Tensor
    """t, where the student is asked."""
    middle: Tensor
    """t', after the teacher's first step."""
    end: Tensor
    """t'', after its second."""


class Combination(NamedTuple):
    """v_tgt = first * v1 + second * v2 + z * z, float64, one an example."""

    first: Tensor
    second: Tensor
    z: Tensor


def step_times(stride: Stride, index: Tensor, num_steps: int) -> StepTimes:
    """Return t > t' >= t'' for grid points.

    Args:
        stride: the student's.
        index: i in 1..num_steps, integers `(b,)`.
        num_steps: N.

    Returns:
        Exact multiples of 1/N (or 1/2N), looked up and never accumulated; t' = t'' = 0 for the last
        step of few_step.
    """
    i = index.to(torch.float64)
    if stride == "ddim":
        return StepTimes(i / num_steps, (2 * i - 1) / (2 * num_steps), (i - 1) / num_steps)
    return StepTimes(i / num_steps, (i - 1) / num_steps, (i - 2).clamp(min=0) / num_steps)


def angle(t: Tensor) -> Tensor:
    """Return phi with alpha = cos(phi), sigma = sin(phi) at float64 times; exactly 0 at t = 0."""
    alpha, sigma = alpha_sigma(logsnr_from_t(t))
    # sigma(0) is 4.5e-5 and not 0, but what a sampler returns at t = 0 is x_hat itself.
    return torch.where(t == 0, torch.zeros_like(t), torch.atan2(sigma, alpha))


def combination(times: StepTimes) -> Combination:
    """Return the factors of v_tgt; finite at both ends of time, and for any number of steps."""
    start, middle, end = (angle(t) for t in times)
    d1, d2, d = start - middle, middle - end, start - end
    sine = d.sin()
    return Combination(d2.cos() * d1.sin() / sine, d2.sin() / sine, -d1.sin() * d2.sin() / sine)


def ddim_step(z: Video, v: Video, start: Tensor, end: Tensor) -> Video:
    """Rotate z from times `start` to `end` `(b,)`, float64: one deterministic step."""
    d = angle(start) - angle(end)
    return _times(d.cos(), z) - _times(d.sin(), v)


def two_steps_in_one(z: Video, v1: Video, v2: Video, times: StepTimes) -> Video:
    """Return the v that takes z in one step where the teacher's two steps take it.

    Args:
        z: noisy video at `times.start`.
        v1: the teacher's prediction for it.
        v2: the teacher's prediction after its first step, at `times.middle`.
        times: of the target.

    Returns:
        v_tgt in z's dtype; the factors are computed in float64.
    """
    factors = combination(times)
    return _times(factors.first, v1) + _times(factors.second, v2) + _times(factors.z, z)


def logsnr_of(times: Tensor, like: Tensor) -> PerExample:
    """Return the noise level of float64 times, in `like`'s dtype and on its device.

    It is rounded once, after the schedule: what a sampler tells the network at that time.
    """
    return logsnr_from_t(times).to(device=like.device, dtype=like.dtype)


def grid_index(uniform: Tensor, num_steps: int) -> Tensor:
    """Turn numbers in [0, 1) into grid points 1..num_steps, evenly."""
    return (uniform.double() * num_steps).floor().long().clamp(0, num_steps - 1) + 1


def _times(factor: Tensor, video: Tensor) -> Tensor:
    return expand(factor.to(device=video.device, dtype=video.dtype), video) * video
