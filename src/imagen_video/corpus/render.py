"""Draw frames of a scene at any size, or only a crop of them.

Everything in a scene is in units of the frame's height, so a scene looks the same at 24x40 and at
768x1280; a pixel's value depends on its place in the full frame only, so a crop equals that region
of the full picture. Sampling is bilinear on the best of four stored sizes; small frames are drawn
larger and averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from imagen_video.corpus.extra import load
from imagen_video.corpus.grounds import draw_ground
from imagen_video.corpus.motions import ASPECT, Pose, pose_at
from imagen_video.errors import DataError

if TYPE_CHECKING:
    from imagen_video.corpus.scene import Layer, Scene
    from imagen_video.corpus.sprites import Sprite, SpriteStore

Crop = tuple[int, int, int, int]
"""(top, left, height, width) in pixels of the full frame."""

MAX_SIDE = 8192
"""Largest height or width that is drawn."""


def oversampling(height: int) -> int:
    """How many times larger a frame is drawn before averaging down, by its height in pixels."""
    if height <= 48:
        return 4
    return 2 if height <= 96 else 1


def accent_of(tint: Sequence[int]) -> tuple[float, ...]:
    """The second colour of a patterned solid: lighter than the tint, but darker for white.

    Args:
        tint: RGB, 0..255.
    """
    if min(tint) > 220:
        return tuple(0.76 * channel for channel in tint)
    lighter = 0.22 if max(tint) < 60 else 0.42  # black must stay black
    return tuple(channel + lighter * (255 - channel) for channel in tint)


def render(
    scene: Scene,
    store: SpriteStore,
    frames: Sequence[float],
    height: int,
    width: int,
    crop: Crop | None = None,
) -> np.ndarray:
    """Draw some frames of a scene.

    Args:
        scene: what to draw.
        store: the sprites that the scene was made for.
        frames: source frames at 24 fps, any order, 0..127 for the shipped cascade; fractions are
            allowed.
        height: full frame in pixels.
        width: full frame in pixels.
        crop: the part to draw; the whole frame if None.

    Returns:
        uint8 RGB (f, h, w, 3), h and w those of the crop.

    Raises:
        DataError: if the size is out of range, the crop leaves the frame, or the store lacks a
            sprite.
    """
    cv2 = load("cv2")
    crop = _checked(height, width, crop)
    factor = oversampling(height)
    top, left, rows, columns = (factor * edge for edge in crop)
    ground = draw_ground(
        scene.ground, scene.tone, (height * factor, width * factor), (top, left, rows, columns)
    )
    unit = factor * min(height, width / ASPECT)
    # Origin of the layout's coordinates (its box is centred in the frame) in pixels of the crop.
    origin = (
        factor * width / 2 - unit * ASPECT / 2 - left,
        factor * height / 2 - unit / 2 - top,
    )
    layers = [(layer, _find(store, layer.sprite)) for layer in scene.layers]
    drawn = np.empty((len(frames), crop[2], crop[3], 3), dtype=np.uint8)
    for number, frame in enumerate(frames):
        canvas = ground.copy()
        for layer, sprite in layers:
            pose = pose_at(layer.track, frame)
            if pose is not None:
                picture, matrix = _placement(store, layer, sprite, pose, frame, unit, origin)
                _paint(canvas, picture, matrix, layer.tint if sprite.tinted else None)
        if factor == 1:
            drawn[number] = canvas
        else:
            cv2.resize(canvas, (crop[3], crop[2]), dst=drawn[number], interpolation=cv2.INTER_AREA)
    return drawn


def _checked(height: int, width: int, crop: Crop | None) -> Crop:
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise DataError(
            "frame size", f"{height}x{width}", f"1..{MAX_SIDE} a side", "choose a smaller frame"
        )
    if crop is None:
        return (0, 0, height, width)
    top, left, rows, columns = crop
    inside = top >= 0 and left >= 0 and top + rows <= height and left + columns <= width
    if not inside or rows < 1 or columns < 1:
        raise DataError(
            "crop", str(tuple(crop)), f"a part of {height}x{width}", "keep the crop inside"
        )
    return (top, left, rows, columns)


def _find(store: SpriteStore, key: str) -> Sprite:
    sprite = store.sprites.get(key)
    if sprite is None:
        raise DataError(
            str(store.folder), f"no sprite {key!r}", "the store of this scene", "rebuild the corpus"
        )
    return sprite


def _placement(
    store: SpriteStore,
    layer: Layer,
    sprite: Sprite,
    pose: Pose,
    frame: float,
    unit: float,
    origin: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """The picture, and the 2x3 matrix from its pixels to the canvas's (pixel centres at .5)."""
    side = max(pose.size * unit, 1e-3)
    level = store.level_for(side)
    picture = store.frame(sprite, math.floor(frame) + layer.phase, level)
    scale, turn = side / level, math.radians(pose.degrees)
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    left, top, right, bottom = sprite.box
    anchor_x, anchor_y = (left + right) / 2 * level, (top + bottom) / 2 * level
    x, y = origin[0] + pose.x * unit, origin[1] + pose.y * unit
    turned = np.array([[cos, -sin], [sin, cos]])
    if layer.mirrored:
        turned[:, 0] *= -1
    place = np.array([x, y]) - turned @ np.array([anchor_x, anchor_y])
    return picture, np.column_stack([turned, place])


def _paint(
    canvas: np.ndarray, picture: np.ndarray, matrix: np.ndarray, tint: Sequence[int] | None
) -> None:
    """Lay a premultiplied picture over the canvas, touching only the rectangle that it covers."""
    cv2 = load("cv2")
    level = picture.shape[0]
    corners = matrix @ np.array([[0, level, 0, level], [0, 0, level, level], [1, 1, 1, 1]])
    low = np.maximum(np.floor(corners.min(axis=1)) - 1, 0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=1)) + 1, canvas.shape[1::-1]).astype(int)
    if (high <= low).any():
        return
    # From whole-number pixel positions of the rectangle to those of the picture.
    shift = matrix[:, :2] @ np.array([0.5, 0.5]) + matrix[:, 2] - low - 0.5
    region = canvas[low[1] : high[1], low[0] : high[0]]
    warped = cv2.warpAffine(
        picture,
        np.column_stack([matrix[:, :2], shift]),
        (int(high[0] - low[0]), int(high[1] - low[1])),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    if tint is None:
        colour = np.ascontiguousarray(warped[..., :3])
    else:
        shares = zip(tint, accent_of(tint), strict=True)
        colour = cv2.transform(
            warped, np.array([[own / 255, other / 255, 1, 0] for own, other in shares])
        )
    uncovered = cv2.cvtColor(255 - warped[..., 3], cv2.COLOR_GRAY2RGB)
    region[:] = cv2.add(colour, cv2.multiply(region, uncovered, scale=1 / 255))
