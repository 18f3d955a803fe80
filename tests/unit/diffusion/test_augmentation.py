"""Noise-conditioning augmentation."""

from __future__ import annotations

import torch

from imagen_video.diffusion.augmentation import augment, sample_augmentation_logsnr
from imagen_video.diffusion.loss import stratified_times
from imagen_video.diffusion.schedule import LOGSNR_MAX, t_from_logsnr


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_two_levels_give_two_different_inputs() -> None:
    low_res = torch.randn(2, 3, 3, 4, 5, generator=generator(1))
    eps = torch.randn(2, 3, 3, 4, 5, generator=generator(2))
    mild = augment(low_res, eps, torch.full((2,), 5.0))
    strong = augment(low_res, eps, torch.full((2,), 3.0))
    assert (mild - strong).abs().max() > 0.05
    # log SNR 5: alpha 0.997, sigma 0.082.
    torch.testing.assert_close(mild, 0.9967 * low_res + 0.0818 * eps, rtol=0, atol=1e-3)


def test_the_cleanest_level_leaves_the_input_almost_alone() -> None:
    low_res = torch.rand(1, 2, 3, 4, 5, generator=generator(3)) * 2 - 1
    eps = torch.randn(1, 2, 3, 4, 5, generator=generator(4))
    cleanest = augment(low_res, eps, torch.tensor([LOGSNR_MAX]))
    assert (cleanest - low_res).abs().max() < 3e-4


def test_unit_variance_stays_unit_variance() -> None:
    low_res = torch.randn(1, 4, 3, 64, 64, generator=generator(5))
    eps = torch.randn(1, 4, 3, 64, 64, generator=generator(6))
    for logsnr in (-2.0, 0.0, 3.0):
        assert abs(augment(low_res, eps, torch.tensor([logsnr])).var().item() - 1) < 0.03


def test_levels_cover_the_range_asked_for() -> None:
    t = t_from_logsnr(sample_augmentation_logsnr(100, generator(7), 0.1, 0.3))
    assert t.shape == (100,)
    assert t.min().item() >= 0.1 - 1e-5
    assert t.max().item() <= 0.3 + 1e-5
    # One in each hundredth of the range.
    torch.testing.assert_close(t.sort().values.diff(), torch.full((99,), 0.002), rtol=0, atol=1e-5)


def test_levels_are_independent_of_times_from_the_same_generator() -> None:
    g = generator(8)
    pairs = [
        (stratified_times(64, g), t_from_logsnr(sample_augmentation_logsnr(64, g)))
        for _ in range(60)
    ]
    times, levels = (torch.cat(part) for part in zip(*pairs, strict=True))
    correlation = torch.corrcoef(torch.stack([times, levels]))[0, 1]
    # 3840 pairs: standard deviation 0.016.
    assert correlation.abs() < 0.08
