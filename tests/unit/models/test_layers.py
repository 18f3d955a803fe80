from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from imagen_video.models.blocks import TemporalConvolution
from imagen_video.models.embeddings import TextPooling, noise_level, sinusoidal
from imagen_video.models.layers import (
    Downsample,
    PositionLayerNorm,
    Upsample,
    from_patches,
    make_norm,
    to_patches,
)
from imagen_video.models.spec import LevelSpec
from unit.models.random_networks import random


@pytest.mark.parametrize("patch", [1, 2, 4, 8])
def test_patches_and_back_is_the_identity(patch: int) -> None:
    x = random(2, 3, 16, 24)
    patches = to_patches(x, patch)
    assert patches.shape == (2, 3 * patch**2, 16 // patch, 24 // patch)
    assert patches.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(from_patches(patches, patch), x)


def test_a_patch_holds_the_pixels_of_its_square() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert to_patches(x, 2)[0, :, 0, 1].tolist() == [2.0, 3.0, 6.0, 7.0]


def test_layer_norm_standardises_every_position_and_looks_nowhere_else() -> None:
    x = random(2, 8, 3, 5) * 7 + 3
    norm = PositionLayerNorm(8)
    variance, mean = torch.var_mean(norm(x), dim=1, correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-5)
    torch.testing.assert_close(variance, torch.ones_like(variance), rtol=1e-4, atol=1e-4)
    changed = x.clone()
    changed[0, :, 1, 1] += random(8) * 9
    moved = (norm(changed) - norm(x)).abs().amax(dim=1)
    assert moved[0, 1, 1] > 0.01
    moved[0, 1, 1] = 0
    assert (moved == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layer_norm_of_large_half_precision_values_is_finite(dtype: torch.dtype) -> None:
    x = 300 * random(1, 64, 2, 2).to(dtype)  # squares of 300 overflow float16
    normed = PositionLayerNorm(64)(x)
    assert normed.dtype == dtype
    assert normed.isfinite().all()


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(8, 1), (16, 1), (32, 2), (48, 2), (64, 4), (128, 8), (192, 8), (512, 32), (1536, 32)],
)
def test_group_norm_has_at_most_32_groups_of_at_least_16(channels: int, groups: int) -> None:
    norm = make_norm("group", channels)
    assert isinstance(norm, nn.GroupNorm)
    assert norm.num_groups == groups


def test_down_and_up_halve_and_double() -> None:
    x = random(2, 8, 6, 10)
    assert Downsample(8, 16)(x).shape == (2, 16, 3, 5)
    assert Upsample(8, 16)(x).shape == (2, 16, 12, 20)


def test_temporal_convolution_equals_a_three_dimensional_one() -> None:
    layer = TemporalConvolution(LevelSpec(channels=8, num_blocks=1, norm="layer"))
    nn.init.normal_(layer.conv.weight)
    assert layer.conv.bias is not None
    nn.init.normal_(layer.conv.bias)
    batch, frames = 2, 5
    x = random(batch * frames, 8, 3, 4).contiguous(memory_format=torch.channels_last)
    hidden = functional.silu(layer.norm(x)).view(batch, frames, 8, 3, 4).transpose(1, 2)
    weight = layer.conv.weight[..., None]  # (out, in, 3, 1) -> (out, in, 3, 1, 1)
    mixed = functional.conv3d(hidden, weight, layer.conv.bias, padding=(1, 0, 0))
    expected = x + mixed.transpose(1, 2).reshape(batch * frames, 8, 3, 4)
    torch.testing.assert_close(layer(x, frames, None), expected, rtol=1e-4, atol=1e-4)


def test_the_noise_level_is_the_cosine_schedules_time() -> None:
    t = torch.linspace(0.001, 0.999, 50, dtype=torch.float64)
    logsnr = -2 * torch.log(torch.tan(math.pi / 2 * t))
    torch.testing.assert_close(noise_level(logsnr), t, rtol=1e-6, atol=1e-6)
    assert noise_level(torch.tensor(1e9)) < 1e-4
    assert noise_level(torch.tensor(-1e9)) > 1 - 1e-4


def test_sinusoidal_features_are_sines_and_cosines_of_falling_frequencies() -> None:
    features = sinusoidal(torch.tensor([0.0, 2.0]), 8)
    assert features[0].tolist() == [0.0] * 4 + [1.0] * 4
    frequencies = [10_000 ** (-k / 4) for k in range(4)]
    expected = [math.sin(2 * f) for f in frequencies] + [math.cos(2 * f) for f in frequencies]
    torch.testing.assert_close(features[1], torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_neighbouring_noise_levels_are_told_apart_in_float32() -> None:
    u = torch.linspace(0, 1, 1001) * 1000
    features = sinusoidal(u, 64)
    steps = (features[1:] - features[:-1]).norm(dim=-1)
    assert steps.min() > 0.1


def test_text_pooling_is_a_weighted_mean_of_the_values_of_real_tokens() -> None:
    pooling = TextPooling(6, 10)
    states, mask = random(2, 4, 6), torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0]]).bool()
    normed = pooling.norm(states)
    for row in range(2):
        kept = normed[row][mask[row]]
        weights = pooling.key(kept).softmax(dim=0)
        expected = pooling.out((weights * pooling.value(kept)).sum(dim=0))
        torch.testing.assert_close(pooling(states, mask)[row], expected, rtol=1e-5, atol=1e-5)
