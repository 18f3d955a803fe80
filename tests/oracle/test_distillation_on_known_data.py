"""Distillation on data whose ideal denoiser is known: the targets have a closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from imagen_video.diffusion.parameterization import diffuse, v_from_x, x_from_v
from imagen_video.diffusion.samplers import DDIMSampler, FewStepSampler, sample
from imagen_video.diffusion.schedule import alpha_sigma, logsnr_from_t
from imagen_video.distillation.targets import (
    StepTimes,
    Stride,
    angle,
    combination,
    ddim_step,
    grid_index,
    logsnr_of,
    step_times,
    two_steps_in_one,
)
from oracle.closed_form import Gaussian, KnownData, Mixture, network

STRIDES: list[Stride] = ["ddim", "few_step"]
STEPS = [1, 2, 3, 8, 64, 4096]
DATA = Gaussian(0.0, 0.3)


def noisy(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, 3, 2, 2, generator=generator, dtype=torch.float64)


def target_of(data: KnownData, z: Tensor, times: StepTimes) -> Tensor:
    """What a student should answer for an ideal teacher."""
    teacher = network(data, "v")
    v1 = teacher(z, logsnr_of(times.start, z))
    between = ddim_step(z, v1, times.start, times.middle)
    return two_steps_in_one(z, v1, teacher(between, logsnr_of(times.middle, z)), times)


def all_times(stride: Stride, steps: int) -> StepTimes:
    return step_times(stride, torch.arange(1, steps + 1), steps)


def scale(t: float) -> tuple[float, float]:
    """alpha and sigma by hand; the sampler ends in x itself at t = 0."""
    if t == 0:
        return 1.0, 0.0
    logsnr = logsnr_from_t(torch.tensor(t, dtype=torch.float64))
    alpha, sigma = alpha_sigma(logsnr)
    return alpha.item(), sigma.item()


def shrink(t: float, s: float, variance: float) -> tuple[float, float]:
    """x_hat / z and z_s / z_t of one DDIM step of the ideal Gaussian teacher, by hand."""
    (alpha, sigma), (alpha_s, sigma_s) = scale(t), scale(s)
    x_hat = alpha * variance / (alpha**2 * variance + sigma**2)
    return x_hat, alpha_s * x_hat + sigma_s / sigma * (1 - alpha * x_hat)


def v_coefficient(t: float, middle: float, end: float, variance: float) -> float:
    """v_tgt / z from the x-target of Salimans and Ho (algorithm 2), for Gaussian data."""
    x_first, first = shrink(t, middle, variance)
    if middle == 0:
        x_target = x_first
    else:
        x_second, second = shrink(middle, end, variance)
        if end == 0:
            x_target = x_second * first
        else:
            (alpha, sigma), (alpha_e, sigma_e) = scale(t), scale(end)
            ratio = sigma_e / sigma
            x_target = (first * second - ratio) / (alpha_e - ratio * alpha)
    alpha, sigma = scale(t)
    return (alpha - x_target) / sigma


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 64])
def test_the_target_on_gaussian_data_is_the_coefficient_derived_by_hand(
    stride: Stride, steps: int
) -> None:
    times = all_times(stride, steps)
    z = noisy(steps)
    expected = [
        v_coefficient(*(t.item() for t in row), DATA.variance)  # type: ignore[arg-type]
        for row in zip(*times, strict=True)
    ]
    coefficient = torch.tensor(expected, dtype=torch.float64)[:, None, None, None, None]
    assert (target_of(DATA, z, times) - coefficient * z).abs().max() < 1e-12


@pytest.mark.parametrize("stride", STRIDES)
def test_a_student_with_that_coefficient_has_no_loss_and_takes_two_steps_at_once(
    stride: Stride,
) -> None:
    steps = 8
    times = all_times(stride, steps)
    z = noisy(steps)
    coefficient = torch.tensor(
        [
            v_coefficient(*(t.item() for t in row), DATA.variance)  # type: ignore[arg-type]
            for row in zip(*times, strict=True)
        ],
        dtype=torch.float64,
    )[:, None, None, None, None]
    student = coefficient * z
    assert (student - target_of(DATA, z, times)).square().mean() < 1e-24
    teacher = network(DATA, "v")
    between = ddim_step(z, teacher(z, logsnr_of(times.start, z)), times.start, times.middle)
    twice = ddim_step(
        between, teacher(between, logsnr_of(times.middle, z)), times.middle, times.end
    )
    once = ddim_step(z, student, times.start, times.end)
    assert (once - twice).abs().max() < 1e-12


@pytest.mark.parametrize(
    "data", [Gaussian(0.4, 0.09), Mixture([0.3, 0.7], [-0.8, 0.5], [0.02, 0.1])]
)
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_a_perfect_student_samples_what_the_teacher_samples_in_twice_the_steps(
    data: KnownData, steps: int
) -> None:
    """Through the real sampler, from the first noise to the last x_hat."""
    teacher = network(data, "v")

    def student(z: Tensor, logsnr: Tensor) -> Tensor:
        t = torch.tensor([grid_time(logsnr, steps)] * len(z))
        times = step_times("ddim", (t * steps).round().long(), steps)
        return x_from_v(z, target_of(data, z, times), logsnr)

    z = noisy(3)
    made = sample(student, z.clone(), DDIMSampler(), steps, lambda step: z)
    wanted = sample(
        lambda z, logsnr: x_from_v(z, teacher(z, logsnr), logsnr),
        z.clone(),
        DDIMSampler(),
        2 * steps,
        lambda step: z,
    )
    # the sampler steps to sigma(0) = 4.5e-5 where only the last step is to 0 itself
    assert (made - wanted).abs().max() < 1e-10


def grid_time(logsnr: Tensor, steps: int) -> float:
    times = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    return times[(logsnr_from_t(times) - logsnr[0]).abs().argmin()].item()


@pytest.mark.parametrize("steps", [2, 3, 8])
def test_a_perfect_few_step_student_takes_the_double_stride_of_its_teacher(steps: int) -> None:
    """Every update of the stochastic sampler with its noise left out, the last two included."""
    data = Gaussian(0.2, 0.25)
    teacher, sampler = network(data, "v"), FewStepSampler()
    grid = sampler.grid(steps)
    z = noisy(1)
    for step in range(steps):
        index = torch.tensor([steps - step])
        times = step_times("few_step", index, steps)
        assert times.start.item() == pytest.approx(grid[step], abs=1e-15)
        x_hat = x_from_v(z, target_of(data, z, times), logsnr_of(times.start, z))
        made = sampler.update(z, x_hat, step, steps, torch.zeros_like(z))
        v1 = teacher(z, logsnr_of(times.start, z))
        if step == steps - 1:  # one step of the teacher, straight to x_hat
            assert torch.allclose(made, x_from_v(z, v1, logsnr_of(times.start, z)), atol=1e-12)
            continue
        between = ddim_step(z, v1, times.start, times.middle)
        v2 = teacher(between, logsnr_of(times.middle, z))
        beyond = ddim_step(between, v2, times.middle, times.end)
        back = scale(grid[step + 1])[0] / max(scale(times.end.item())[0], 1e-30)
        tolerance = 1e-4 if times.end.item() == 0 else 1e-12  # sigma(0) of the sampler is 4.5e-5
        assert torch.allclose(made, back * beyond, atol=tolerance)


@pytest.mark.parametrize("stride", STRIDES)
def test_the_loss_on_a_point_mass_is_zero_at_the_start(stride: Stride) -> None:
    """The teacher's own answer is already where two of its steps lead."""
    data = Gaussian(0.7, 0.0)
    teacher = network(data, "v")
    for steps in (1, 2, 8, 64):
        times = all_times(stride, steps)
        z = diffuse(
            torch.full((steps, 1, 1, 1, 1), 0.7, dtype=torch.float64),
            noisy(steps)[:, :1, :1, :1, :1],
            logsnr_of(times.start, noisy(1)),
        )
        v = teacher(z, logsnr_of(times.start, z))
        assert (target_of(data, z, times) - v).abs().max() < 1e-9


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("steps", STEPS)
def test_targets_are_finite_in_v_at_both_ends_of_time(stride: Stride, steps: int) -> None:
    """Also in float32, whatever the teacher answers, and never larger than it by much."""
    ends = torch.tensor(sorted({1, 2, steps // 2, steps - 1, steps} & set(range(1, steps + 1))))
    times = step_times(stride, ends, steps)
    factors = combination(times)
    assert all(bool(f.isfinite().all()) for f in factors)
    assert all(f.abs().max() <= 2 for f in factors)
    generator = torch.Generator().manual_seed(1)
    z, v1, v2 = torch.randn(3, len(ends), 1, 3, 2, 2, generator=generator)
    assert two_steps_in_one(z, v1, v2, times).isfinite().all()
    v = two_steps_in_one(z.double(), v1.double(), v2.double(), times)
    assert (two_steps_in_one(z, v1, v2, times) - v).abs().max() < 1e-5


def test_swapping_the_two_steps_is_noticed() -> None:
    """A known mistake of another implementation: t'' taken before t'."""
    times = all_times("ddim", 8)
    swapped = StepTimes(times.start, times.end, times.middle)
    z = noisy(8)[1:]
    right, wrong = (
        target_of(DATA, z, StepTimes(*(t[1:] for t in some))) for some in (times, swapped)
    )
    assert (right - wrong).abs().mean() > 1e-2
    for start, middle, end in zip(*times, strict=True):
        assert start > middle > end


def test_times_are_on_the_grid_of_the_sampler_and_end_at_zero() -> None:
    steps = 8
    times = all_times("ddim", steps)
    assert times.start.tolist() == DDIMSampler().times(steps)[::-1]
    assert times.middle.tolist() == DDIMSampler().times(2 * steps)[::-1][::2]
    assert times.end.tolist() == [0.0, *times.start.tolist()[:-1]]
    few = all_times("few_step", steps)
    assert few.start.tolist() == FewStepSampler().times(steps)[::-1]
    assert few.middle.tolist()[:2] == [0.0, 1 / steps]
    assert few.end.tolist()[:3] == [0.0, 0.0, 1 / steps]
    assert angle(torch.zeros(1, dtype=torch.float64)).item() == 0.0


def test_the_last_few_step_target_is_the_teachers_own_answer() -> None:
    times = step_times("few_step", torch.tensor([1]), 8)
    z, v1 = noisy(1), noisy(1, seed=1)
    assert torch.equal(two_steps_in_one(z, v1, 1e6 * noisy(1, seed=2), times), v1)


@pytest.mark.parametrize("steps", [1, 8, 100])
def test_grid_points_are_drawn_evenly(steps: int) -> None:
    uniform = (torch.arange(steps * 10) + 0.5) / (steps * 10)
    counts = torch.bincount(grid_index(uniform, steps), minlength=steps + 1)
    assert counts.tolist() == [0] + [10] * steps
    assert grid_index(torch.tensor([0.0, 1.0]), steps).tolist() == [1, steps]


def test_the_noise_level_is_the_one_that_a_sampler_tells() -> None:
    for t in DDIMSampler().times(8):
        told = logsnr_of(torch.tensor([t], dtype=torch.float64), torch.zeros(1))
        exact = logsnr_from_t(torch.tensor(t, dtype=torch.float64)).item()
        assert told.item() == torch.tensor(exact, dtype=torch.float32).item()
        assert math.isfinite(told.item())


def test_the_target_is_the_x_target_of_the_paper_written_in_v() -> None:
    """For arbitrary answers of the teacher, where the x-target is well conditioned."""
    times = step_times("ddim", torch.tensor([3, 5, 6]), 8)
    z, v1, v2 = noisy(3), noisy(3, seed=1), noisy(3, seed=2)
    v = two_steps_in_one(z, v1, v2, times)
    logsnr, middle, end = (logsnr_of(t, z) for t in times)
    scales = [
        [part[:, None, None, None, None] for part in alpha_sigma(level)]
        for level in (logsnr, middle, end)
    ]
    (a, s), (a_m, s_m), (a_e, s_e) = scales
    x1 = x_from_v(z, v1, logsnr)
    z_m = a_m * x1 + s_m / s * (z - a * x1)
    x2 = x_from_v(z_m, v2, middle)
    z_e = a_e * x2 + s_e / s_m * (z_m - a_m * x2)
    x = (z_e - s_e / s * z) / (a_e - s_e / s * a)
    assert (v_from_x(z, x, logsnr) - v).abs().max() < 1e-12
