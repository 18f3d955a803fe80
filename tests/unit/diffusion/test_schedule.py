"""The bounded cosine schedule against the paper's formula in high precision."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch

from imagen_video.diffusion.schedule import (
    LOGSNR_MAX,
    LOGSNR_MIN,
    alpha_sigma,
    logsnr_from_t,
    t_from_logsnr,
)

DTYPES = [torch.float32, torch.float64]


def logsnr_by_the_paper(t: float) -> float:
    with mpmath.workdps(50):
        b = mpmath.atan(mpmath.exp(mpmath.mpf(-LOGSNR_MAX) / 2))
        a = mpmath.atan(mpmath.exp(mpmath.mpf(-LOGSNR_MIN) / 2)) - b
        return float(-2 * mpmath.log(mpmath.tan(a * mpmath.mpf(t) + b)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.float64, 1e-12)])
def test_logsnr_is_the_papers_formula_at_every_time(dtype: torch.dtype, tolerance: float) -> None:
    # Powers of two so that t itself is exact in both types; both ends closely.
    near_zero = [2.0**-k for k in range(1, 24)]
    times = [0.0, 1.0, 0.375, 0.625, *near_zero, *(1 - t for t in near_zero)]
    got = logsnr_from_t(torch.tensor(times, dtype=dtype))
    expected = torch.tensor([logsnr_by_the_paper(t) for t in times], dtype=torch.float64)
    # The result near the ends is about 20, so the tolerance is relative to that.
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=20 * tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ends_of_time_are_the_bounds(dtype: torch.dtype) -> None:
    ends = logsnr_from_t(torch.tensor([0.0, 1.0], dtype=dtype))
    torch.testing.assert_close(ends, torch.tensor([LOGSNR_MAX, LOGSNR_MIN], dtype=dtype))
    assert ends.abs().max() <= LOGSNR_MAX


@pytest.mark.parametrize("dtype", DTYPES)
def test_scales_are_finite_and_positive_at_both_ends(dtype: torch.dtype) -> None:
    alpha, sigma = alpha_sigma(torch.tensor([LOGSNR_MIN, LOGSNR_MAX], dtype=dtype))
    smallest = math.exp(LOGSNR_MIN / 2)
    assert alpha.dtype == sigma.dtype == dtype
    torch.testing.assert_close(alpha[0].item(), smallest, rtol=1e-6, atol=0)
    torch.testing.assert_close(sigma[1].item(), smallest, rtol=1e-6, atol=0)


def test_it_is_the_plain_cosine_up_to_the_bounds() -> None:
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    alpha, sigma = alpha_sigma(logsnr_from_t(t))
    assert (alpha - torch.cos(math.pi / 2 * t)).abs().max() < 5e-5
    assert (sigma - torch.sin(math.pi / 2 * t)).abs().max() < 5e-5


@pytest.mark.parametrize(
    ("logsnr", "t"), [(3.69, 0.1), (2.25, 0.2), (1.35, 0.3), (1.10, 0.333), (3.0, 0.140)]
)
def test_augmentation_levels_match_the_reference_table(logsnr: float, t: float) -> None:
    assert t_from_logsnr(torch.tensor(logsnr)).item() == pytest.approx(t, abs=6e-4)


def test_shape_is_kept_and_times_outside_count_as_the_ends() -> None:
    t = torch.tensor([[-1e-6, 0.0], [1.0, 1 + 1e-6]])
    logsnr = logsnr_from_t(t)
    assert logsnr.shape == t.shape
    assert logsnr[0, 0] == logsnr[0, 1]
    assert logsnr[1, 0] == logsnr[1, 1]
    assert t_from_logsnr(torch.tensor([50.0, -50.0])).tolist() == [0.0, 1.0]
