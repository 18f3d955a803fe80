from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imagen_video.media.video_io import write_video


def moving_square(num_frames: int, height: int, width: int) -> np.ndarray:
    """A bright square that moves right over a smooth ground; every frame differs."""
    ramp = np.linspace(40, 90, width)[None, :, None] * np.ones((height, 1, 3))
    frames = np.repeat(ramp[None], num_frames, axis=0)
    for index in range(num_frames):
        left = index * (width - 8) // max(1, num_frames - 1)
        frames[index, 4:12, left : left + 8] = (230, 120, 40)
    return frames.round().astype(np.uint8)


@pytest.fixture(scope="session")
def clip() -> np.ndarray:
    return moving_square(16, 24, 40)


@pytest.fixture(scope="session")
def mp4(clip: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mp4") / "clip.mp4"
    write_video(path, clip, fps=24, metadata={"prompt": "a square", "seed": 3})
    return path
