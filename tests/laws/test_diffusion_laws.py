"""What holds for all noise levels, videos, step counts and weights."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagen_video.diffusion.guidance import combine, guided_prediction
from imagen_video.diffusion.loss import LossKind, stratified_times, weighted_error
from imagen_video.diffusion.parameterization import (
    CONVERSIONS,
    diffuse,
    eps_from_v,
    expand,
    v_target,
    x_from_v,
)
from imagen_video.diffusion.samplers import (
    AncestralSampler,
    DDIMSampler,
    FewStepSampler,
)
from imagen_video.diffusion.schedule import (
    LOGSNR_MAX,
    LOGSNR_MIN,
    alpha_sigma,
    logsnr_from_t,
    t_from_logsnr,
)

times = st.floats(0.0, 1.0)
levels = st.floats(LOGSNR_MIN, LOGSNR_MAX)
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def noisy_videos(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw x, eps and levels, per example or per frame."""
    b, f = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(draw(seeds))
    x, eps = torch.randn(2, b, f, 2, 3, 4, generator=generator, dtype=torch.float64)
    count = b * f if draw(st.booleans()) else b
    logsnr = torch.tensor([draw(levels) for _ in range(count)], dtype=torch.float64)
    return x, eps, logsnr if count == b else logsnr.reshape(b, f)


def double(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


@quick
@given(levels)
def test_alpha_squared_plus_sigma_squared_is_one(level: float) -> None:
    alpha, sigma = alpha_sigma(double(level))
    assert (alpha**2 + sigma**2).item() == pytest.approx(1.0, abs=1e-14)
    assert torch.log(alpha**2 / sigma**2).item() == pytest.approx(level, abs=1e-12)


@quick
@given(times, times)
def test_later_is_noisier(one: float, other: float) -> None:
    early, late = min(one, other), max(one, other)
    a, b = logsnr_from_t(double(early)).item(), logsnr_from_t(double(late)).item()
    assert a >= b
    if late - early > 1e-9:
        assert a > b


def test_later_is_not_cleaner_in_single_precision_either() -> None:
    assert (logsnr_from_t(torch.linspace(0, 1, 200_001)).diff() <= 0).all()


@quick
@given(times)
def test_clean_and_noisy_halves_mirror_each_other(t: float) -> None:
    mirror = -logsnr_from_t(double(1 - t)).item()
    # 1 - t is rounded, and at the ends a rounding of t moves the level 7e4 times as far.
    assert logsnr_from_t(double(t)).item() == pytest.approx(mirror, abs=1e-10)


@quick
@given(times)
def test_time_comes_back_from_its_level(t: float) -> None:
    assert t_from_logsnr(logsnr_from_t(double(t))).item() == pytest.approx(t, abs=1e-12)


@quick
@given(levels)
def test_level_comes_back_from_its_time(level: float) -> None:
    back = logsnr_from_t(t_from_logsnr(double(level))).item()
    assert back == pytest.approx(level, abs=1e-10)


@quick
@given(noisy_videos())
def test_the_truth_converts_to_the_truth_in_all_nine_ways(
    drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    x, eps, logsnr = drawn
    z = diffuse(x, eps, logsnr)
    truth = {"x": x, "eps": eps, "v": v_target(x, eps, logsnr)}
    for (source, target), convert in CONVERSIONS.items():
        got = convert(z, truth[source], logsnr)
        # A division by alpha or sigma >= 4.5e-5 costs up to five of sixteen digits.
        torch.testing.assert_close(got, truth[target], rtol=0, atol=1e-9)


@quick
@given(noisy_videos(), seeds)
def test_any_prediction_survives_the_round_trip_through_any_other(
    drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor], seed: int
) -> None:
    x, eps, logsnr = drawn
    z = diffuse(x, eps, logsnr)
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    for source, target in CONVERSIONS:
        there = CONVERSIONS[source, target](z, prediction, logsnr)
        back = CONVERSIONS[target, source](z, there, logsnr)
        torch.testing.assert_close(back, prediction, rtol=0, atol=1e-7)


@quick
@given(noisy_videos())
def test_single_precision_converts_from_v_without_loss(
    drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    x, eps, logsnr = (part.float() for part in drawn)
    z, v = diffuse(x, eps, logsnr), v_target(x, eps, logsnr)
    torch.testing.assert_close(x_from_v(z, v, logsnr), x, rtol=0, atol=3e-6)
    torch.testing.assert_close(eps_from_v(z, v, logsnr), eps, rtol=0, atol=3e-6)


@quick
@given(noisy_videos(), seeds)
def test_the_losses_are_what_their_names_say(
    drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor], seed: int
) -> None:
    x, eps, logsnr = drawn
    z, v = diffuse(x, eps, logsnr), v_target(x, eps, logsnr)
    v_hat = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    dims = (2, 3, 4) if logsnr.ndim == 2 else (1, 2, 3, 4)

    def mean_square(error: torch.Tensor) -> torch.Tensor:
        return error.square().mean(dim=dims)

    eps_error = mean_square(eps_from_v(z, v_hat, logsnr) - eps)
    x_error = mean_square(x_from_v(z, v_hat, logsnr) - x)
    snr = torch.exp(logsnr)
    expected: dict[LossKind, torch.Tensor] = {
        "v": (1 + snr) * x_error,
        "eps": eps_error,
        "snr_trunc": torch.clamp(snr, min=1) * x_error,
    }
    # x_error is tiny at high SNR, where it is a difference of nearly equal numbers.
    for kind, value in expected.items():
        got = weighted_error(kind, v_hat, v, logsnr)
        torch.testing.assert_close(got, value, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(
        weighted_error("snr_trunc", v_hat, v, logsnr),
        torch.maximum(x_error, eps_error),
        rtol=1e-6,
        atol=1e-12,
    )


@quick
@given(st.integers(1, 70), seeds, times, times)
def test_every_stratum_gets_one_time(count: int, seed: int, one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    drawn = stratified_times(count, torch.Generator().manual_seed(seed), low=low, high=high)
    # The bounds themselves are rounded to single precision.
    assert drawn.min().item() >= low - 1e-7
    assert drawn.max().item() <= high + 1e-7
    gaps = drawn.sort().values.diff()
    width = (high - low) / count
    torch.testing.assert_close(gaps, torch.full_like(gaps, width), rtol=0, atol=3e-7)


@quick
@given(noisy_videos(), st.floats(-1.0, 20.0))
def test_guidance_is_the_papers_combination(
    drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor], weight: float
) -> None:
    cond, uncond, _ = drawn
    expected = (1 + weight) * cond - weight * uncond
    torch.testing.assert_close(combine(cond, uncond, weight), expected)
    each = torch.full((cond.shape[0],), weight, dtype=torch.float64)
    torch.testing.assert_close(combine(cond, uncond, each), expected)


@quick
@given(noisy_videos())
def test_guidance_off_is_the_conditional_output(
    drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    z, _, logsnr = drawn

    def predict(z: torch.Tensor, logsnr: torch.Tensor, conditional: torch.Tensor) -> torch.Tensor:
        return torch.where(expand(conditional, z), z.sin(), z * 1e9)

    assert torch.equal(guided_prediction(predict, 0.0)(z, logsnr), z.sin())


@quick
@given(
    st.sampled_from([AncestralSampler(), DDIMSampler(), FewStepSampler()]),
    st.integers(2, 400),
    st.data(),
)
def test_a_step_with_the_truth_stays_on_the_truths_marginal(
    sampler: AncestralSampler | DDIMSampler | FewStepSampler, num_steps: int, data: st.DataObject
) -> None:
    # With x_hat = x the signal part of z_next is alpha_s x, whatever the rule, and for the rules
    # that keep the marginal the rest has variance sigma_s^2.
    step = data.draw(st.integers(0, num_steps - 2))
    t, s = sampler.grid(num_steps)[step : step + 2]
    alpha_t, sigma_t = alpha_sigma(logsnr_from_t(double(t)))
    alpha_s, sigma_s = alpha_sigma(logsnr_from_t(double(s)))
    one = torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)
    signal = sampler.update(alpha_t * one, one, step, num_steps, 0 * one)
    assert signal.item() == pytest.approx(alpha_s.item(), rel=1e-9)
    old = sampler.update(sigma_t * one, 0 * one, step, num_steps, 0 * one).item()
    new = sampler.update(0 * one, 0 * one, step, num_steps, one).item()
    spread = math.hypot(old, new)
    if isinstance(sampler, AncestralSampler):
        assert spread >= sigma_s.item()  # gamma > 0 adds more than the posterior has
    else:
        assert spread == pytest.approx(sigma_s.item(), rel=1e-9)
