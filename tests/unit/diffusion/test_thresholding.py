"""Thresholding: exact percentiles of any size, and their streamed estimate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imagen_video.diffusion.thresholding import (
    DynamicThreshold,
    StaticThreshold,
    StreamedPercentile,
    magnitude_percentile,
)
from imagen_video.errors import InputError

SHAPE = (3, 4, 3, 8, 10)


def video(seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return samples with standard deviations 0.2, 1 and 5."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.tensor([0.2, 1.0, 5.0], dtype=dtype).reshape(3, 1, 1, 1, 1)
    return torch.randn(SHAPE, generator=generator, dtype=dtype) * spread


def by_numpy(x: torch.Tensor, percentile: float) -> np.ndarray:
    return np.percentile(x.abs().flatten(1).double().numpy(), percentile, axis=1)


def test_static_thresholding_clips() -> None:
    x = video()
    assert torch.equal(StaticThreshold().apply(x), x.clamp(-1, 1))
    assert StaticThreshold().scale(x).tolist() == [1.0, 1.0, 1.0]


def test_dynamic_thresholding_is_imagens_rule_per_sample() -> None:
    x = video(1)
    s = np.maximum(by_numpy(x, 99.5), 1.0)
    expected = np.stack([np.clip(a, -b, b) / b for a, b in zip(x.numpy(), s, strict=True)])
    got = DynamicThreshold().apply(x)
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-6)
    assert got.abs().max() <= 1.0


def test_a_sample_within_range_is_not_changed() -> None:
    x = video(2)[:1]
    assert by_numpy(x, 99.5)[0] < 1
    assert torch.equal(DynamicThreshold().apply(x), x.clamp(-1, 1))


def test_samples_do_not_influence_each_other() -> None:
    x = video(3)
    together = DynamicThreshold().apply(x)
    for i in range(3):
        assert torch.equal(together[i : i + 1], DynamicThreshold().apply(x[i : i + 1]))


def test_all_frames_of_a_sample_are_pooled() -> None:
    x = video(4)[1:2]
    x[:, 0] *= 40  # one bright frame sets the scale of the others
    scale = DynamicThreshold(percentile=90.0).scale(x)
    assert scale.item() == pytest.approx(by_numpy(x, 90.0)[0], rel=1e-6)
    alone = DynamicThreshold(percentile=90.0).scale(x[:, 1:])
    assert scale.item() > 2 * alone.item()


def test_a_tile_with_the_videos_scale_equals_the_videos_tile() -> None:
    x = video(5)
    threshold = DynamicThreshold(percentile=95.0)
    whole = threshold.apply(x)
    tile = (slice(None), slice(1, 3), slice(None), slice(2, 6), slice(0, 5))
    assert torch.equal(threshold.apply(x[tile], threshold.scale(x)), whole[tile])


@pytest.mark.parametrize("percentile", [1.5, 50.0, 90.0, 99.5, 99.99, 100.0])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-6), (torch.float64, 1e-12), (torch.bfloat16, 1e-6)],
)
def test_the_percentile_is_numpys(percentile: float, dtype: torch.dtype, tolerance: float) -> None:
    x = video(6).to(dtype) if dtype == torch.bfloat16 else video(6, dtype)
    got = magnitude_percentile(x, percentile)
    np.testing.assert_allclose(got.double().numpy(), by_numpy(x, percentile), rtol=tolerance)


def test_layout_is_of_no_interest() -> None:
    x = video(7)
    strange = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    assert not strange.is_contiguous()
    assert torch.equal(magnitude_percentile(strange, 97.0), magnitude_percentile(x, 97.0))


def test_more_than_two_to_the_24_values_are_exact() -> None:
    # torch.quantile refuses such a row, and fp32 cannot count beyond it. The values are a ramp in
    # scrambled order (an odd multiplier permutes the integers mod 2^k), so the answer is known.
    count = 2**24 + 8
    ramp = torch.arange(count, dtype=torch.int64).mul_(7919).remainder_(count)
    x = ramp.to(torch.float32).mul_(-(2.0**-24)).reshape(1, 2, 1, 2, -1)
    position = (count - 1) * 0.995
    rank = int(position)
    low, high = np.float32(rank), np.float32(rank + 1)
    expected = (low + (position - rank) * (high - low)) * 2.0**-24
    assert magnitude_percentile(x, 99.5).item() == pytest.approx(expected, rel=1e-7)


def test_one_value_and_equal_values_are_their_own_percentile() -> None:
    assert magnitude_percentile(torch.tensor([-3.0]), 99.5).tolist() == [3.0]
    assert magnitude_percentile(torch.full((2, 7), -2.0), 99.5).tolist() == [2.0, 2.0]


def test_gradients_pass_through_the_video_but_not_through_its_scale() -> None:
    x = video(8).requires_grad_()
    assert not DynamicThreshold().scale(x).requires_grad
    DynamicThreshold().apply(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("percentile", [0.995, 1.0, 0.0, -5.0, 100.5, float("nan")])
def test_fractions_and_impossible_percentiles_are_refused(percentile: float) -> None:
    with pytest.raises(InputError, match="give percent"):
        DynamicThreshold(percentile=percentile)
    with pytest.raises(InputError, match="give percent"):
        magnitude_percentile(torch.ones(1, 4), percentile)


def test_no_values_are_refused() -> None:
    with pytest.raises(InputError, match="at least one value"):
        magnitude_percentile(torch.ones(2, 0), 99.5)
    with pytest.raises(InputError, match="call add first"):
        StreamedPercentile(2).value()


@pytest.mark.parametrize("mantissa_bits", [4, 10, 12])
@pytest.mark.parametrize("percentile", [50.0, 99.5, 99.99, 100.0])
def test_the_streamed_estimate_keeps_its_error_bound(mantissa_bits: int, percentile: float) -> None:
    x = video(9)
    streamed = StreamedPercentile(3, mantissa_bits=mantissa_bits)
    for frames in x.split(3, dim=1):
        for tile in frames.split(6, dim=4):
            streamed.add(tile)
    exact = by_numpy(x, percentile)
    error = np.abs(streamed.value(percentile).double().numpy() - exact)
    assert (error <= (2.0**-mantissa_bits + 2e-7) * exact).all()


def test_partial_results_merge_to_the_whole() -> None:
    x = video(10)
    whole, left, right = (StreamedPercentile(3) for _ in range(3))
    whole.add(x)
    left.add(x[..., :4])
    right.add(x[..., 4:])
    left.merge(right)
    assert torch.equal(left.counts, whole.counts)
    assert torch.equal(left.value(99.5), whole.value(99.5))


def test_what_does_not_belong_together_is_refused() -> None:
    streamed = StreamedPercentile(3)
    with pytest.raises(InputError, match="2 samples"):
        streamed.add(video(11)[:2])
    with pytest.raises(InputError, match="mantissa_bits"):
        streamed.merge(StreamedPercentile(3, mantissa_bits=4))
    with pytest.raises(InputError, match="1 to 12"):
        StreamedPercentile(3, mantissa_bits=0)


def test_zeros_are_counted() -> None:
    streamed = StreamedPercentile(1)
    streamed.add(torch.zeros(1, 90))
    streamed.add(torch.full((1, 10), -4.0))
    assert streamed.value(50.0).item() == pytest.approx(0.0, abs=1e-30)
    assert streamed.value(95.0).item() == pytest.approx(4.0, rel=1e-3)
