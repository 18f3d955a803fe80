"""The halo is long enough, and a tile with its halo gives the middle of the whole result."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from imagen_video.models.conditions import Conditions
from imagen_video.models.spec import LevelSpec, UNetSpec
from imagen_video.models.unet import VideoUNet
from unit.models.random_networks import LOCAL, awake, inputs


def _local(widths: tuple[int, ...], blocks: tuple[int, ...], patch: int) -> UNetSpec:
    levels = tuple(
        LevelSpec(
            channels=width,
            num_blocks=count,
            text_attention=depth == len(widths) - 1,
            temporal="convolution",
            norm="layer",
        )
        for depth, (width, count) in enumerate(zip(widths, blocks, strict=True))
    )
    return dataclasses.replace(LOCAL, levels=levels, patch_size=patch, given_frames=True)


LOCAL_SPECS = {
    "one level": _local((8,), (1,), 1),
    "one level of patches": _local((8,), (2,), 4),
    "two levels": _local((8, 8), (1, 1), 1),
    "two levels of patches": _local((8, 8), (1, 2), 2),
    "three levels": _local((8, 8, 8), (1, 1, 1), 1),
}
local_specs = pytest.mark.parametrize("spec", LOCAL_SPECS.values(), ids=LOCAL_SPECS.keys())


def as_double(conditions: Conditions) -> Conditions:
    return conditions.map(lambda t: t.double() if t.is_floating_point() else t)


def video_inputs(spec: UNetSpec, frames: int, height: int, width: int):
    z, logsnr, conditions = inputs(spec, 1, frames, height, width)
    conditions = conditions.replace(given_mask=torch.ones(1, frames, dtype=torch.bool))
    return z.double(), logsnr.double(), as_double(conditions)


def gradient_of_tile(network: VideoUNet, tile: tuple[slice, slice, slice], shape) -> Tensor:
    """Gradient of one tile of the output after every input position, `(f, h, w)`."""
    z, logsnr, conditions = video_inputs(network.spec, *shape)
    sources = [z.requires_grad_()]
    for value in (conditions.low_res, conditions.given_frames):
        assert value is not None
        sources.append(value.requires_grad_())
    frames, across, down = tile
    v = network(z, logsnr, conditions)[:, frames, :, across, down]
    weights = torch.randn(v.shape, generator=torch.Generator().manual_seed(1), dtype=v.dtype)
    gradients = torch.autograd.grad((v * weights).sum(), sources)
    return torch.stack([g.abs().amax(dim=(0, 2)) for g in gradients]).amax(dim=0)


def reach(dependent: Tensor, low: int, high: int) -> tuple[int, int]:
    """How far before `low` and beyond `high` an axis is depended on."""
    touched = dependent.nonzero().flatten()
    return low - int(touched.min()), int(touched.max()) - (high - 1)


@local_specs
def test_nothing_beyond_the_halo_matters_and_something_within_it_does(spec: UNetSpec) -> None:
    halo, stride = spec.halo_pixels, spec.stride
    assert halo % stride == 0
    size = 2 * halo + 3 * stride
    low, high = halo + stride, halo + 2 * stride
    tile = (slice(0, 1), slice(low, high), slice(low, high))
    gradient = gradient_of_tile(awake(spec).double(), tile, (1, size, size))
    for axis in (1, 2):
        dependent = gradient.amax(dim=tuple({0, 1, 2} - {axis})) > 0
        for distance in reach(dependent, low, high):
            # not wasteful either: the bound is within two strides and a few patches of the truth
            assert halo - 2 * stride - 4 * spec.patch_size <= distance <= halo


@local_specs
def test_frames_depend_on_exactly_the_halo_of_frames(spec: UNetSpec) -> None:
    halo, stride = spec.halo_frames, spec.stride
    frames = 2 * halo + 3
    middle = halo + 1
    tile = (slice(middle, middle + 1), slice(0, stride), slice(0, stride))
    gradient = gradient_of_tile(awake(spec).double(), tile, (frames, stride, stride))
    assert reach(gradient.amax(dim=(1, 2)) > 0, middle, middle + 1) == (halo, halo)


@local_specs
def test_a_window_around_a_tile_gives_the_tile_of_the_whole(spec: UNetSpec) -> None:
    network = awake(spec).double()
    halo, stride, halo_frames = spec.halo_pixels, spec.stride, spec.halo_frames
    frames, size = halo_frames + 4, halo + 4 * stride
    z, logsnr, conditions = video_inputs(spec, frames, size, size)
    with torch.no_grad():
        whole = network(z, logsnr, conditions)
        for first, top, left in ((0, 0, 0), (2, stride, 2 * stride), (3, 3 * stride, stride)):
            spans = [
                (start, start + length, max(0, start - pad), min(end, start + length + pad))
                for start, length, pad, end in (
                    (first, 1, halo_frames, frames),
                    (top, stride, halo, size),
                    (left, stride, halo, size),
                )
            ]
            window = tuple(slice(low, high) for _, _, low, high in spans)
            inner = tuple(slice(start - low, stop - low) for start, stop, low, _ in spans)
            made = tuple(slice(start, stop) for start, stop, _, _ in spans)

            def cut(video: Tensor, part: tuple[slice, ...]) -> Tensor:
                return video[:, part[0], :, part[1], part[2]]

            assert conditions.low_res is not None
            assert conditions.given_frames is not None
            assert conditions.given_mask is not None
            tile = network(
                cut(z, window),
                logsnr,
                conditions.replace(
                    low_res=cut(conditions.low_res, window),
                    given_frames=cut(conditions.given_frames, window),
                    given_mask=conditions.given_mask[:, window[0]],
                ),
            )
            torch.testing.assert_close(cut(tile, inner), cut(whole, made), rtol=1e-9, atol=1e-9)


def test_group_norm_is_not_local_and_would_be_noticed() -> None:
    levels = tuple(dataclasses.replace(level, norm="group") for level in LOCAL.levels)
    spec = dataclasses.replace(LOCAL, levels=levels, given_frames=True)
    gradient = gradient_of_tile(
        awake(spec).double(), (slice(0, 1), slice(0, 4), slice(0, 4)), (1, 96, 96)
    )
    assert gradient[0, -1, -1] > 0


def test_networks_without_temporal_mixing_have_no_halo_of_frames() -> None:
    levels = tuple(dataclasses.replace(level, temporal="none") for level in LOCAL.levels)
    assert dataclasses.replace(LOCAL, levels=levels).halo_frames == 0
