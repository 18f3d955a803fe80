"""Step rules: times, calls, noise, and the papers' update formulas written out again."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from imagen_video.diffusion.guidance import OscillatingGuidance, guided_prediction
from imagen_video.diffusion.samplers import (
    SAMPLERS,
    AncestralSampler,
    DDIMSampler,
    FewStepSampler,
    Sampler,
    logsnr_at,
    sample,
)
from imagen_video.diffusion.schedule import alpha_sigma, logsnr_from_t
from imagen_video.diffusion.thresholding import DynamicThreshold, StaticThreshold
from imagen_video.errors import InputError

SHAPE = (2, 3, 2, 4, 5)
ALL = [AncestralSampler(), AncestralSampler(gamma=0.0), DDIMSampler(), FewStepSampler()]
STEPS = [2, 3, 7, 8, 64, 100, 128, 256, 1000]


def normal(seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def level(t: float) -> tuple[float, float, float]:
    """Return lambda, alpha and sigma at one time."""
    logsnr = logsnr_from_t(torch.tensor(t, dtype=torch.float64))
    alpha, sigma = alpha_sigma(logsnr)
    return logsnr.item(), alpha.item(), sigma.item()


@pytest.mark.parametrize("sampler", ALL, ids=repr)
@pytest.mark.parametrize("num_steps", STEPS)
def test_times_fall_from_one_to_zero_with_as_many_evaluations_as_steps(
    sampler: AncestralSampler, num_steps: int
) -> None:
    grid = sampler.grid(num_steps)
    assert sampler.times(num_steps) == grid[:-1]
    assert len(grid) == num_steps + 1
    assert (grid[0], grid[-1]) == (1.0, 0.0)
    assert all(a > b for a, b in pairwise(grid))


@pytest.mark.parametrize("sampler", ALL, ids=repr)
@pytest.mark.parametrize("num_steps", [2, 5, 8, 33])
def test_the_network_is_called_once_per_step_at_the_right_level(
    sampler: AncestralSampler, num_steps: int
) -> None:
    levels, asked = [], []

    def denoise(z: torch.Tensor, logsnr: torch.Tensor) -> torch.Tensor:
        assert logsnr.shape == (2,)
        levels.append(logsnr)
        return 0.5 * z

    def noise(step: int) -> torch.Tensor:
        asked.append(step)
        return normal(step)

    sample(denoise, normal(99), sampler, num_steps, noise)
    expected = [
        logsnr_from_t(torch.full((2,), t, dtype=torch.float64)) for t in sampler.times(num_steps)
    ]
    assert len(levels) == num_steps
    torch.testing.assert_close(torch.stack(levels), torch.stack(expected))
    assert asked == [i for i in range(num_steps) if sampler.needs_noise(i, num_steps)]


def test_who_needs_noise_when() -> None:
    for step in range(8):
        assert AncestralSampler().needs_noise(step, 8) == (step < 7)
        assert FewStepSampler().needs_noise(step, 8) == (step < 7)
        assert not DDIMSampler().needs_noise(step, 8)


@pytest.mark.parametrize("sampler", ALL, ids=repr)
def test_the_last_step_returns_x_hat_without_noise(sampler: AncestralSampler) -> None:
    z, x_hat = normal(0), normal(1)
    assert torch.equal(sampler.update(z, x_hat, 7, 8, None), x_hat)
    assert torch.equal(sampler.update(z, x_hat, 7, 8, normal(2)), x_hat)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("step", [0, 3, 6])
def test_the_ancestral_update_is_the_papers(gamma: float, step: int) -> None:
    z, x_hat, eps = normal(3), normal(4), normal(5)
    t, s = 1 - step / 8, 1 - (step + 1) / 8
    (l_t, alpha_t, sigma_t), (l_s, alpha_s, sigma_s) = level(t), level(s)
    r = math.exp(l_t - l_s)
    mu = r * (alpha_s / alpha_t) * z + (1 - r) * alpha_s * x_hat
    low, high = (1 - r) * sigma_s**2, (1 - r) * sigma_t**2
    expected = mu + math.sqrt(low ** (1 - gamma) * high**gamma) * eps
    got = AncestralSampler(gamma=gamma).update(z, x_hat, step, 8, eps)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("step", [0, 3, 6])
def test_the_ddim_update_is_the_papers(step: int) -> None:
    z, x_hat = normal(6), normal(7)
    (_, alpha_t, sigma_t), (_, alpha_s, sigma_s) = level(1 - step / 8), level(1 - (step + 1) / 8)
    expected = alpha_s * x_hat + sigma_s / sigma_t * (z - alpha_t * x_hat)
    torch.testing.assert_close(DDIMSampler().update(z, x_hat, step, 8, None), expected)


@pytest.mark.parametrize("step", [0, 3, 6])
def test_the_few_step_update_is_a_double_ddim_step_and_noise_back(step: int) -> None:
    z, x_hat, eps = normal(8), normal(9), normal(10)
    t, s, k = (1 - (step + i) / 8 for i in range(3))
    (_, alpha_t, sigma_t), (l_s, alpha_s, sigma_s), (l_k, alpha_k, sigma_k) = map(level, (t, s, k))
    z_k = alpha_k * x_hat + sigma_k / sigma_t * (z - alpha_t * x_hat)
    back = math.sqrt((1 - math.exp(l_s - l_k)) * sigma_s**2)
    expected = alpha_s / alpha_k * z_k + back * eps
    torch.testing.assert_close(FewStepSampler().update(z, x_hat, step, 8, eps), expected)


def test_one_step_is_refused_by_few_step_and_done_by_ddim() -> None:
    for refuse in (
        lambda: FewStepSampler().times(1),
        lambda: FewStepSampler().needs_noise(0, 1),
        lambda: FewStepSampler().update(normal(0), normal(1), 0, 1, None),
    ):
        with pytest.raises(InputError, match="use sampler 'ddim'"):
            refuse()
    x = sample(lambda z, logsnr: 0.5 * z, normal(0), DDIMSampler(), 1, normal)
    assert torch.equal(x, 0.5 * normal(0))


@pytest.mark.parametrize("sampler", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_updates_keep_dtype_and_inputs_and_stay_finite(
    sampler: AncestralSampler, dtype: torch.dtype
) -> None:
    z, x_hat, eps = (normal(i, dtype) for i in range(3))
    before = [t.clone() for t in (z, x_hat, eps)]
    for step in range(1000):
        z_next = sampler.update(z, x_hat, step, 1000, eps)
        assert z_next.dtype == dtype
        assert z_next.isfinite().all()
    assert all(torch.equal(a, b) for a, b in zip((z, x_hat, eps), before, strict=True))


@pytest.mark.parametrize("sampler", ALL, ids=repr)
def test_an_updated_tile_is_the_tile_of_the_update(sampler: AncestralSampler) -> None:
    z, x_hat, eps = (normal(i, torch.float32) for i in range(3))
    tile = (slice(None), slice(1, 3), slice(None), slice(0, 2), slice(2, 5))
    for step in range(8):
        whole = sampler.update(z, x_hat, step, 8, eps)
        part = sampler.update(z[tile], x_hat[tile], step, 8, eps[tile])
        assert torch.equal(part, whole[tile])


def test_the_threshold_acts_on_x_hat_and_thereby_on_eps() -> None:
    z = normal(11)
    seen = []

    def denoise(z: torch.Tensor, logsnr: torch.Tensor) -> torch.Tensor:
        seen.append(z)
        return 5 * torch.tanh(z)

    x = sample(denoise, z, DDIMSampler(), 2, normal, threshold=StaticThreshold())
    (_, alpha_t, sigma_t), (_, alpha_s, sigma_s) = level(1.0), level(0.5)
    clipped = (5 * torch.tanh(z)).clamp(-1, 1)
    eps = (z - alpha_t * clipped) / sigma_t
    torch.testing.assert_close(seen[1], alpha_s * clipped + sigma_s * eps)
    assert x.abs().max() <= 1
    dynamic = sample(denoise, z, DDIMSampler(), 2, normal, threshold=DynamicThreshold())
    assert dynamic.abs().max() <= 1
    assert not torch.equal(dynamic, x)


def test_guidance_can_change_from_step_to_step() -> None:
    schedule = OscillatingGuidance(high=3.0, low=1.0)

    def predict(z: torch.Tensor, logsnr: torch.Tensor, conditional: torch.Tensor) -> torch.Tensor:
        return conditional.to(z).reshape(-1, 1, 1, 1, 1).expand_as(z)

    seen = []
    sample(
        [guided_prediction(predict, schedule.weight(i, 5)) for i in range(5)],
        normal(12),
        DDIMSampler(),
        5,
        normal,
        on_step=lambda step, z, x_hat: seen.append((step, x_hat.mean().item() - 1)),
    )
    assert seen == [(0, 3.0), (1, 1.0), (2, 3.0), (3, 1.0), (4, 3.0)]


def test_a_later_start_begins_at_its_own_level() -> None:
    sampler = DDIMSampler(start=0.5)
    assert sampler.times(5) == [0.5, 0.4, 0.3, 0.2, 0.1]
    x, eps = normal(13), normal(14)
    _, alpha, sigma = level(0.5)
    got = sample(lambda z, logsnr: x, alpha * x + sigma * eps, sampler, 5, normal)
    torch.testing.assert_close(got, x)


def test_single_precision_noise_and_levels_follow_the_video() -> None:
    assert logsnr_at(0.5, torch.zeros(3, 1, 1, 1, 1)).dtype == torch.float32
    assert logsnr_at(0.5, torch.zeros(3, 1, 1, 1, 1).double()).dtype == torch.float64
    assert logsnr_at(0.5, torch.zeros(3, 1, 1, 1, 1).bfloat16()).dtype == torch.float32
    x = sample(lambda z, logsnr: z, normal(15), AncestralSampler(), 4, lambda i: normal(i).float())
    assert x.dtype == torch.float64


def test_the_table_has_the_three_samplers() -> None:
    assert {
        "ancestral": AncestralSampler,
        "ddim": DDIMSampler,
        "few_step": FewStepSampler,
    } == SAMPLERS
    rules: list[Sampler] = [sampler() for sampler in SAMPLERS.values()]
    assert all(len(rule.times(4)) == 4 for rule in rules)


@pytest.mark.parametrize("sampler", ALL, ids=repr)
def test_wrong_steps_and_missing_noise_are_refused(sampler: AncestralSampler) -> None:
    z = normal(16)
    for step, num_steps in ((-1, 8), (8, 8), (0, 0)):
        with pytest.raises(InputError):
            sampler.update(z, z, step, num_steps, z)
    if sampler.needs_noise(0, 8):
        with pytest.raises(InputError, match="noise"):
            sampler.update(z, z, 0, 8, None)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(InputError, match="gamma"):
        AncestralSampler(gamma=1.5)
    with pytest.raises(InputError, match="start"):
        DDIMSampler(start=0.0)
    with pytest.raises(InputError, match="one per step"):
        sample([lambda z, logsnr: z], normal(0), DDIMSampler(), 2, normal)
