"""Pictures with a known ground and motion: a two-coloured rectangle on a named ground."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from imagen_video.corpus.grounds import draw_ground
from imagen_video.corpus.motions import pose_at, track_for
from imagen_video.corpus.sprites import SpriteStore
from unit.corpus.conftest import write_store

TIMES = tuple(range(0, 128, 8))
"""The frames of the base model."""
ROOT = Path(__file__).resolve().parents[3]


def script(folder: str, name: str) -> ModuleType:
    """Import a script that lies beside the package."""
    if str(ROOT / folder) not in sys.path:
        sys.path.insert(0, str(ROOT / folder))
    return importlib.import_module(name)


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


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> SpriteStore:
    """The small store of the corpus tests, open."""
    pytest.importorskip("cv2")
    return SpriteStore.open(write_store(tmp_path_factory.mktemp("corpus") / "store"))


def thumbnails(frames: np.ndarray) -> torch.Tensor:
    """Features of frames: their departure from the corner's colour, on 12x12 pixels."""
    values = torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1).float() / 255
    values = values - values[:, :, :1, :1]
    small = torch.nn.functional.interpolate(values, (12, 12), mode="bilinear", antialias=True)
    return small.flatten(1)
