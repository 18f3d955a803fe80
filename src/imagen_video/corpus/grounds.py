"""What lies behind the subject: plain colours and named gradients.

A ground's name appears in the caption, so every name must be told apart by eye from every other:
the tones are far apart, and the random change of tone (`MAX_TONE_SHIFT`) stays well below that
distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RGB = tuple[int, int, int]

MAX_TONE_SHIFT = 0.06
"""Largest relative change of brightness from scene to scene; small enough that blue stays blue."""


@dataclass(frozen=True, kw_only=True)
class Ground:
    """One named ground."""

    phrase: str
    """How captions call it, with an article and without the word background: `a sunset
    gradient`."""
    stops: tuple[RGB, ...]
    """One colour for a plain ground, two or more equally spaced ones for a gradient."""
    direction: str = "plain"
    """`plain`, `down` (first stop at the top) or `right` (first stop at the left)."""


GROUNDS: dict[str, Ground] = {
    "white": Ground(phrase="a white", stops=((244, 244, 244),)),
    "grey": Ground(phrase="a grey", stops=((128, 128, 132),)),
    "black": Ground(phrase="a black", stops=((18, 18, 20),)),
    "red": Ground(phrase="a red", stops=((200, 36, 40),)),
    "orange": Ground(phrase="an orange", stops=((244, 136, 28),)),
    "yellow": Ground(phrase="a yellow", stops=((252, 220, 60),)),
    "green": Ground(phrase="a green", stops=((52, 160, 72),)),
    "sky blue": Ground(phrase="a sky blue", stops=((132, 206, 250),)),
    "blue": Ground(phrase="a blue", stops=((36, 72, 208),)),
    "purple": Ground(phrase="a purple", stops=((124, 56, 184),)),
    "pink": Ground(phrase="a pink", stops=((250, 158, 196),)),
    "brown": Ground(phrase="a brown", stops=((118, 74, 42),)),
    "sunset gradient": Ground(
        phrase="a sunset gradient",
        stops=((88, 44, 128), (232, 92, 96), (255, 196, 96)),
        direction="down",
    ),
    "ocean gradient": Ground(
        phrase="an ocean gradient",
        stops=((150, 232, 240), (24, 130, 190), (8, 32, 96)),
        direction="down",
    ),
    "night sky gradient": Ground(
        phrase="a night sky gradient",
        stops=((6, 8, 28), (28, 36, 104), (92, 84, 168)),
        direction="down",
    ),
    "blue to purple gradient": Ground(
        phrase="a blue to purple gradient",
        stops=((32, 88, 228), (156, 48, 196)),
        direction="right",
    ),
    "green to yellow gradient": Ground(
        phrase="a green to yellow gradient",
        stops=((32, 144, 72), (252, 226, 72)),
        direction="right",
    ),
    "pink to orange gradient": Ground(
        phrase="a pink to orange gradient",
        stops=((250, 120, 180), (255, 156, 48)),
        direction="right",
    ),
}
"""Every ground by name."""


def draw_ground(
    name: str, tone: float, size: tuple[int, int], crop: tuple[int, int, int, int]
) -> np.ndarray:
    """Draw a ground, or the part of it inside a crop.

    The colour of a pixel depends on its centre's place in the full frame only, so a crop equals the
    same region of the full picture.

    Args:
        name: a key of `GROUNDS`.
        tone: factor on all colours, about 1.
        size: (height, width) of the full frame in pixels.
        crop: (top, left, height, width) of the part to draw, in pixels of the full frame.

    Returns:
        uint8 array (height, width, 3) of the crop.
    """
    ground = GROUNDS[name]
    top, left, rows, columns = crop
    stops = np.clip(np.asarray(ground.stops, dtype=np.float64) * tone, 0, 255)
    picture = np.empty((rows, columns, 3), dtype=np.uint8)
    if ground.direction == "plain":
        picture[:] = np.rint(stops[0]).astype(np.uint8)
        return picture
    downwards = ground.direction == "down"
    begin, count, total = (top, rows, size[0]) if downwards else (left, columns, size[1])
    place = (np.arange(begin, begin + count) + 0.5) / total
    knots = np.linspace(0, 1, len(stops))
    line = np.stack([np.interp(place, knots, stops[:, channel]) for channel in range(3)], axis=-1)
    line = np.rint(line).astype(np.uint8)
    picture[:] = line[:, None] if downwards else line[None]
    return picture
