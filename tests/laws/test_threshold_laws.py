"""Percentiles of arbitrary values, against NumPy."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagen_video.diffusion.thresholding import (
    DynamicThreshold,
    StreamedPercentile,
    magnitude_percentile,
)

quick = settings(max_examples=80, deadline=None, derandomize=True)
percentiles = st.floats(1.0, 100.0, exclude_min=True)
# Few different values, so that repeated order statistics occur, among arbitrary ones.
values = st.lists(
    st.one_of(st.sampled_from([-2.0, 0.0, -0.0, 1.0, 3.5]), st.floats(-1e3, 1e3, width=32)),
    min_size=1,
    max_size=60,
)


@quick
@given(values, percentiles)
def test_the_percentile_is_numpys_for_any_values(row: list[float], percentile: float) -> None:
    x = torch.tensor([row, [2 * v for v in row]], dtype=torch.float64)
    expected = np.percentile(x.abs().numpy(), percentile, axis=1)
    got = magnitude_percentile(x, percentile)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-9, atol=1e-300)
    single = magnitude_percentile(x.float(), percentile)
    np.testing.assert_allclose(single.numpy(), expected, rtol=1e-6, atol=1e-30)


@quick
@given(values, percentiles, st.integers(1, 12), st.integers(1, 10))
def test_the_streamed_percentile_keeps_its_bound_for_any_tiles(
    row: list[float], percentile: float, mantissa_bits: int, width: int
) -> None:
    x = torch.tensor([row], dtype=torch.float32)
    streamed = StreamedPercentile(1, mantissa_bits=mantissa_bits)
    for tile in x.split(width, dim=1):
        streamed.add(tile)
    exact = magnitude_percentile(x, percentile).item()
    error = abs(streamed.value(percentile).item() - exact)
    assert error <= (2.0**-mantissa_bits + 1e-6) * exact + 1e-37


@quick
@given(values, percentiles)
def test_a_thresholded_video_is_within_range_and_keeps_signs_and_order(
    row: list[float], percentile: float
) -> None:
    x = torch.tensor(row, dtype=torch.float32).reshape(1, 1, 1, 1, -1)
    y = DynamicThreshold(percentile=percentile).apply(x)
    assert y.abs().max() <= 1
    assert (y.abs() <= x.abs()).all()
    assert (x * y >= 0).all()
    assert (y[..., x.flatten().argsort()].diff() >= 0).all()
