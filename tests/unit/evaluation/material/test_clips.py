from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imagen_video.errors import InputError, MediaError
from imagen_video.evaluation.material.clips import (
    Clip,
    check_alike,
    clip_times,
    rate_of,
    read_clip,
    reduced,
    through_codec,
)
from imagen_video.media.pictures import write_animation, write_png
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
    frames = noise(4)
    coded = through_codec([frames[:3], frames[3:]], rate_of(clip_times(4, 6)))
    assert coded.shape == frames.shape
    assert 0 < np.abs(coded.astype(int) - frames).mean() < 60


def blank(*shape: int, fps: float = 3, source: tuple[int, int] | None = None) -> Clip:
    frames = np.zeros((*shape, 3), np.uint8)
    return Clip(frames=frames, times=clip_times(shape[0], fps), source=source)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (blank(2, 3, 5), "clip b: got 2x3x5; expected 2x3x4 as a"),
        (blank(2, 3, 4, fps=6), "clip b: got 6 frames per second; expected 3 as a"),
        (blank(2, 3, 4, source=(6, 8)), "clip b: got made at 6x8; expected 3x4 as a"),
    ],
)
def test_clips_that_differ_are_refused(other: Clip, said: str) -> None:
    first = blank(2, 3, 4)
    check_alike(blank(2, 3, 4, fps=3.01), "b", first, "a")
    with pytest.raises(InputError, match=said):
        check_alike(other, "b", first, "a")


def test_every_frame_of_a_gif_is_found_though_its_times_are_rounded(tmp_path: Path) -> None:
    # grey levels, each its own, but for equal neighbours here and there, which are stored as one
    levels = np.arange(128, dtype=np.uint8)
    levels[[7, 60, 127]] = levels[[6, 59, 126]]
    frames = np.broadcast_to(levels[:, None, None, None], (128, 8, 8, 3))
    write_animation(tmp_path / "a.gif", frames, 24)
    clip = read_clip(tmp_path / "a.gif", frames=128, fps=24)
    np.testing.assert_array_equal(clip.frames[:, 0, 0, 0], levels)


def test_a_file_with_all_its_frames_gives_each_once_whatever_its_times(tmp_path: Path) -> None:
    frames = np.broadcast_to(np.arange(128, dtype=np.uint8)[:, None, None, None], (128, 8, 8, 3))
    write_animation(tmp_path / "a.gif", frames, 25)  # as a writer that knows 40 ms only
    clip = read_clip(tmp_path / "a.gif", frames=128, fps=24)
    np.testing.assert_array_equal(clip.frames, frames)
    assert clip.times == clip_times(128, 24)


def test_a_picture_that_is_shorter_than_its_json_is_refused(tmp_path: Path) -> None:
    write_animation(tmp_path / "a.png", noise(5), 6)
    with pytest.raises(MediaError, match=r"5 frames that last 0\.833 seconds; expected 6 frames"):
        read_clip(tmp_path / "a.png", frames=6, fps=6)
    write_png(tmp_path / "sheet.png", noise(1)[0])
    with pytest.raises(MediaError, match="1 frames"):
        read_clip(tmp_path / "sheet.png", frames=128, fps=24)


@pytest.mark.parametrize(("name", "fps"), [("a.gif", 24), ("a.gif", 6), ("a.png", 24)])
def test_an_animation_tells_its_rate_by_its_whole_length(
    tmp_path: Path, name: str, fps: float
) -> None:
    write_animation(tmp_path / name, noise(32), fps)
    assert read_clip(tmp_path / name).times == clip_times(32, fps)


def test_an_animation_with_a_longer_frame_does_not_tell_its_rate(tmp_path: Path) -> None:
    write_animation(tmp_path / "a.png", noise(3)[[0, 0, 1, 2]], 6)
    with pytest.raises(MediaError, match="frames of 167 to 333 milliseconds"):
        read_clip(tmp_path / "a.png")


def test_a_clip_knows_the_size_at_which_it_was_made(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", np.zeros((2, 384, 640, 3), np.uint8), 3)
    clip = read_clip(tmp_path / "a.mp4")
    assert (clip.shape, clip.size) == ((2, 192, 320), (384, 640))
    # evaluate keeps clips as they are judged: the JSON file says how they were made
    write_animation(tmp_path / "b.png", noise(2, 192, 320), 3)
    assert read_clip(tmp_path / "b.png", frames=2, fps=3, size=(768, 1280)).size == (768, 1280)
    assert read_clip(tmp_path / "b.png", frames=2, fps=3, size=(48, 80)).size == (192, 320)
