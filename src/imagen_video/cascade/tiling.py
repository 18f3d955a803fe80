"""Cutting a stage's output into tiles with halos: memory is bounded and the result is the same.

A tileable network (`UNetSpec.tileable`) has only local operations, so the middle of a window that
is larger than its tile by the network's reach equals the middle of the full result to rounding.
Windows are cut at the picture's own border, where the network pads with zeros as it does without
tiles.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

from imagen_video.cascade.spec import Clip
from imagen_video.errors import InputError, ResourceError
from imagen_video.models.cost import inference_bytes
from imagen_video.models.spec import UNetSpec

REFERENCE_FRAMES, REFERENCE_STRIDES = 32, 64
"""Window whose memory is followed to know the bytes of a position: its fixed part hardly counts."""


@dataclasses.dataclass(frozen=True)
class Span:
    """One tile along one axis: the part it makes, and the window it looks at."""

    start: int
    stop: int
    low: int
    high: int

    @property
    def inner(self) -> slice:
        """The made part inside the window."""
        return slice(self.start - self.low, self.stop - self.low)

    @property
    def window(self) -> slice:
        """The window inside the full axis."""
        return slice(self.low, self.high)

    @property
    def made(self) -> slice:
        """The made part inside the full axis."""
        return slice(self.start, self.stop)


def spans(length: int, tile: int, halo: int) -> tuple[Span, ...]:
    """Cut an axis into tiles of at most `tile` with `halo` on each side.

    The last tile may be ragged. `tile` and `halo` must be multiples of the axis' grid.
    """
    return tuple(
        Span(
            start, min(start + tile, length), max(0, start - halo), min(length, start + tile + halo)
        )
        for start in range(0, length, tile)
    )


@dataclasses.dataclass(frozen=True)
class TilePlan:
    """Tiles of a clip: every combination of a span of frames, rows and columns."""

    frames: tuple[Span, ...]
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.frames) * len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[tuple[Span, Span, Span]]:
        """Go through the tiles, frames slowest."""
        return itertools.product(self.frames, self.rows, self.columns)

    @property
    def recomputed(self) -> float:
        """Positions computed more than once, as a share of the clip's positions."""
        computed, made = 1, 1
        for axis in (self.frames, self.rows, self.columns):
            computed *= sum(span.high - span.low for span in axis)
            made *= axis[-1].stop
        return computed / made - 1

    @property
    def window(self) -> tuple[int, int, int]:
        """Largest window: frames, height, width."""
        frames, rows, columns = (
            max(span.high - span.low for span in axis)
            for axis in (self.frames, self.rows, self.columns)
        )
        return frames, rows, columns


def whole(clip: Clip) -> TilePlan:
    """One tile: the clip itself."""
    return TilePlan(
        spans(clip.frames, clip.frames, 0),
        spans(clip.height, clip.height, 0),
        spans(clip.width, clip.width, 0),
    )


def tile_plan(unet: UNetSpec, clip: Clip, frames: int, height: int, width: int) -> TilePlan:
    """Cut a clip into tiles of a given size.

    Raises:
        InputError: if the network cannot be tiled or the tile does not lie on its grid.
    """
    if not unet.tileable:
        raise InputError(
            "tiles",
            "a network with attention or group norm over the plane",
            "local operations only",
            "run it whole",
        )
    unet.check_size("tile size", height, width)
    return TilePlan(
        spans(clip.frames, min(frames, clip.frames), unet.halo_frames),
        spans(clip.height, min(height, clip.height), unet.halo_pixels),
        spans(clip.width, min(width, clip.width), unet.halo_pixels),
    )


def plan_for_memory(
    where: str,
    unet: UNetSpec,
    clip: Clip,
    memory: int,
    *,
    batch: int = 1,
    noisy: bool = False,
    besides: int = 0,
) -> TilePlan:
    """Choose, of the tilings that fit into `memory` bytes, the one that computes the least.

    Args:
        where: what is planned, for the message.
        unet: its network.
        clip: its output.
        memory: bytes for all.
        batch: rows of a network call.
        noisy: whether steps draw noise.
        besides: bytes of `memory` that are not for the activations of a step.

    Raises:
        ResourceError: if not even the smallest tile fits, or the whole clip where the network
            cannot be tiled.
    """
    plans = sorted(_candidates(unet, clip), key=lambda plan: (plan.recomputed, len(plan)))
    for plan in plans:
        if window_bytes(unet, clip, plan, batch, noisy=noisy) + besides <= memory:
            return plan
    needed = least_bytes(unet, clip, batch, noisy=noisy) + besides
    raise ResourceError(
        f"{where} at {clip}",
        f"a bound of {memory / 1e9:.2f} GB on the memory of the process",
        # rounded up: who gives what the message says has enough
        f"at least {math.ceil(needed / 1e8) / 10:.1f} GB",
        "raise --memory, lower the batch, or stop at an earlier stage (--until)",
    )


def least_bytes(unet: UNetSpec, clip: Clip, batch: int = 1, *, noisy: bool = False) -> int:
    """Predict the memory of one step beyond z in the tiling that takes the least."""
    plans = _candidates(unet, clip)
    return min(window_bytes(unet, clip, plan, batch, noisy=noisy) for plan in plans)


def window_bytes(
    unet: UNetSpec, clip: Clip, plan: TilePlan, batch: int = 1, *, noisy: bool = False
) -> int:
    """Predict the memory of one step beyond z: the network and what a window of frames holds.

    With more than one tile, a window of frames keeps a copy of z, its upsampled, noised input and
    the noise of the step over the whole plane, plus a few frames in the making.
    """
    network = _network_bytes(unet, batch, plan.window)
    if len(plan) == 1:
        return network
    frame = 4 * batch * unet.channels * clip.height * clip.width
    copies = 1 + unet.low_res + noisy
    return network + (plan.window[0] * copies + 4) * frame


def _network_bytes(unet: UNetSpec, batch: int, window: tuple[int, int, int]) -> int:
    """Predict the network's memory on a window.

    A tileable network works on each position alike, so one large reference window tells the bytes
    of a position: following the allocations of every candidate would take seconds.
    """
    if not unet.tileable:
        return inference_bytes(unet, batch, *window)
    side = REFERENCE_STRIDES * unet.stride
    reference = inference_bytes(unet, 1, REFERENCE_FRAMES, side, side)
    share = batch * math.prod(window) / (REFERENCE_FRAMES * side * side)
    return math.ceil(reference * share)


def _candidates(unet: UNetSpec, clip: Clip) -> list[TilePlan]:
    """Tilings by repeated halving of frames, rows and columns; else the whole clip alone."""
    plans = [whole(clip)]
    if not unet.tileable:
        return plans
    sizes = itertools.product(
        _halvings(clip.frames, 1),
        _halvings(clip.height, unet.stride),
        _halvings(clip.width, unet.stride),
    )
    plans.extend(
        tile_plan(unet, clip, frames, height, width)
        for frames, height, width in sizes
        if min(height, width) * 4 >= max(height, width)
        and (frames, height, width) != (clip.frames, clip.height, clip.width)
    )
    return plans


def _halvings(length: int, grid: int) -> list[int]:
    sizes = [length]
    while sizes[-1] > max(grid, 4):
        sizes.append(-(-sizes[-1] // (2 * grid)) * grid)
    return sizes
