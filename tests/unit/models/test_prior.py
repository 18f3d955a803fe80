"""The low-res prior is a change of variables: v-prediction of the residual, no more, no less."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from imagen_video.models.prior import LowResPrior

STD = 0.2


def drawn(logsnr: float, aug: float) -> tuple[LowResPrior, Tensor, Tensor, Tensor, Tensor]:
    """Return a prior with x, eps, z and v, in fp64."""
    generator = torch.Generator().manual_seed(0)
    x, eps, y = torch.randn(3, 2, 3, 1, 4, 4, generator=generator, dtype=torch.float64)
    level = torch.full((2,), logsnr, dtype=torch.float64)
    prior = LowResPrior.of(y, torch.full((2,), aug, dtype=torch.float64), level, STD)
    alpha, sigma = prior.alpha, prior.sigma
    return prior, x, eps, alpha * x + sigma * eps, alpha * eps - sigma * x


@pytest.mark.parametrize("aug", [-20.0, 0.0, 6.0])
@pytest.mark.parametrize("logsnr", [-8.0, 0.0, 8.0])
def test_the_residuals_own_v_becomes_the_videos_v(logsnr: float, aug: float) -> None:
    prior, x, eps, z, v = drawn(logsnr, aug)
    std = prior.s2.sqrt()
    xi = (x - prior.mean) / std
    a, b = prior.alpha * std / prior.total.sqrt(), prior.sigma / prior.total.sqrt()
    torch.testing.assert_close(a**2 + b**2, torch.ones_like(a))
    torch.testing.assert_close(prior.input(z), a * xi + b * eps)
    torch.testing.assert_close(prior.as_v(a * eps - b * xi, z), v)


@pytest.mark.parametrize("logsnr", [-8.0, 0.0, 8.0])
def test_weighted_errors_of_v_are_errors_of_the_networks_output(logsnr: float) -> None:
    prior, _, _, z, _ = drawn(logsnr, 3.0)
    first, second = torch.randn(
        2, *z.shape, generator=torch.Generator().manual_seed(1), dtype=z.dtype
    )
    error = (prior.as_v(first, z) - prior.as_v(second, z)).square()
    torch.testing.assert_close(error * prior.loss_weight(), (first - second).square())


def test_a_low_res_video_of_pure_noise_leaves_plain_v_prediction() -> None:
    prior, _, _, z, _ = drawn(0.0, -60.0)
    output = torch.randn_like(z)
    torch.testing.assert_close(prior.input(z), z)
    torch.testing.assert_close(prior.as_v(output, z), output)
    torch.testing.assert_close(prior.loss_weight(), torch.ones_like(prior.total))
