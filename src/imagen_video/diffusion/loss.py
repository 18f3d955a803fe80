"""Which time, and how much does an error there count? Time sampling and weighted errors.

All losses are the squared v-error times a weight of the noise level (SNR = alpha^2 / sigma^2):

    kind       | loss                              | weight on ||v_hat - v||^2
    v          | ||v_hat - v||^2                   | 1
    eps        | ||eps_hat - eps||^2, paper Eq. 2  | alpha^2
    snr_trunc  | max(SNR, 1) ||x_hat - x||^2       | max(SNR, 1) / (1 + SNR) = max(alpha^2, sigma^2)

from the identities ||eps_hat - eps||^2 = alpha^2 ||v_hat - v||^2 and
||v_hat - v||^2 = (1 + SNR) ||x_hat - x||^2. Nothing is divided, so both ends of time are finite.
Source: Imagen Video (2210.02303) Eq. 2; Salimans & Ho (2202.00512) section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from imagen_video.errors import InputError
from imagen_video.tensor_types import FrameMask, LogSNR, PerExample, PerFrame, Video

LossKind: TypeAlias = Literal["v", "eps", "snr_trunc"]

# Deviation: Eq. 2 of the paper is "eps", which gives no weight to t -> 1. "v" and "snr_trunc" keep
# weight there and are what distillation needs (2202.00512, section 4); "v" is the usual choice.
LOSS_WEIGHTS: dict[LossKind, Callable[[Tensor], Tensor]] = {
    "v": torch.ones_like,
    "eps": torch.sigmoid,
    "snr_trunc": lambda logsnr: torch.sigmoid(logsnr.abs()),
}
"""Weight of the squared v-error as a function of logsnr."""


def stratified_times(
    batch: int,
    generator: torch.Generator,
    *,
    frames: int | None = None,
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    """Draw training times that cover [low, high] evenly within a batch.

    t_i = low + (high - low) frac(u + i / n) with one u ~ U[0, 1), in random order: each time alone
    is uniform, together they are one per stratum, which lowers the variance of the loss.
    Source: VDM of Kingma et al. (2107.00630), low-discrepancy sampler. The random order is ours:
    without it, a batch of images first and clips second would give each kind one half of the time
    axis.

    Args:
        batch: number of examples.
        generator: source of randomness; the times are drawn on its device.
        frames: if given, one time per frame (images packed as frames).
        low: lowest time.
        high: highest time.

    Returns:
        float32 times, shape `(batch,)` or `(batch, frames)`.

    Raises:
        InputError: unless 0 <= low <= high <= 1.
    """
    if not 0.0 <= low <= high <= 1.0:
        raise InputError(
            "time range", f"[{low}, {high}]", "0 <= low <= high <= 1", "swap or clip it"
        )
    shape = (batch,) if frames is None else (batch, frames)
    count = batch * (frames or 1)
    device = generator.device
    offset = torch.rand((), generator=generator, device=device, dtype=torch.float64)
    order = torch.randperm(count, generator=generator, device=device)
    unit = (offset + order.double() / max(count, 1)).remainder(1.0)
    return (low + (high - low) * unit).float().clamp(low, high).reshape(shape)


def gather_times(times: Tensor, share: float, around: float) -> Tensor:
    """Move a share of evenly drawn times to where they matter most: a logit-normal density.

    Of u ~ U[0, 1], the part below `share` becomes sigmoid(logit(around) + Phi^-1(u / share)), the
    rest stays uniform, so both ends of time keep weight and strata stay strata.
    Deviation: the paper draws t evenly. Source: the logit-normal of Esser et al. (2403.03206,
    section 3.1), which learned fastest of the densities compared there; its middle is ours:
    single-step denoising of the demo's 24x40 frames loses the subject at t = 0.5 to 0.65, and where
    a subject goes is decided above 0.9 (docs/lab-notes.md).

    Args:
        times: evenly drawn, any shape, in [0, 1].
        share: in [0, 1]; 0 returns the times as they are.
        around: median of the gathered times, in (0, 1).
    """
    if share == 0:
        return times
    unit = times.double()
    inside = unit < share
    normal = torch.special.ndtri((unit / share).clamp(1e-9, 1 - 1e-9))
    even = ((unit - share) / max(1 - share, 1e-9)).clamp(0, 1)
    gathered = torch.sigmoid(math.log(around / (1 - around)) + normal)
    return torch.where(inside, gathered, even).to(times.dtype)


def weighted_error(
    kind: LossKind,
    v_hat: Video,
    v: Video,
    logsnr: LogSNR,
    mask: FrameMask | None = None,
) -> PerExample | PerFrame:
    """Squared error of a v-prediction, weighted by noise level; a mean over positions.

    Args:
        kind: "v", "eps" (the paper's Eq. 2) or "snr_trunc".
        v_hat: prediction.
        v: target from `v_target`.
        logsnr: noise level, `(b,)` or `(b, f)`.
        mask: `(b, f)`, which frames count (0 / False = ignored).

    Returns:
        float32 (or float64) losses: `(b,)` for logsnr `(b,)`, the mean over counted frames, 0 if
        none is; `(b, f)` for logsnr `(b, f)`, 0 at ignored frames. `mean_loss` reduces either to a
        number.

    Raises:
        InputError: for an unknown kind.
    """
    if kind not in LOSS_WEIGHTS:
        raise InputError("loss", repr(kind), f"one of {sorted(LOSS_WEIGHTS)}", "name one of them")
    dtype = torch.promote_types(torch.promote_types(v_hat.dtype, v.dtype), torch.float32)
    per_frame = (v_hat.to(dtype) - v.to(dtype)).square().mean(dim=(2, 3, 4))
    weight = LOSS_WEIGHTS[kind](logsnr).to(dtype)
    if logsnr.ndim == 2:
        loss = weight * per_frame
        return loss if mask is None else loss * mask.to(dtype)
    if mask is None:
        return weight * per_frame.mean(dim=1)
    weights = mask.to(dtype)
    counted = weights.sum(dim=1)
    return weight * (per_frame * weights).sum(dim=1) / torch.where(counted > 0, counted, 1)


def mean_loss(loss: PerExample | PerFrame, mask: FrameMask | None = None) -> Tensor:
    """Reduce the result of `weighted_error` to one number.

    Args:
        loss: `(b,)` or `(b, f)`.
        mask: the same mask as given there. Frames weigh equally in `(b, f)`, examples with at least
            one counted frame weigh equally in `(b,)`.

    Returns:
        A scalar; 0 if nothing counts.
    """
    if mask is None:
        return loss.mean()
    weights = mask.to(loss.dtype)
    if loss.ndim == 1:
        weights = (weights.sum(dim=1) > 0).to(loss.dtype)
        return (loss * weights).sum() / weights.sum().clamp(min=1)
    # `loss` already carries the mask once, so only the divisor is left.
    total = weights.sum()
    return loss.sum() / torch.where(total > 0, total, 1)
