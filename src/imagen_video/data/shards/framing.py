"""Which part of a clip is stored: its moments in time, and one rectangle for all of its frames.

A cascade has a frame rate of its own. Frame j of the finest stage belongs to the moment

    start + j / fps                          and is the source's frame whose start is nearest,

so nothing drifts however long the clip is: a 30 fps clip gives a 24 fps cascade its frames
0, 1, 3, 4, 5, 6, 8, ... (every fifth is left out). Coarser stages take every second, fourth, ...
of the same moments, as frame skipping does when a stage's input is made from its target.

In space the largest rectangle of the cascade's aspect is cut out and resized, by the resize that
training and sampling use. It is chosen once a clip: a still scene stays still.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from imagen_video.data.checking.target import frames_at

CropPolicy = Literal["centre", "random"]
ShortPolicy = Literal["drop", "hold", "loop"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle within the frames of a clip, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, frames: np.ndarray) -> np.ndarray:
        """Return the part of `(f, h, w, c)`, as a view."""
        bottom, right = self.top + self.height, self.left + self.width
        return frames[:, self.top : bottom, self.left : right]


def largest_box(
    size: tuple[int, int], aspect: tuple[int, int], place: tuple[float, float] = (0.5, 0.5)
) -> Box:
    """Return the largest rectangle of an aspect that fits.

    Args:
        size: height and width of the clip.
        aspect: height and width of the target, of which only the ratio counts.
        place: where it lies in the room that is left, from 0 (top, left) to 1.
    """
    height, width = size
    wanted_height, wanted_width = aspect
    if width * wanted_height >= height * wanted_width:
        inner = (height, max(1, round(height * wanted_width / wanted_height)))
    else:
        inner = (max(1, round(width * wanted_height / wanted_width)), width)
    return Box(
        top=round(place[0] * (height - inner[0])),
        left=round(place[1] * (width - inner[1])),
        height=inner[0],
        width=inner[1],
    )


def place_of(policy: CropPolicy, seed: int, ident: str) -> tuple[float, float]:
    """Return where the rectangle of a clip lies; random places depend on seed and clip only."""
    if policy == "centre":
        return 0.5, 0.5
    digest = hashlib.sha256(f"{seed}:{ident}".encode()).digest()
    down, right = (int.from_bytes(digest[at : at + 4], "big") / (2**32 - 1) for at in (0, 4))
    return down, right


def resize_frames(
    frames: UInt8[np.ndarray, "f h w c"], height: int, width: int
) -> UInt8[np.ndarray, "f h2 w2 c"]:
    """Resize frames with the cascade's one resize."""
    import torch

    from imagen_video.cascade.resample import resize

    video = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)[None]
    return resize(video, height, width)[0].permute(0, 2, 3, 1).contiguous().numpy()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """How a clip lies in time."""

    seconds: float
    """When its last frame ends, counted from the start of the first."""
    period: float
    """Seconds a frame is shown, on average."""
    short: ShortPolicy = "drop"
    """What comes after the end: nothing, the last frame, or the beginning again."""

    def frames_from(self, start: float, fps: float, most: int) -> int:
        """Return how many frames a window gives at a frame rate, `most` at most."""
        if self.short != "drop" and start == 0.0:
            return most
        return min(most, frames_at(self.seconds - start, fps))

    def moments(self, start: float, grid: Sequence[int], fps: float) -> list[float]:
        """Return the times at which to look at the source.

        The frame shown half a source period after a moment is the one whose start is nearest to the
        moment. Within half a period of the end, the last frame is.

        Args:
            start: of the window, seconds.
            grid: frame numbers on the grid of `fps`.
            fps: frames per second.
        """
        half = self.period / 2
        wanted = [start + number / fps + half for number in grid]
        if self.short == "loop":
            wanted = [moment % self.seconds for moment in wanted]
        return [max(0.0, min(moment, self.seconds - half)) for moment in wanted]


def window_starts(seconds: float, shortest: float, stride: float, most: int) -> list[float]:
    """Return where the windows of a clip start: 0, stride, 2 stride, ...

    Args:
        seconds: length of the clip.
        shortest: the least that may be left of the clip at a later window's start.
        stride: seconds from one start to the next.
        most: windows at most; there is always the first.
    """
    starts = [0.0]
    while len(starts) < most and seconds - len(starts) * stride >= shortest:
        starts.append(len(starts) * stride)
    return starts
