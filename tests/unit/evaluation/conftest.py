"""Pictures with a known ground and motion: a two-coloured rectangle on a named ground."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imagen_video.corpus.grounds import draw_ground
from imagen_video.corpus.motions import pose_at, track_for

TIMES = tuple(range(0, 128, 8))
"""The frames of the base model."""


def rectangle_clip(motion: str, ground: str = "green", height: int = 48) -> np.ndarray:
    """A rectangle half black, half white, that moves in a named way."""
    width = height * 5 // 3
    track = track_for(motion, centre=(5 / 6, 0.5), size=0.5)
    rows, columns = np.mgrid[:height, :width]
    frames = []
    for time in TIMES:
        pose = pose_at(track, time)
        assert pose is not None
        x, y = (columns + 0.5) / height - pose.x, (rows + 0.5) / height - pose.y
        turn = math.radians(pose.degrees)
        across = x * math.cos(turn) + y * math.sin(turn)
        along = -x * math.sin(turn) + y * math.cos(turn)
        picture = draw_ground(ground, 1.0, (height, width), (0, 0, height, width)).copy()
        inside = (abs(across) < 0.5 * pose.size) & (abs(along) < 0.3 * pose.size)
        picture[inside & (across < 0)] = 0
        picture[inside & (across >= 0)] = 255
        frames.append(picture)
    return np.stack(frames)


@pytest.fixture(params=["green", "sunset gradient", "green to yellow gradient"])
def some_ground(request: pytest.FixtureRequest) -> str:
    return request.param
