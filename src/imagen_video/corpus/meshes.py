"""Solids built in code: triangles with normals and a two-tone pattern, so that their turning shows.

Meshes are centred on the y axis (up), about which they turn, and fit the unit sphere. Neither the
winding of triangles nor the sign of normals matters: the rasteriser keeps the nearest surface and
turns normals towards the eye.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Triangles of one solid."""

    corners: np.ndarray
    """float64 (n, 3, 3): triangle, corner, xyz."""
    normals: np.ndarray
    """float64 (n, 3, 3): unit normal at every corner; equal within a flat triangle."""
    accent: np.ndarray
    """bool (n,): True where the pattern has the accent colour instead of the tint."""


def _flat(corners: np.ndarray) -> Mesh:
    """A plain mesh with one normal a triangle.

    Args:
        corners: (n, 3, 3).
    """
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    return Mesh(
        corners=corners,
        normals=np.repeat(normal[:, None], 3, axis=1),
        accent=np.zeros(len(corners), dtype=bool),
    )


def _quads(values: np.ndarray) -> np.ndarray:
    """Cut a grid (m, n, 3) of points or normals into triangles (2 (m-1) (n-1), 3, 3)."""
    a, b, c, d = values[:-1, :-1], values[1:, :-1], values[1:, 1:], values[:-1, 1:]
    halves = [np.stack([a, b, c], axis=2), np.stack([a, c, d], axis=2)]
    return np.concatenate([half.reshape(-1, 3, 3) for half in halves])


def _smooth(
    surface: Callable[[np.ndarray, np.ndarray], np.ndarray],
    steps: tuple[int, int],
    accent: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> Mesh:
    """A smooth surface over a grid of (u, v) in 0..1; normals by central differences."""
    u, v = np.meshgrid(
        np.linspace(0, 1, steps[0] + 1), np.linspace(0, 1, steps[1] + 1), indexing="ij"
    )
    step = 1e-4
    inner = np.clip(v, 2 * step, 1 - 2 * step)  # poles have no normal of their own
    du = surface(u + step, inner) - surface(u - step, inner)
    dv = surface(u, inner + step) - surface(u, inner - step)
    normal = np.cross(du, dv)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-15)
    middle_u, middle_v = (u[:-1, :-1] + u[1:, 1:]) / 2, (v[:-1, :-1] + v[1:, 1:]) / 2
    marks = accent(middle_u, middle_v) if accent else np.zeros(middle_u.shape, dtype=bool)
    return Mesh(
        corners=_quads(surface(u, v)),
        normals=_quads(normal),
        accent=np.tile(marks.reshape(-1), 2),
    )


def _joined(*parts: Mesh) -> Mesh:
    return Mesh(
        corners=np.concatenate([part.corners for part in parts]),
        normals=np.concatenate([part.normals for part in parts]),
        accent=np.concatenate([part.accent for part in parts]),
    )


def _fan(outline: np.ndarray, apex: np.ndarray) -> np.ndarray:
    """Triangles from every edge of a closed outline (n, 3) to a point."""
    following = np.roll(outline, -1, axis=0)
    return np.stack([outline, following, np.broadcast_to(apex, outline.shape)], axis=1)


def _extruded(outline: np.ndarray, depth: float, middle: tuple[float, float]) -> Mesh:
    """A flat shape (n, 2) given thickness; `middle` must see every point of its outline."""
    faces = []
    for z in (-depth / 2, depth / 2):
        ring = np.column_stack([outline, np.full(len(outline), z)])
        faces.append((ring, _fan(ring, np.array([*middle, z]))))
    (back, back_cap), (front, front_cap) = faces
    wall = np.stack([back, front], axis=0)
    wall = np.concatenate([wall, wall[:, :1]], axis=1)
    return _flat(np.concatenate([back_cap, front_cap, _quads(wall)]))


def _circle(radius: float, y: float, count: int) -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, count, endpoint=False)
    return np.stack([radius * np.sin(angles), np.full(count, y), radius * np.cos(angles)], axis=-1)


def _gores(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Every other sixth of the way around has the accent colour."""
    del v
    return np.floor(u * 6) % 2 == 1


def cube() -> Mesh:
    """Six square faces."""
    half = 0.577
    faces = []
    for axis in range(3):
        for side in (-half, half):
            square = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
            faces.append(np.insert(square, axis, side, axis=1))
    return _flat(np.concatenate([face[[[0, 1, 2], [0, 2, 3]]] for face in faces]))


def ball() -> Mesh:
    """A sphere with three gores in the accent colour, like a beach ball."""

    def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        around, down = 2 * math.pi * u, math.pi * v
        return 0.9 * np.stack(
            [np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)], axis=-1
        )

    return _smooth(surface, (42, 20), _gores)


def pyramid() -> Mesh:
    """A square base and four sides."""
    base = _circle(0.82, -0.55, 4)
    sides = _fan(base, np.array([0.0, 0.95, 0.0]))
    return _flat(np.concatenate([sides, base[[[0, 1, 2], [0, 2, 3]]]]))


def cylinder() -> Mesh:
    """A round body with stripes and plain lids."""
    radius, half = 0.62, 0.76

    def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        around = 2 * math.pi * u
        return np.stack(
            [radius * np.sin(around), half * (1 - 2 * v), radius * np.cos(around)], axis=-1
        )

    lids = [_fan(_circle(radius, y, 48), np.array([0.0, y, 0.0])) for y in (-half, half)]
    return _joined(_smooth(surface, (48, 1), _gores), _flat(np.concatenate(lids)))


def cone() -> Mesh:
    """A round base and a striped side."""

    def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        around, radius = 2 * math.pi * u, 0.78 * v
        return np.stack(
            [radius * np.sin(around), 0.95 - 1.55 * v, radius * np.cos(around)], axis=-1
        )

    base = _fan(_circle(0.78, -0.6, 48), np.array([0.0, -0.6, 0.0]))
    return _joined(_smooth(surface, (48, 4), _gores), _flat(base))


def ring() -> Mesh:
    """A torus that stands upright, so that turning closes and opens its hole."""

    def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        around, tube = 2 * math.pi * u, 2 * math.pi * v
        radius = 0.66 + 0.27 * np.cos(tube)
        return np.stack(
            [radius * np.cos(around), radius * np.sin(around), 0.27 * np.sin(tube)], axis=-1
        )

    return _smooth(surface, (40, 16))


def star() -> Mesh:
    """A five-pointed star with thickness."""
    angles = math.pi / 2 + np.arange(10) * math.pi / 5
    radius = np.where(np.arange(10) % 2 == 0, 0.96, 0.42)
    outline = np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=-1)
    return _extruded(outline, 0.36, (0.0, 0.0))


def heart() -> Mesh:
    """A heart with thickness, from the well-known sine curve."""
    t = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return _extruded(np.stack([x, y + 2.5], axis=-1) / 18.8, 0.42, (0.0, 0.1))


def cross() -> Mesh:
    """A plus sign with thickness."""
    arm, half = 0.92, 0.3
    corner = [(half, arm), (half, half), (arm, half)]
    outline = [
        point for turn in range(4) for point in ((_quarter_turns(x, y, -turn)) for x, y in corner)
    ]
    return _extruded(np.array(outline), 0.5, (0.0, 0.0))


def _quarter_turns(x: float, y: float, turns: int) -> tuple[float, float]:
    for _ in range(turns % 4):
        x, y = -y, x
    return x, y


def arrow() -> Mesh:
    """An arrow that points up, with thickness."""
    outline = np.array(
        [
            (0, 0.95),
            (0.75, 0.1),
            (0.28, 0.1),
            (0.28, -0.9),
            (-0.28, -0.9),
            (-0.28, 0.1),
            (-0.75, 0.1),
        ]
    )
    return _extruded(outline, 0.4, (0.0, 0.2))


def diamond() -> Mesh:
    """Two pyramids base to base."""
    belt = _circle(0.7, 0.0, 4)
    return _flat(np.concatenate([_fan(belt, np.array([0.0, tip, 0.0])) for tip in (-0.95, 0.95)]))


def gem() -> Mesh:
    """A cut stone: a table, a crown and a pointed pavilion with eight sides."""
    table, girdle = _circle(0.55, 0.62, 8), _circle(0.95, 0.25, 8)
    top = _fan(table, np.array([0.0, 0.62, 0.0]))
    wall = np.stack([table, girdle], axis=0)
    wall = np.concatenate([wall, wall[:, :1]], axis=1)
    bottom = _fan(girdle, np.array([0.0, -0.85, 0.0]))
    return _flat(np.concatenate([top, _quads(wall), bottom]))


SOLIDS: dict[str, Callable[[], Mesh]] = {
    "cube": cube,
    "ball": ball,
    "pyramid": pyramid,
    "cylinder": cylinder,
    "cone": cone,
    "ring": ring,
    "star": star,
    "heart": heart,
    "cross": cross,
    "arrow": arrow,
    "diamond": diamond,
    "gem": gem,
}
"""Name, as captions say it -> the function that builds it."""
