from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imagen_video.errors import InputError, MediaError
from imagen_video.evaluation.material.clips import (
    Clip,
    check_same_shape,
    clip_times,
    read_clip,
    reduced,
    through_codec,
)
from imagen_video.media.pictures import write_animation
from imagen_video.media.video_writer import write_video


def noise(frames: int, height: int = 24, width: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("frames", "fps", "judged"),
    [
        (16, 3, tuple(range(16))),
        (32, 6, tuple(range(0, 32, 2))),
        (128, 24, tuple(range(0, 128, 8))),
        (4, 3, (0, 1, 2, 3)),
        (1, 3, (0,)),
        (300, 24, tuple(range(0, 128, 8))),
        (60, 12, tuple(range(0, 60, 4))),
    ],
)
def test_the_same_moments_are_judged_at_every_stage(
    frames: int, fps: float, judged: tuple[int, ...]
) -> None:
    clip = Clip(frames=np.zeros((frames, 2, 2, 3), np.uint8), times=clip_times(frames, fps))
    assert clip.judged == judged


def test_an_animation_with_equal_neighbours_comes_back_whole(tmp_path: Path) -> None:
    frames = noise(3)[[0, 0, 0, 1, 2, 2]]
    write_animation(tmp_path / "a.png", frames, 3.0)
    clip = read_clip(tmp_path / "a.png", frames=6, fps=3.0)
    np.testing.assert_array_equal(clip.frames, frames)
    assert clip.times == (0, 8, 16, 24, 32, 40)


def test_a_video_is_read_at_its_own_rate_and_large_ones_are_shrunk(tmp_path: Path) -> None:
    frames = np.repeat(noise(1, 8, 12).repeat(48, 1).repeat(48, 2), 4, 0)
    write_video(tmp_path / "a.mp4", frames, 6)
    clip = read_clip(tmp_path / "a.mp4")
    assert clip.shape == (4, 192, 288)
    assert clip.times == (0, 4, 8, 12)
    assert np.abs(clip.frames.astype(int) - reduced(frames)).mean() < 8


def test_a_video_that_is_too_short_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", noise(4), 6)
    with pytest.raises(MediaError, match="8 frames"):
        read_clip(tmp_path / "a.mp4", frames=8, fps=6)


def test_real_clips_go_through_the_codec_of_given_videos() -> None:
    clip = Clip(frames=noise(4), times=clip_times(4, 6))
    coded = through_codec(clip)
    assert coded.shape == clip.shape
    assert coded.times == clip.times
    assert 0 < np.abs(coded.frames.astype(int) - clip.frames).mean() < 60


def test_clips_of_different_shapes_are_refused() -> None:
    check_same_shape([(2, 3, 4)] * 2, ["a", "b"])
    with pytest.raises(InputError, match="clip b: got 2x3x5; expected 2x3x4 as a"):
        check_same_shape([(2, 3, 4), (2, 3, 5)], ["a", "b"])
