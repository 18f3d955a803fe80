"""Every sampler, under every parameterisation, against data with a closed-form denoiser."""

from __future__ import annotations

import math

import pytest
import torch

from imagen_video.diffusion.noise import video_noise
from imagen_video.diffusion.parameterization import Prediction, denoiser_from
from imagen_video.diffusion.samplers import (
    AncestralSampler,
    DDIMSampler,
    FewStepSampler,
    sample,
)
from oracle.closed_form import ONE, Gaussian, Mixture, fitted_order, network, path_moments, scales

AnySampler = AncestralSampler | DDIMSampler | FewStepSampler

ALL = [
    AncestralSampler(),
    AncestralSampler(gamma=0.0),
    AncestralSampler(gamma=1.0),
    DDIMSampler(),
    FewStepSampler(),
]
KINDS: list[Prediction] = ["x", "eps", "v"]
FRAME = (2, 32, 32)
SEEDS = range(8)
COUNT = len(SEEDS) * 2 * math.prod(FRAME)


def run(
    data: Gaussian | Mixture, kind: Prediction, sampler: AnySampler, steps: int
) -> torch.Tensor:
    """Sample 32768 elements (8 videos of 2 frames) with the project's own noise, in float64."""
    z = video_noise(list(SEEDS), "base", "initial", 0, range(2), FRAME).double()
    return sample(
        denoiser_from(network(data, kind), kind),
        z,
        sampler,
        steps,
        lambda step: video_noise(list(SEEDS), "base", "step", step, range(2), FRAME),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampler", ALL, ids=repr)
def test_gaussian_data_come_out_with_their_mean_and_variance(
    sampler: AnySampler, kind: Prediction
) -> None:
    data = Gaussian(0.3, 0.25)
    x = run(data, kind, sampler, 64)
    # What this sampler reaches in 64 steps is known without sampling; 5 standard errors around it.
    mean, variance = path_moments(sampler, data, 64)[-1]
    assert abs(x.mean() - mean).item() < 5 * math.sqrt(variance.item() / COUNT)
    assert abs(x.var() / variance - 1).item() < 5 * math.sqrt(2 / COUNT)
    # And that is near the truth: first-order bias, 12 % at 64 steps for few_step, the largest.
    assert mean.item() == pytest.approx(0.3, abs=1e-3)
    assert variance.item() == pytest.approx(0.25, rel=0.13)


@pytest.mark.parametrize("sampler", ALL, ids=repr)
def test_every_pixel_reaches_its_own_mean_and_variance(sampler: AnySampler) -> None:
    grid = torch.linspace(0, 1, 64, dtype=torch.float64).reshape(1, 4, 1, 4, 4)
    data = Gaussian(1 - 2 * grid, 0.01 + grid.flip(1) ** 2)
    mean, variance = path_moments(sampler, data, 1024)[-1]
    torch.testing.assert_close(mean, data.mean, rtol=0, atol=2e-3)
    torch.testing.assert_close(variance, data.variance, rtol=0.04, atol=0)


@pytest.mark.parametrize("sampler", ALL, ids=repr)
def test_the_variance_error_falls_like_one_over_the_number_of_steps(sampler: AnySampler) -> None:
    steps = [256, 512, 1024]
    data = Gaussian(0.0, 0.25)
    errors = [path_moments(sampler, data, n)[-1][1].item() / 0.25 - 1 for n in steps]
    assert fitted_order(steps, errors) == pytest.approx(1.0, abs=0.06)
    assert abs(errors[-1]) < 0.008


@pytest.mark.parametrize("variance", [0.04, 0.25, 2.0])
def test_ddim_follows_the_exact_probability_flow_at_first_order(variance: float) -> None:
    data = Gaussian(-0.4, variance)
    z = torch.linspace(-2, 2, 50, dtype=torch.float64).reshape(1, 2, 1, 5, 5)
    exact = data.flow(z, 1.0, 0.0)
    steps = [64, 128, 256, 512]
    errors = [
        (sample(data.denoise, z, DDIMSampler(), n, torch.Tensor) - exact).abs().max().item()
        for n in steps
    ]
    assert fitted_order(steps, errors) == pytest.approx(1.0, abs=0.05)
    assert errors[-1] < 0.02


@pytest.mark.parametrize("num_steps", [1, 2, 5, 16, 100])
def test_ddim_on_unit_gaussian_data_shrinks_by_a_known_cosine(num_steps: int) -> None:
    # There x_hat = alpha z and v = 0, so every step multiplies z by cos(pi / 2N).
    z = torch.linspace(-2, 2, 50, dtype=torch.float64).reshape(1, 2, 1, 5, 5)
    x = sample(Gaussian(0.0, 1.0).denoise, z, DDIMSampler(), num_steps, torch.Tensor)
    expected = z * math.cos(math.pi / (2 * num_steps)) ** num_steps
    # The bounded schedule differs from the plain cosine by up to 5e-5 a step.
    torch.testing.assert_close(x, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("num_steps", [2, 3, 10, 50])
def test_gamma_one_keeps_unit_gaussian_data_exact_at_every_step(num_steps: int) -> None:
    # The upper variance is the true one for unit Gaussian data.
    path = path_moments(AncestralSampler(gamma=1.0), Gaussian(0.0, 1.0), num_steps)
    for _, variance in path[:-1]:
        assert variance.item() == pytest.approx(1.0, abs=1e-9)
    alpha, _ = scales(1 / num_steps)
    assert path[-1][1].item() == pytest.approx(alpha.item() ** 2, abs=1e-9)


@pytest.mark.parametrize("num_steps", [2, 3, 8, 50])
@pytest.mark.parametrize(
    "sampler", [AncestralSampler(gamma=0.0), FewStepSampler(), DDIMSampler()], ids=repr
)
def test_marginals_of_a_single_video_are_exact_at_every_step(
    sampler: AnySampler, num_steps: int
) -> None:
    # Posterior variance, noise added back and DDIM all keep q(z_t | x), for any number of steps.
    data = Gaussian(0.7, 0.0)
    path = path_moments(sampler, data, num_steps)
    for (mean, variance), t in zip(path[1:-1], sampler.times(num_steps)[1:], strict=True):
        expected_mean, expected_variance = data.marginal(t)
        # At t = 1 the noise has mean 0 instead of 0.7 * 4.5e-5.
        torch.testing.assert_close(mean, expected_mean, rtol=0, atol=5e-5)
        torch.testing.assert_close(variance, expected_variance, rtol=1e-6, atol=0)
    torch.testing.assert_close(path[-1][0], 0.7 * ONE)
    assert path[-1][1].item() < 1e-20


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 8, 50, 999])
@pytest.mark.parametrize("kind", KINDS)
def test_ddim_with_a_perfect_denoiser_recovers_the_video(kind: Prediction, num_steps: int) -> None:
    x = video_noise([5], "base", "augmentation", 0, range(3), (3, 4, 5)).double().clamp(-1, 1)
    z = video_noise([5], "base", "initial", 0, range(3), (3, 4, 5)).double()
    denoise = denoiser_from(network(Gaussian(x, 0.0), kind), kind)
    got = sample(denoise, z, DDIMSampler(), num_steps, torch.Tensor)
    # eps at t = 1 is divided by alpha = 4.5e-5, which costs five digits of the sixteen.
    torch.testing.assert_close(got, x, rtol=0, atol=1e-10)


MIXTURE = Mixture((0.3, 0.7), (-0.8, 0.5), (0.01, 0.04))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampler", [AncestralSampler(), DDIMSampler(), FewStepSampler()], ids=repr)
def test_a_mixture_comes_out_with_its_moments_and_proportions(
    sampler: AnySampler, kind: Prediction
) -> None:
    x = run(MIXTURE, kind, sampler, 256)
    mean, variance = MIXTURE.moments()
    # Bias of 256 steps (measured: 0.005 at most) plus 5 standard errors.
    assert x.mean().item() == pytest.approx(mean, abs=0.01 + 5 * math.sqrt(variance / COUNT))
    assert x.var().item() == pytest.approx(variance, rel=0.04)
    # The components are 4 standard deviations apart, split at -0.35.
    left, right = x[x < -0.35], x[x >= -0.35]
    assert left.numel() / COUNT == pytest.approx(0.3, abs=0.02)
    assert left.mean().item() == pytest.approx(-0.8, abs=0.02)
    assert right.mean().item() == pytest.approx(0.5, abs=0.02)
    assert left.var().item() == pytest.approx(0.01, rel=0.3)
    assert right.var().item() == pytest.approx(0.04, rel=0.15)


def test_the_three_parameterisations_sample_the_same_video() -> None:
    for sampler in ALL:
        by_x, by_eps, by_v = (run(MIXTURE, kind, sampler, 16) for kind in KINDS)
        torch.testing.assert_close(by_eps, by_x, rtol=0, atol=1e-7)
        torch.testing.assert_close(by_v, by_x, rtol=0, atol=1e-7)
