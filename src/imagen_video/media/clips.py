"""The forms in which people hold a clip: arrays, lists of pictures, tensors, files.

All of them become one of two: uint8 frames `(b, f, h, w, 3)`, or a float tensor
`(b, f, c, h, w)` in [-1, 1]. What could be meant in two ways (floats in an array, bytes in a
tensor, values out of range) is refused with the conversion to make.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from imagen_video.errors import InputError
from imagen_video.media.frames import to_float, to_uint8
from imagen_video.media.pictures import from_image, read_image
from imagen_video.media.video_io import read_video

if TYPE_CHECKING:
    from PIL.Image import Image

Picture: TypeAlias = "np.ndarray | Tensor | Image | str | Path"
"""uint8 `(h, w, 3)`, a tensor `(c, h, w)` in [-1, 1], a PIL image, or the path of one."""
ClipSource: TypeAlias = "np.ndarray | Tensor | Sequence[Any] | str | Path"
"""uint8 `(f, h, w, 3)` or `(b, f, h, w, 3)`; PIL images or uint8 `(h, w, 3)`, one a frame; a tensor
`(f, c, h, w)` or `(b, f, c, h, w)` in [-1, 1]; a list of such clips of one shape; a file's path."""

FORMS = (
    "a path, uint8 (f, h, w, 3), a list of PIL images, "
    "or a float tensor (f, c, h, w) or (b, f, c, h, w)"
)
PICTURE_FORMS = "a path, a PIL image, uint8 (h, w, 3), or a float tensor (c, h, w)"
ROUNDING = 1e-3
"""How far beyond [-1, 1] a tensor may reach: what half precision rounds away."""


@dataclasses.dataclass(frozen=True)
class Clips:
    """One or several clips of one shape."""

    pixels: np.ndarray | Tensor
    """uint8 `(b, f, h, w, 3)`, or a float tensor `(b, f, c, h, w)` in [-1, 1]."""
    fps: float | None = None
    """Frames per second, where a file says so."""

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.pixels)

    @property
    def frames(self) -> int:
        """Frames of each clip."""
        return self.pixels.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        rows = 2 if isinstance(self.pixels, np.ndarray) else 3
        height, width = self.pixels.shape[rows : rows + 2]
        return height, width

    def to_float(self, channels: int = 3) -> Tensor:
        """Return float32 `(b, f, c, h, w)` in [-1, 1].

        Raises:
            InputError: for a tensor with another number of channels.
        """
        if isinstance(self.pixels, np.ndarray):
            return to_float(self.pixels, channels)
        if self.pixels.shape[2] != channels:
            raise InputError(
                "video",
                f"a tensor with {self.pixels.shape[2]} channels, {tuple(self.pixels.shape)}",
                f"{channels} channels, in the order (b, f, c, h, w)",
                "reorder the axes, or convert it",
            )
        return self.pixels.float()

    def to_uint8(self) -> np.ndarray:
        """Return uint8 RGB `(b, f, h, w, 3)`."""
        return self.pixels if isinstance(self.pixels, np.ndarray) else to_uint8(self.pixels)


def take_clips(source: ClipSource, where: str = "video") -> Clips:
    """Read a user's clip, or a list of them.

    Args:
        source: see `ClipSource`.
        where: its name in messages.

    Raises:
        InputError: for another form, another range of values, or no frames.
        MediaError: for a file that cannot be read.
    """
    if isinstance(source, str | Path):
        frames, fps = read_video(source)
        return Clips(frames[None], fps)
    if isinstance(source, np.ndarray | Tensor):
        clips = Clips(_batched(source, where))
    elif isinstance(source, Sequence) and len(source) > 0:
        clips = _joined(source, where)
    else:
        raise InputError(where, _described(source), FORMS, "convert it")
    if 0 in clips.pixels.shape:
        raise InputError(
            where,
            f"no frames: shape {tuple(clips.pixels.shape)}",
            "at least one frame with pixels",
            "choose another clip",
        )
    return clips


def take_pictures(source: Picture | Sequence[Picture], where: str = "image") -> list[Clips]:
    """Read a picture, or a list of them, as clips of one frame; their sizes may differ.

    Raises:
        InputError: for another form or range of values.
        MediaError: for a file that cannot be read.
    """
    if isinstance(source, str) or not isinstance(source, Sequence):
        return [_picture(source, where)]
    if not source:
        raise InputError(where, "an empty list", "at least one picture", "leave it out")
    return [_picture(picture, where) for picture in source]


def _picture(source: Any, where: str) -> Clips:
    if isinstance(source, str | Path):
        return Clips(read_image(source)[None, None])
    if hasattr(source, "convert"):  # a PIL image, without importing PIL to ask
        return Clips(from_image(source)[None, None])
    if not isinstance(source, np.ndarray | Tensor) or source.ndim != 3:
        raise InputError(where, _described(source), PICTURE_FORMS, "convert it")
    return take_clips(source[None], where)


def _batched(array: np.ndarray | Tensor, where: str) -> np.ndarray | Tensor:
    """Check one array and give it a batch axis."""
    if isinstance(array, Tensor):
        _check_tensor(array, where)
    else:
        _check_array(array, where)
    return array[None] if array.ndim == 4 else array


def _check_tensor(tensor: Tensor, where: str) -> None:
    if tensor.ndim not in (4, 5):
        raise InputError(where, _described(tensor), FORMS, "reorder or add axes")
    if not tensor.is_floating_point():
        raise InputError(
            where,
            _described(tensor),
            "floats in [-1, 1] in a tensor",
            "convert it: video.float() / 127.5 - 1, channels before height",
        )
    low, high = (v.item() for v in torch.aminmax(tensor)) if tensor.numel() else (0.0, 0.0)
    if not (-1 - ROUNDING <= low <= high <= 1 + ROUNDING):  # NaN fails as well
        raise InputError(
            where,
            f"values from {low:g} to {high:g}",
            "floats in [-1, 1]",
            "scale it: video / 127.5 - 1 from 0 to 255, video * 2 - 1 from 0 to 1",
        )


def _check_array(array: np.ndarray, where: str) -> None:
    if array.dtype != np.uint8:
        raise InputError(
            where,
            _described(array),
            "uint8 in an array, or a float tensor in [-1, 1]",
            "convert it: (video * 255).round().astype('uint8') from 0 to 1",
        )
    if array.ndim not in (4, 5) or array.shape[-1] != 3:
        raise InputError(where, _described(array), FORMS, "reorder or add axes")


def _joined(source: Sequence[Any], where: str) -> Clips:
    """Join a list: of frames to one clip, or of clips to a batch."""
    first = source[0]
    if hasattr(first, "convert") or (isinstance(first, np.ndarray) and first.ndim == 3):
        frames = [_picture(frame, where).pixels[0, 0] for frame in source]
        return Clips(_batched(np.stack(_alike(frames, where)), where))
    clips = [take_clips(clip, where) for clip in source]
    _alike([clip.pixels for clip in clips], where)
    if any(clip.fps != clips[0].fps for clip in clips):
        rates = [clip.fps for clip in clips]
        raise InputError(where, f"frame rates {rates}", "one rate", "call once for each file")
    parts: list[Any] = [clip.pixels for clip in clips]
    join = np.concatenate if isinstance(parts[0], np.ndarray) else torch.cat
    return Clips(join(parts), clips[0].fps)


def _alike(parts: list[Any], where: str) -> list[Any]:
    """Return the parts if they can be stacked.

    Raises:
        InputError: if not.
    """
    kinds = {(isinstance(part, np.ndarray), tuple(part.shape[1:])) for part in parts}
    shapes = {tuple(part.shape) for part in parts}
    if len(kinds) > 1 or len(shapes) > 1:
        raise InputError(
            where,
            f"shapes {sorted(shapes)}"[:120],
            "frames of one size, or clips of one shape and kind",
            "resize them, or call once for each",
        )
    return parts


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray | Tensor):
        return f"{type(value).__name__} of {value.dtype}, shape {tuple(value.shape)}"
    return f"a {type(value).__name__}: {value!r}"[:80]
