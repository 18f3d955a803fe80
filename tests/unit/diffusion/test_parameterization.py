"""Conversions between x, eps and v on known values; the laws are in tests/laws."""

from __future__ import annotations

import pytest
import torch

from imagen_video.diffusion.parameterization import (
    CONVERSIONS,
    Prediction,
    denoiser_from,
    denoiser_from_v,
    diffuse,
    expand,
    v_target,
)
from imagen_video.diffusion.schedule import LOGSNR_MAX, LOGSNR_MIN
from imagen_video.errors import InputError

SHAPE = (2, 3, 4, 5, 6)


def normal(seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SHAPE, generator=generator, dtype=dtype)


def test_values_per_example_and_per_frame_reach_their_own_positions() -> None:
    video = torch.zeros(SHAPE)
    per_example = expand(torch.tensor([1.0, 2.0]), video)
    assert per_example.shape == (2, 1, 1, 1, 1)
    values = torch.arange(6.0).reshape(2, 3)
    per_frame = expand(values, video)
    assert per_frame.shape == (2, 3, 1, 1, 1)
    assert torch.equal((video + per_frame)[:, :, 0, 0, 0], values)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (2, 4), (2, 3, 4)])
def test_any_other_shape_of_levels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="logsnr"):
        expand(torch.zeros(shape), torch.zeros(SHAPE))


def test_diffuse_and_target_use_the_papers_coefficients() -> None:
    x, eps = normal(0), normal(1)
    logsnr = torch.log(torch.tensor([9 / 16, 9 / 16], dtype=torch.float64))  # alpha 0.6, sigma 0.8
    torch.testing.assert_close(diffuse(x, eps, logsnr), 0.6 * x + 0.8 * eps)
    torch.testing.assert_close(v_target(x, eps, logsnr), 0.6 * eps - 0.8 * x)


def test_every_pair_of_predictions_is_in_the_table() -> None:
    kinds = ("x", "eps", "v")
    assert set(CONVERSIONS) == {(a, b) for a in kinds for b in kinds}


@pytest.mark.parametrize("kind", ["x", "eps", "v"])
def test_a_perfect_network_of_any_kind_is_a_perfect_denoiser(kind: Prediction) -> None:
    x, eps = normal(2), normal(3)
    logsnr = torch.tensor([[-4.0, 0.0, 4.0], [12.0, 1.0, -12.0]], dtype=torch.float64)
    truth = {"x": x, "eps": eps, "v": v_target(x, eps, logsnr)}[kind]
    denoise = denoiser_from(lambda z, level: truth, kind)
    torch.testing.assert_close(denoise(diffuse(x, eps, logsnr), logsnr), x, rtol=0, atol=1e-10)


def test_the_network_sees_z_and_level_unchanged() -> None:
    z, logsnr = normal(4), torch.tensor([0.5, -0.5])
    seen = []
    denoiser_from_v(lambda *given: seen.append(given) or given[0])(z, logsnr)
    assert seen[0][0] is z
    assert seen[0][1] is logsnr


def test_an_unknown_prediction_is_refused(unchecked: None) -> None:
    with pytest.raises(InputError, match="epsilon"):
        denoiser_from(lambda z, logsnr: z, "epsilon")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pair", sorted(CONVERSIONS))
def test_conversions_are_finite_at_both_ends_and_keep_the_dtype(
    pair: tuple[str, str], dtype: torch.dtype
) -> None:
    z, prediction = normal(5, dtype), normal(6, dtype)
    # A level in another dtype must not change the video's.
    for logsnr in (torch.tensor([LOGSNR_MIN, LOGSNR_MAX]), torch.zeros(2, dtype=torch.float64)):
        result = CONVERSIONS[pair](z, prediction, logsnr)  # pyright: ignore[reportArgumentType]
        assert result.isfinite().all()
        assert result.dtype == dtype


def test_devices_without_values_work_too() -> None:
    z = torch.empty(SHAPE, device="meta")
    logsnr = torch.empty(2, device="meta")
    assert all(f(z, z, logsnr).device.type == "meta" for f in CONVERSIONS.values())
