"""How does noise become a video? Step rules over one time grid, and the loop that applies them.

All rules use x_hat only (eps is recomputed from it, so thresholding acts on both) and evaluate the
network exactly `num_steps` times, at t = start (N - i) / N, i = 0..N-1; the last step gives x_hat.

    ancestral   r = exp(lambda_t - lambda_s), s < t
                z_s = r (alpha_s / alpha_t) z_t + (1 - r) alpha_s x_hat + std eps
                std^2 = ((1 - r) sigma_s^2)^(1 - gamma) ((1 - r) sigma_t^2)^gamma
    ddim        z_s = alpha_s x_hat + (sigma_s / sigma_t) (z_t - alpha_t x_hat)
    few_step    k = t - 2/N, s = t - 1/N: z_k by ddim, then noise back to s
                z_s = (alpha_s / alpha_k) z_k + sigma_{s|k} eps,
                sigma_{s|k}^2 = (1 - exp(lambda_s - lambda_k)) sigma_s^2
                last step (t = 1/N) straight to 0

Source: Imagen Video (2210.02303), sampler and distillation sections; Video Diffusion Models
(2204.03458) for gamma; Salimans & Ho (2202.00512) for DDIM and the noiseless last step; Meng et al.
(2210.03142) for few_step. Every rule is `z_next = a z + b x_hat + c eps` with three numbers,
computed in float64 on the host, hence elementwise: it can be applied to a whole video or tile by
tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from imagen_video.diffusion.schedule import alpha_sigma, logsnr_from_t
from imagen_video.diffusion.thresholding import Threshold
from imagen_video.errors import InputError
from imagen_video.tensor_types import Denoiser, PerExample, Video


class _Level(NamedTuple):
    """The schedule at one time, as float64 numbers."""

    logsnr: float
    alpha: float
    sigma: float


class _Coefficients(NamedTuple):
    """z_next = z * z_scale + x_hat * x_scale + noise * noise_scale."""

    z_scale: float
    x_scale: float
    noise_scale: float


class Sampler(Protocol):
    """What the loops and the cascade ask of a step rule."""

    def times(self, num_steps: int) -> list[float]:
        """Times at which the network is evaluated, falling; as many as `num_steps`."""
        ...

    def needs_noise(self, step: int, num_steps: int) -> bool:
        """Whether `update` takes fresh noise at this step."""
        ...

    def update(
        self, z: Video, x_hat: Video, step: int, num_steps: int, noise: Video | None
    ) -> Video:
        """Go from the time of `step` to that of the next; the last step returns x_hat."""
        ...


@dataclass(frozen=True, kw_only=True)
class _StepRule:
    """The grid and the elementwise update that the three rules share."""

    start: float = 1.0
    """Time of the first evaluation, in (0, 1]. Below 1, z is `diffuse(x, eps, lambda(start))`."""

    def __post_init__(self) -> None:
        """Refuse start times outside (0, 1]."""
        if not 0.0 < self.start <= 1.0:
            raise InputError("start", str(self.start), "a time in (0, 1]", "use 1 for pure noise")

    def grid(self, num_steps: int) -> list[float]:
        """Return the `num_steps + 1` times of z, from `start` down to exactly 0."""
        self._check_count(num_steps)
        return [self._time(i, num_steps) for i in range(num_steps + 1)]

    def times(self, num_steps: int) -> list[float]:
        """Return the `num_steps` times of network evaluations: the grid without its 0."""
        return self.grid(num_steps)[:-1]

    def needs_noise(self, step: int, num_steps: int) -> bool:
        """Whether `update` takes fresh noise at this step."""
        return self._checked(step, num_steps).noise_scale > 0

    def update(
        self, z: Video, x_hat: Video, step: int, num_steps: int, noise: Video | None = None
    ) -> Video:
        """Go from the time of `step` to that of `step + 1`.

        Args:
            z: noisy video (or a tile of it) at `grid(num_steps)[step]`.
            x_hat: prediction for it, thresholded if wanted.
            step: 0 = noisiest.
            num_steps: number of steps in all.
            noise: standard normal, needed where `needs_noise` says so.

        Returns:
            z at the next time, a new tensor; at the last step x_hat itself.

        Raises:
            InputError: for a step out of range or missing noise.
        """
        scales = self._checked(step, num_steps)
        if step == num_steps - 1:
            return x_hat
        z_next = (z * scales.z_scale).add_(x_hat, alpha=scales.x_scale)
        if scales.noise_scale == 0:
            return z_next
        if noise is None:
            raise InputError(
                "noise", f"none at step {step} of {num_steps}", "standard normal noise", "pass it"
            )
        return z_next.add_(noise, alpha=scales.noise_scale)

    def _check_count(self, num_steps: int) -> None:
        if num_steps < 1:
            raise InputError("num_steps", str(num_steps), "at least 1", "raise the number of steps")

    def _checked(self, step: int, num_steps: int) -> _Coefficients:
        """Coefficients of one step, with its number checked; the last one is x_hat alone."""
        self._check_count(num_steps)
        if not 0 <= step < num_steps:
            raise InputError(
                "step", f"{step} of {num_steps}", "0 <= step < num_steps", "count from 0"
            )
        if step == num_steps - 1:
            return _Coefficients(0.0, 1.0, 0.0)
        return self._coefficients(step, num_steps)

    def _time(self, index: int, num_steps: int) -> float:
        """Grid point `index` of `num_steps + 1`: looked up, so that no rounding adds up."""
        return self.start * (num_steps - index) / num_steps

    def _levels(self, step: int, count: int, num_steps: int) -> list[_Level]:
        """Levels of `count` grid points from that of `step` on."""
        return [_level(self._time(step + i, num_steps)) for i in range(count)]

    def _coefficients(self, step: int, num_steps: int) -> _Coefficients:
        """Coefficients of a step that is not the last."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class AncestralSampler(_StepRule):
    """Stochastic sampler for undistilled models, the paper's default (256 base, 128 SR steps)."""

    gamma: float = 0.3
    """Log-interpolation of the noise variance, 0 = posterior variance, 1 = upper bound."""
    # Assumption: 0.3 as in Video Diffusion Models (2204.03458); Imagen Video gives no value.

    def __post_init__(self) -> None:
        """Refuse gamma outside [0, 1]."""
        super().__post_init__()
        if not 0.0 <= self.gamma <= 1.0:
            raise InputError("gamma", str(self.gamma), "0 to 1", "use 0.3")

    def _coefficients(self, step: int, num_steps: int) -> _Coefficients:
        now, after = self._levels(step, 2, num_steps)
        ratio = math.exp(now.logsnr - after.logsnr)
        rest = -math.expm1(now.logsnr - after.logsnr)
        std = math.sqrt(rest) * after.sigma ** (1 - self.gamma) * now.sigma**self.gamma
        return _Coefficients(ratio * after.alpha / now.alpha, rest * after.alpha, std)


@dataclass(frozen=True, kw_only=True)
class DDIMSampler(_StepRule):
    """Deterministic sampler: first-order integration of the probability-flow ODE."""

    def _coefficients(self, step: int, num_steps: int) -> _Coefficients:
        now, after = self._levels(step, 2, num_steps)
        return _ddim(now, after)


@dataclass(frozen=True, kw_only=True)
class FewStepSampler(_StepRule):
    """Stochastic sampler for distilled models: a step of double length, then half of it back.

    The student must be trained at all N grid times with stride 2/N.
    """

    def _check_count(self, num_steps: int) -> None:
        if num_steps == 1:
            raise InputError(
                "num_steps",
                "1 with the few_step sampler",
                "at least 2 (one step leaves nothing to go back to)",
                "use sampler 'ddim' for a single step",
            )
        super()._check_count(num_steps)

    def _coefficients(self, step: int, num_steps: int) -> _Coefficients:
        now, after, beyond = self._levels(step, 3, num_steps)
        jump = _ddim(now, beyond)
        back = after.alpha / beyond.alpha
        std = math.sqrt(-math.expm1(after.logsnr - beyond.logsnr)) * after.sigma
        return _Coefficients(back * jump.z_scale, back * jump.x_scale, std)


SAMPLERS: dict[str, type[AncestralSampler] | type[DDIMSampler] | type[FewStepSampler]] = {
    "ancestral": AncestralSampler,
    "ddim": DDIMSampler,
    "few_step": FewStepSampler,
}


def logsnr_at(t: float, z: Video) -> PerExample:
    """Return the noise level of time t for every example: `(b,)`, float32 (float64 for such z)."""
    dtype = torch.promote_types(z.dtype, torch.float32)
    return torch.full((z.shape[0],), _level(t).logsnr, dtype=dtype, device=z.device)


@torch.no_grad()
def sample(
    denoise: Denoiser | Sequence[Denoiser],
    z: Video,
    sampler: Sampler,
    num_steps: int,
    noise: Callable[[int], Tensor],
    threshold: Threshold | None = None,
    on_step: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Video:
    """Sample whole videos.

    Args:
        denoise: `(z, logsnr) -> x_hat`, or a sequence of them, one per step, where guidance changes
            over the steps: `[denoiser_from_v(guided_prediction(predict, w.weight(i, n))) for i in
            range(n)]`.
        z: initial noise at the sampler's first time (standard normal for `start = 1`).
        sampler: the step rule.
        num_steps: number of network evaluations.
        noise: `step -> eps`, called only at steps that need it.
        threshold: applied to every x_hat, the last one included.
        on_step: called after every step with `(step, z_next, x_hat)`.

    Returns:
        The last x_hat.

    Raises:
        InputError: if a sequence of denoisers has another length than `num_steps`.
    """
    times = sampler.times(num_steps)
    denoisers = denoise if isinstance(denoise, Sequence) else [denoise] * num_steps
    if len(denoisers) != num_steps:
        raise InputError(
            "denoise", f"{len(denoisers)} denoisers", str(num_steps), "give one per step"
        )
    for step, (t, denoise_now) in enumerate(zip(times, denoisers, strict=True)):
        x_hat = denoise_now(z, logsnr_at(t, z))
        if threshold is not None:
            x_hat = threshold.apply(x_hat)
        eps = noise(step).to(z) if sampler.needs_noise(step, num_steps) else None
        z = sampler.update(z, x_hat, step, num_steps, eps)
        if on_step is not None:
            on_step(step, z, x_hat)
    return z


@lru_cache(maxsize=4096)
def _level(t: float) -> _Level:
    """The schedule at one time in float64, by the same functions that training uses."""
    logsnr = logsnr_from_t(torch.tensor(t, dtype=torch.float64, device="cpu"))
    alpha, sigma = alpha_sigma(logsnr)
    return _Level(logsnr.item(), alpha.item(), sigma.item())


def _ddim(now: _Level, after: _Level) -> _Coefficients:
    """One deterministic step between two levels."""
    shrink = after.sigma / now.sigma
    return _Coefficients(shrink, after.alpha - shrink * now.alpha, 0.0)
