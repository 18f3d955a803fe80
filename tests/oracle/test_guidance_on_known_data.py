"""Guidance on Gaussian data, where the guided flow has a closed form."""

from __future__ import annotations

import math

import pytest
import torch

from imagen_video.diffusion.guidance import OscillatingGuidance, guided_prediction
from imagen_video.diffusion.parameterization import Prediction, denoiser_from
from imagen_video.diffusion.samplers import DDIMSampler, sample
from oracle.closed_form import Gaussian, fitted_order, network

KINDS: list[Prediction] = ["x", "eps", "v"]
Z = torch.linspace(-2, 2, 50, dtype=torch.float64).reshape(1, 2, 1, 5, 5)


def predictor(cond: Gaussian, uncond: Gaussian, kind: Prediction):
    """Return an ideal conditional network of one parameterisation."""

    def predict(z: torch.Tensor, logsnr: torch.Tensor, conditional: torch.Tensor) -> torch.Tensor:
        with_text, without = (network(data, kind)(z, logsnr) for data in (cond, uncond))
        return torch.where(conditional.reshape(-1, 1, 1, 1, 1), with_text, without)

    return predict


def guided_sample(
    cond: Gaussian, uncond: Gaussian, kind: Prediction, weight: float, num_steps: int
) -> torch.Tensor:
    denoise = denoiser_from(guided_prediction(predictor(cond, uncond, kind), weight), kind)
    return sample(denoise, Z, DDIMSampler(), num_steps, torch.Tensor)


@pytest.mark.parametrize(
    ("kind", "weight"), [("x", 3.0), ("eps", 3.0), ("v", 0.0), ("v", 0.5), ("v", 3.0)]
)
def test_the_guided_flow_sharpens_by_the_known_power(kind: Prediction, weight: float) -> None:
    # d log z = (1 + w)/2 d log D_c - w/2 d log D_u with D = alpha^2 s^2 + sigma^2, so that
    # z_0 = z_1 (D_c(0) / D_c(1))^((1 + w)/2) (D_u(0) / D_u(1))^(-w/2).
    cond, uncond = Gaussian(0.0, 0.25), Gaussian(0.0, 0.64)
    ratio_c, ratio_u = (
        (data.marginal(0.0)[1] / data.marginal(1.0)[1]).item() for data in (cond, uncond)
    )
    exact = Z * ratio_c ** ((1 + weight) / 2) * ratio_u ** (-weight / 2)
    steps = [128, 256, 512]
    errors = [
        (guided_sample(cond, uncond, kind, weight, n) - exact).abs().max().item() for n in steps
    ]
    assert fitted_order(steps, errors) == pytest.approx(1.0, abs=0.06)
    assert errors[-1] < 0.008


@pytest.mark.parametrize("weight", [0.0, 1.0, 15.0])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_spreads_move_the_mean_away_from_the_unconditional_one(
    kind: Prediction, weight: float
) -> None:
    # Then the guided denoiser is that of a Gaussian with mean (1 + w) m_c - w m_u.
    cond, uncond = Gaussian(0.2, 0.25), Gaussian(-0.1, 0.25)
    moved = Gaussian((1 + weight) * 0.2 + weight * 0.1, 0.25)
    got = guided_sample(cond, uncond, kind, weight, 50)
    expected = sample(moved.denoise, Z, DDIMSampler(), 50, torch.Tensor)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)


def test_guidance_is_the_same_in_every_parameterisation() -> None:
    cond, uncond = Gaussian(0.3, 0.1), Gaussian(-0.2, 0.5)
    by_x, by_eps, by_v = (guided_sample(cond, uncond, kind, 6.0, 20) for kind in KINDS)
    torch.testing.assert_close(by_eps, by_x, rtol=0, atol=1e-8)
    torch.testing.assert_close(by_v, by_x, rtol=0, atol=1e-8)


def test_oscillating_guidance_lies_between_its_two_weights() -> None:
    cond, uncond = Gaussian(0.2, 0.25), Gaussian(-0.1, 0.25)
    schedule = OscillatingGuidance(high=15.0, low=1.0)
    predict = predictor(cond, uncond, "v")
    denoisers = [
        denoiser_from(guided_prediction(predict, schedule.weight(i, 50)), "v") for i in range(50)
    ]
    oscillating = sample(denoisers, Z, DDIMSampler(), 50, torch.Tensor).mean().item()
    low, high = (guided_sample(cond, uncond, "v", w, 50).mean().item() for w in (1.0, 15.0))
    assert low + 0.5 < oscillating < high - 0.5
    assert math.isclose(low, 0.5, abs_tol=0.01)
