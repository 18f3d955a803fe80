"""Data whose ideal denoiser E[x | z] is known, so that samplers can be judged exactly.

Everything is elementwise over a video `b f c h w`; parameters broadcast over it. All in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from imagen_video.diffusion.parameterization import CONVERSIONS, Prediction, expand
from imagen_video.diffusion.samplers import Sampler
from imagen_video.diffusion.schedule import alpha_sigma, logsnr_from_t

ONE = torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)


class KnownData(Protocol):
    """A distribution with a closed-form denoiser."""

    def denoise(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """Return E[x | z]."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """x ~ N(mean, variance), independent elements; variance 0 is a point mass."""

    mean: Tensor | float
    variance: Tensor | float

    def denoise(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """Return mean + alpha s^2 / (alpha^2 s^2 + sigma^2) (z - alpha mean)."""
        alpha, sigma = alpha_sigma(expand(logsnr, z).double())
        gain = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
        return self.mean + gain * (z - alpha * self.mean)

    def marginal(self, t: float) -> tuple[Tensor, Tensor]:
        """Return mean and variance of z at time t."""
        alpha, sigma = scales(t)
        return alpha * self.mean * ONE, (alpha**2 * self.variance + sigma**2) * ONE

    def flow(self, z: Tensor, t: float, s: float) -> Tensor:
        """Carry z from time t to s along the exact probability-flow ODE.

        The flow of a Gaussian keeps the standardised value.
        """
        (mean_t, var_t), (mean_s, var_s) = self.marginal(t), self.marginal(s)
        return mean_s + (var_s / var_t).sqrt() * (z - mean_t)


@dataclass(frozen=True)
class Mixture:
    """Elements drawn from Gaussians with given weights, means and variances."""

    weights: Sequence[float]
    means: Sequence[float]
    variances: Sequence[float]

    def denoise(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """Return the posterior means of the components, weighted by their responsibilities."""
        alpha, sigma = alpha_sigma(expand(logsnr, z).double())
        scores, means = [], []
        for weight, mean, variance in zip(self.weights, self.means, self.variances, strict=True):
            total = alpha**2 * variance + sigma**2
            distance = (z - alpha * mean) ** 2 / total
            scores.append(torch.log(torch.tensor(weight)) - 0.5 * (distance + total.log()))
            means.append(Gaussian(mean, variance).denoise(z, logsnr))
        return (torch.softmax(torch.stack(scores), dim=0) * torch.stack(means)).sum(dim=0)

    def moments(self) -> tuple[float, float]:
        """Return mean and variance of the data."""
        mean = sum(w * m for w, m in zip(self.weights, self.means, strict=True))
        second = sum(
            w * (m**2 + v) for w, m, v in zip(self.weights, self.means, self.variances, strict=True)
        )
        return mean, second - mean**2


def scales(t: float) -> tuple[Tensor, Tensor]:
    """Return alpha and sigma at time t, 0-dimensional."""
    return alpha_sigma(logsnr_from_t(torch.tensor(t, dtype=torch.float64)))


def network(data: KnownData, kind: Prediction) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the ideal network of one parameterisation: `(z, logsnr) -> prediction`."""

    def predict(z: Tensor, logsnr: Tensor) -> Tensor:
        return CONVERSIONS["x", kind](z, data.denoise(z, logsnr), logsnr)

    return predict


def path_moments(sampler: Sampler, data: Gaussian, num_steps: int) -> list[tuple[Tensor, Tensor]]:
    """Carry the mean and variance of N(0, 1) noise through a sampler with the ideal denoiser.

    Each step is affine in z, so probing it at z = 0, z = 1 and eps = 1 (three examples of one
    batch) gives its action on the moments without sampling error.
    """
    mean, variance = 0 * ONE, ONE
    path = [(mean, variance)]
    like = torch.zeros(3, *(mean + data.mean + data.variance).shape[1:], dtype=torch.float64)
    z, eps = like.clone(), like.clone()
    z[1], eps[2] = 1, 1
    for step, t in enumerate(sampler.times(num_steps)):
        logsnr = logsnr_from_t(torch.full((3,), t, dtype=torch.float64))
        x_hat = data.denoise(z, logsnr).expand_as(z)
        offset, gain, spread = sampler.update(z, x_hat, step, num_steps, eps).split(1)
        gain, spread = gain - offset, spread - offset
        mean, variance = gain * mean + offset, gain**2 * variance + spread**2
        path.append((mean, variance))
    return path


def fitted_order(num_steps: Sequence[int], errors: Sequence[float]) -> float:
    """Fit p in error ~ N^-p by least squares on the logarithms."""
    x = torch.tensor(num_steps, dtype=torch.float64).log()
    y = torch.tensor(errors, dtype=torch.float64).abs().log()
    x, y = x - x.mean(), y - y.mean()
    return -((x * y).sum() / (x * x).sum()).item()
