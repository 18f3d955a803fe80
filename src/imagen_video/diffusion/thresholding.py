"""How is a guided prediction brought back to [-1, 1]? Static and dynamic thresholding.

    static:   x_hat = clip(x_hat, -1, 1)
    dynamic:  s = max(percentile_p(|x_hat|), 1) per sample;  x_hat = clip(x_hat, -s, s) / s

The percentile is taken over all frames, channels and pixels of a sample. Samplers work from x_hat
alone, so eps follows the thresholded x_hat by itself.
Source: Imagen (2205.11487), p = 99.5; used by Imagen Video (2210.02303), which gives no percentile.

`torch.quantile` refuses rows of more than 2^24 values and sorting needs several copies of the
video. Here the percentile is found by counting: non-negative floats order like their bit patterns
read as integers, so a histogram of the leading 16 bits finds the bin, and one of the next 16 bits
inside that bin the exact value, in passes over chunks of the video. Extra memory is about
100 MB, whatever the size of the video (and one frame where the layout makes flattening a copy).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from imagen_video.errors import InputError
from imagen_video.tensor_types import PerExample, Video

_DIGIT_BITS = 16
# Values looked at together: 4 MB of fp32 and a few int64 copies of it.
_CHUNK_VALUES = 1 << 20


class Threshold(Protocol):
    """A rule that brings x_hat into [-1, 1]."""

    def scale(self, x_hat: Video) -> PerExample:
        """Divisor s >= 1 per sample."""
        ...

    def apply(self, x_hat: Video, scale: PerExample | None = None) -> Video:
        """Threshold x_hat with its own scale or, for a tile, with the whole video's."""
        ...


@dataclass(frozen=True, kw_only=True)
class StaticThreshold:
    """Clip to [-1, 1]. Local, so tiles need nothing from each other."""

    def scale(self, x_hat: Video) -> PerExample:
        """Return ones: nothing is rescaled."""
        return torch.ones(x_hat.shape[0], dtype=x_hat.dtype, device=x_hat.device)

    def apply(self, x_hat: Video, scale: PerExample | None = None) -> Video:
        """Return clip(x_hat, -1, 1). `scale` is ignored; it is there for the common interface."""
        return x_hat.clamp(-1, 1)


@dataclass(frozen=True, kw_only=True)
class DynamicThreshold:
    """Clip to the sample's percentile of |x_hat| and rescale, so that colours do not saturate."""

    percentile: float = 99.5
    """In percent, in (1, 100]; Imagen's value."""

    def __post_init__(self) -> None:
        """Refuse percentiles out of range, among them fractions."""
        _check_percentile(self.percentile)

    def scale(self, x_hat: Video) -> PerExample:
        """Return s = max(percentile(|x_hat|), 1) per sample, exact for any size."""
        return magnitude_percentile(x_hat, self.percentile).clamp(min=1)

    def apply(self, x_hat: Video, scale: PerExample | None = None) -> Video:
        """Return clip(x_hat, -s, s) / s.

        Args:
            x_hat: prediction, not yet clipped.
            scale: s `(b,)`; computed from x_hat if None. A tile must be given the whole video's.

        Returns:
            Video in [-1, 1], one new tensor.
        """
        scale = self.scale(x_hat) if scale is None else scale
        bound = scale.to(x_hat.dtype).reshape(-1, *([1] * (x_hat.ndim - 1)))
        return torch.clamp(x_hat, -bound, bound).div_(bound)


THRESHOLDS: dict[str, type[StaticThreshold] | type[DynamicThreshold]] = {
    "static": StaticThreshold,
    "dynamic": DynamicThreshold,
}


def magnitude_percentile(x: Tensor, percentile: float) -> PerExample:
    """Exact percentile of |x| per sample, with linear interpolation as `numpy.percentile` has it.

    Args:
        x: shape `(b, ...)`, any number of values per sample, any memory layout.
        percentile: in percent, in (1, 100].

    Returns:
        Shape `(b,)`, in x's dtype (half types: computed and returned in float32).

    Raises:
        InputError: for a percentile out of range or samples without values.
    """
    _check_percentile(percentile)
    count = x[0].numel() if x.shape[0] else 0
    if count == 0:
        raise InputError(
            "percentile", f"shape {tuple(x.shape)}", "at least one value", "check the input"
        )
    position = (count - 1) * (percentile / 100)
    rank = math.floor(position)
    fraction = position - rank
    lower = _order_statistic(x, rank)
    if fraction == 0:
        return lower
    return torch.lerp(lower, _next_order_statistic(x, lower, rank), fraction)


def _chunks(x: Tensor) -> Iterator[Tensor]:
    """Yield |x| as rows `(b, m)`, a bounded part of the video at a time, in no particular order."""
    rows = x.detach().unsqueeze(1) if x.ndim == 1 else x.detach()
    slice_values = max(rows.numel() // rows.shape[1], 1)
    # First along dim 1 (frames), because flattening copies if the layout is channels-last.
    for part in rows.split(max(_CHUNK_VALUES // slice_values, 1), dim=1):
        flat = part.reshape(part.shape[0], -1)
        for piece in flat.split(max(_CHUNK_VALUES // part.shape[0], 1), dim=1):
            yield piece.abs() if piece.dtype == torch.float64 else piece.float().abs()


def _as_integers(magnitudes: Tensor) -> Tensor:
    """Bit patterns of non-negative floats, int64: the same order as the floats."""
    if magnitudes.dtype == torch.float64:
        return magnitudes.view(torch.int64)
    return magnitudes.view(torch.int32).long()


def _histogram(digits: Tensor, num_bins: int) -> Tensor:
    """Count integers in [0, num_bins) per row: `(b, m) -> (b, num_bins)`."""
    rows = digits.shape[0]
    offsets = torch.arange(rows, device=digits.device).unsqueeze(1) * num_bins
    counts = torch.bincount((digits + offsets).flatten(), minlength=rows * num_bins)
    return counts.reshape(rows, num_bins)


def _order_statistic(x: Tensor, rank: int) -> Tensor:
    """Find the value at `rank` (from 0) of each sample's sorted |x|.

    Radix selection: fix the leading digit by a histogram, then the next among values that share it.
    """
    double = x.dtype == torch.float64
    num_bins = 1 << _DIGIT_BITS
    prefix = torch.zeros(x.shape[0], 1, dtype=torch.int64, device=x.device)
    remaining = torch.full_like(prefix, rank)
    for shift in range((64 if double else 32) - _DIGIT_BITS, -1, -_DIGIT_BITS):
        counts = torch.zeros(x.shape[0], num_bins + 1, dtype=torch.int64, device=x.device)
        for magnitudes in _chunks(x):
            patterns = _as_integers(magnitudes) >> shift
            digits = patterns & (num_bins - 1)
            # The last bin collects the values that do not share the prefix; it is not looked at.
            digits = torch.where(patterns >> _DIGIT_BITS == prefix, digits, num_bins)
            counts += _histogram(digits, num_bins + 1)
        below = counts[:, :num_bins].cumsum(dim=1)
        digit = torch.searchsorted(below, remaining, right=True)
        before = torch.cat([torch.zeros_like(remaining), below], dim=1).gather(1, digit)
        remaining = remaining - before
        prefix = prefix << _DIGIT_BITS | digit
    bits = prefix.squeeze(1)
    return bits.view(torch.float64) if double else bits.int().view(torch.float32)


def _next_order_statistic(x: Tensor, lower: Tensor, rank: int) -> Tensor:
    """Find the value at `rank + 1`: `lower` again if it is repeated, else the next larger."""
    not_larger = torch.zeros_like(lower, dtype=torch.int64)
    larger = torch.full_like(lower, math.inf)
    for magnitudes in _chunks(x):
        is_larger = magnitudes > lower.unsqueeze(1)
        not_larger += magnitudes.shape[1] - is_larger.sum(dim=1)
        candidates = torch.where(is_larger, magnitudes, math.inf)
        larger = torch.minimum(larger, candidates.amin(dim=1))
    return torch.where(not_larger >= rank + 2, lower, larger)


class StreamedPercentile:
    """Percentile of |x| over values that are seen tile by tile.

    A histogram with fixed bins: the leading bits of the float32 pattern, that is 2^`mantissa_bits`
    bins per power of two, over the whole float range. Nothing overflows, tiles come in any order,
    and partial results of several workers merge.

    Error: every value lies within its bin, whose width is at most 2^-mantissa_bits of the value,
    and the estimate interpolates inside the bins of the two order statistics. So |estimate - exact|
    <= 2^-mantissa_bits * exact: 0.1 % for the default (plus fp32 rounding; below 1e-38 the bound is
    absolute, 1e-38). Memory: 2^(mantissa_bits + 8) counters of 8 bytes per sample, 2 MB for the
    default.
    """

    def __init__(
        self, batch: int, *, mantissa_bits: int = 10, device: torch.device | str = "cpu"
    ) -> None:
        """Start with no values.

        Args:
            batch: number of samples, each with its own percentile.
            mantissa_bits: resolution, 1 to 12.
            device: where the counters live; tiles must be there too.

        Raises:
            InputError: for a resolution out of range.
        """
        if not 1 <= mantissa_bits <= 12:
            raise InputError("mantissa_bits", str(mantissa_bits), "1 to 12", "use 10")
        self.mantissa_bits = mantissa_bits
        self._shift = 23 - mantissa_bits
        self.counts = torch.zeros(batch, 1 << (mantissa_bits + 8), dtype=torch.int64, device=device)

    def add(self, tile: Tensor) -> None:
        """Count the values of a tile `(b, ...)`. Leave out halos: every position counts once.

        Raises:
            InputError: if the tile has another number of samples.
        """
        if tile.shape[0] != self.counts.shape[0]:
            raise InputError(
                "tile",
                f"{tile.shape[0]} samples",
                str(self.counts.shape[0]),
                "give all samples of the batch",
            )
        for magnitudes in _chunks(tile):
            patterns = _as_integers(magnitudes.float()) >> self._shift
            self.counts += _histogram(patterns, self.counts.shape[1])

    def merge(self, other: StreamedPercentile) -> None:
        """Add what another accumulator has seen of the same samples.

        Raises:
            InputError: if batch or resolution differ.
        """
        if self.counts.shape != other.counts.shape:
            raise InputError(
                "merge",
                f"counters of shape {tuple(other.counts.shape)}",
                str(tuple(self.counts.shape)),
                "use the same batch and mantissa_bits",
            )
        self.counts += other.counts.to(self.counts.device)

    def value(self, percentile: float = 99.5) -> PerExample:
        """Percentile of everything seen so far.

        Args:
            percentile: in percent, in (1, 100].

        Returns:
            float32 `(b,)`; see the class for the error.

        Raises:
            InputError: for a percentile out of range or before any value was added.
        """
        _check_percentile(percentile)
        count = int(self.counts[:1].sum())
        if count == 0:
            raise InputError("percentile", "no values", "at least one tile", "call add first")
        position = (count - 1) * (percentile / 100)
        rank = math.floor(position)
        below = self.counts.cumsum(dim=1)
        lower = self._in_bin(below, rank)
        upper = self._in_bin(below, min(rank + 1, count - 1))
        return torch.lerp(lower, upper, position - rank)

    def _in_bin(self, below: Tensor, rank: int) -> Tensor:
        """Place the value of this rank inside its bin, whose values count as spread evenly."""
        ranks = torch.full_like(below[:, :1], rank)
        index = torch.searchsorted(below, ranks, right=True)
        inside = self.counts.gather(1, index)
        before = below.gather(1, index) - inside
        edges = torch.cat([index, index + 1], dim=1) << self._shift
        low, high = edges.int().view(torch.float32).unbind(dim=1)
        share = ((ranks - before) + 0.5) / inside
        return torch.lerp(low, high, share.squeeze(1).to(low.dtype))


def _check_percentile(percentile: float) -> None:
    if not 1.0 < percentile <= 100.0:
        raise InputError(
            "percentile",
            str(percentile),
            "more than 1, at most 100",
            "give percent: 99.5, not 0.995",
        )
