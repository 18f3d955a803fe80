"""Turntables: a small z-buffer rasteriser that draws solids whose colour is chosen later.

A pixel holds three shares instead of a colour: colour = red * tint + green * accent + blue * white,
all premultiplied with the coverage. One turntable therefore serves every colour. Shading is
Lambert's law with some ambient light and a small white highlight (Blinn-Phong).
"""

from __future__ import annotations

import math

import numpy as np

from imagen_video.corpus.meshes import Mesh

TURN_FRAMES = 72
"""Frames of one full turn: 3 seconds at 24 fps."""

EYE_DISTANCE = 4.5
PITCH_DEGREES = 22.0
"""The camera looks down at the solid from this far (in radii of its sphere) and this high."""

AMBIENT = 0.74
HIGHLIGHT = 0.24
SHININESS = 24
LIGHT = np.array([-0.4, 0.4, 0.85]) / np.linalg.norm([-0.4, 0.4, 0.85])
"""Towards the light in the camera's frame: from the upper left, mostly in front. The ambient share
is large because a pink solid in the shade must not look purple, nor an orange one brown."""


def turntable(mesh: Mesh, side: int, frames: int = TURN_FRAMES, oversample: int = 2) -> np.ndarray:
    """Draw one full turn about the vertical axis; the front moves from left to right.

    Args:
        mesh: the solid.
        side: side of the cell in pixels.
        frames: number of frames of the turn.
        oversample: draw this many times larger and average.

    Returns:
        uint8 (frames, side, side, 4): shares of tint, accent and white, coverage.
    """
    drawn = np.empty((frames, side, side, 4), dtype=np.uint8)
    for number in range(frames):
        large = draw_solid(mesh, 2 * math.pi * number / frames, side * oversample)
        blocks = large.reshape(side, oversample, side, oversample, 4).mean(axis=(1, 3))
        drawn[number] = np.rint(255 * blocks).astype(np.uint8)
    return drawn


def draw_solid(mesh: Mesh, turn: float, side: int) -> np.ndarray:
    """Draw one view with a z-buffer.

    Args:
        mesh: the solid.
        turn: radians about the vertical axis.
        side: pixels.

    Returns:
        float32 (side, side, 4) in 0..1: shares of tint, accent and white, coverage (0 or 1).
    """
    view = _view(turn)
    corners, normals = mesh.corners @ view.T, mesh.normals @ view.T
    depth = EYE_DISTANCE - corners[..., 2]
    # A sphere of radius 1 just fills 97 % of the cell under this perspective.
    focal = 0.97 * math.sqrt(EYE_DISTANCE**2 - 1) * side / 2
    x = side / 2 + focal * corners[..., 0] / depth
    y = side / 2 - focal * corners[..., 1] / depth
    buffer = np.zeros((side, side), dtype=np.float64)  # largest 1/depth so far
    normal_map = np.zeros((side, side, 3))
    accent_map = np.zeros((side, side), dtype=bool)
    for number in range(len(corners)):
        _fill(
            (x[number], y[number], 1 / depth[number]),
            normals[number],
            bool(mesh.accent[number]),
            (buffer, normal_map, accent_map),
        )
    return _shade(buffer > 0, normal_map, accent_map)


def _view(turn: float) -> np.ndarray:
    """Rotation from the solid's frame to the camera's: turn about y, then tilt about x."""
    cos, sin = math.cos(turn), math.sin(turn)
    about_y = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    pitch = math.radians(PITCH_DEGREES)
    cos, sin = math.cos(pitch), math.sin(pitch)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ about_y


def _fill(
    projected: tuple[np.ndarray, np.ndarray, np.ndarray],
    normals: np.ndarray,
    accent: bool,
    buffers: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Draw one triangle into the buffers where it is nearer than what is there."""
    x, y, nearness = projected
    nearest, normal_map, accent_map = buffers
    side = len(nearest)
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    left, right = max(0, math.floor(x.min())), min(side, math.ceil(x.max()) + 1)
    top, bottom = max(0, math.floor(y.min())), min(side, math.ceil(y.max()) + 1)
    if abs(area) < 1e-9 or left >= right or top >= bottom:
        return
    px = np.arange(left, right)[None] + 0.5
    py = np.arange(top, bottom)[:, None] + 0.5
    second = ((px - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (py - y[0])) / area
    third = ((x[1] - x[0]) * (py - y[0]) - (px - x[0]) * (y[1] - y[0])) / area
    first = 1 - second - third
    value = first * nearness[0] + second * nearness[1] + third * nearness[2]
    window = (slice(top, bottom), slice(left, right))
    # The small allowance closes hairline gaps between neighbours.
    inside = (np.minimum(np.minimum(first, second), third) >= -1e-6) & (value > nearest[window])
    if not inside.any():
        return
    weights = np.stack([first[inside], second[inside], third[inside]], axis=-1)
    nearest[window][inside] = value[inside]
    normal_map[window][inside] = weights @ normals
    accent_map[window][inside] = accent


def _shade(covered: np.ndarray, normals: np.ndarray, accent: np.ndarray) -> np.ndarray:
    """Shares of tint, accent and white from normals in the camera's frame."""
    normals = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    normals = np.where(normals[..., 2:] < 0, -normals, normals)
    lambert = np.maximum(normals @ LIGHT, 0)
    shade = AMBIENT + (1 - AMBIENT) * lambert
    middle = LIGHT + np.array([0.0, 0.0, 1.0])
    shine = np.maximum(normals @ (middle / np.linalg.norm(middle)), 0) ** SHININESS
    white = HIGHLIGHT * shine * lambert
    # The shares add up to at most 1, so no colour is brighter than its coverage allows.
    shade = np.minimum(shade, 1 - white)
    picture = np.zeros((*covered.shape, 4), dtype=np.float32)
    picture[..., 0] = covered * ~accent * shade
    picture[..., 1] = covered * accent * shade
    picture[..., 2] = covered * white
    picture[..., 3] = covered
    return picture
