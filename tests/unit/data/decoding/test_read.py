from __future__ import annotations

import bisect
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagen_video.data.clips.faults import ClipError
from imagen_video.data.clips.records import DataLimits, Record
from imagen_video.data.decoding.read import (
    GIF_TICK,
    TICK,
    frame_times,
    iter_frames,
    read_at_times,
    read_frames,
)
from imagen_video.errors import InputError
from imagen_video.media.pictures import write_animation, write_png
from unit.data.clip_files import add, mp4, numbered, numbers, only, timed_video

UNEVEN = [0, 40, 80, 240, 260, 700, 740, 760, 1000, 1040]
"""Milliseconds: pauses of up to 0.44 s, and frames 20 ms apart."""


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return only(timed_video(tmp_path_factory.mktemp("uneven") / "a.mp4", UNEVEN))


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """7.95 seconds, uneven, a key frame every 7 frames."""
    times = [160 * index + 70 * (index % 3) for index in range(50)]
    path = timed_video(tmp_path_factory.mktemp("long") / "a.mkv", times, key_frame_every=7)
    return only(path)


@pytest.fixture(scope="module")
def paused(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A picture held for 20 seconds, longer than any margin of a seek."""
    times = [0, 40, 80, *(20_000 + 40 * index for index in range(12))]
    return only(timed_video(tmp_path_factory.mktemp("paused") / "a.mp4", times, key_frame_every=2))


def test_frames_come_in_the_order_asked_for_and_may_repeat(tmp_path: Path) -> None:
    record = only(mp4(tmp_path / "a.mp4"))
    frames = read_frames(record, [7, 0, 7, 11, 3], channels=3)
    assert frames.dtype == np.uint8
    assert frames.shape == (5, 16, 24, 3)
    assert numbers(frames) == [7, 0, 7, 11, 3]


def test_a_member_of_a_tar_reads_like_the_file(tmp_path: Path) -> None:
    path = mp4(tmp_path / "a.mp4")
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        add(tar, "before.txt", b"x" * 700)
        add(tar, "a.mp4", path)
    for indices in ([0, 5], [11]):
        inside = read_frames(only(tmp_path / "t.tar"), indices, channels=3)
        np.testing.assert_array_equal(inside, read_frames(only(path), indices, channels=3))


def test_variable_frame_rates_go_by_presentation_time(uneven: Record) -> None:
    line = frame_times(uneven)
    assert line.times == pytest.approx([ms / 1000 for ms in UNEVEN], abs=1e-6)
    assert line.end > line.times[-1]
    # Constant steps in time are not constant steps in frames.
    frames = read_at_times(uneven, [0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.75, 1.0], channels=3)
    assert numbers(frames) == [0, 2, 2, 4, 4, 4, 6, 8]


@settings(max_examples=20)
@given(st.lists(st.integers(0, 104).map(lambda tens: 10 * tens), min_size=1, max_size=6))
def test_each_moment_shows_the_last_frame_that_has_started(
    uneven: Record, milliseconds: list[int]
) -> None:
    frames = read_at_times(uneven, [ms / 1000 for ms in milliseconds], channels=3)
    assert numbers(frames) == [bisect.bisect(UNEVEN, ms) - 1 for ms in milliseconds]


@settings(max_examples=12)
@given(st.lists(st.floats(0, 7.94), min_size=1, max_size=3))
def test_entering_a_file_at_a_key_frame_changes_nothing(long: Record, seconds: list[float]) -> None:
    times, whole = zip(*iter_frames(long), strict=True)
    expected = [whole[bisect.bisect(times, moment + TICK) - 1] for moment in seconds]
    np.testing.assert_array_equal(read_at_times(long, seconds, channels=3), np.stack(expected))


def test_a_frame_that_started_long_before_the_moment_is_found(paused: Record) -> None:
    moments = [19.9, 20.0, 20.05, 20.4]
    assert numbers(read_at_times(paused, moments, channels=3)) == [2, 3, 4, 13]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.avi"])
@pytest.mark.parametrize("fps", [24.0, 30.0])
def test_sampling_at_the_own_rate_gives_every_frame_once(
    tmp_path: Path, name: str, fps: float
) -> None:
    path = tmp_path / name
    if name == "a.mp4":
        mp4(path, 20, fps)
    else:
        from unit.media.test_video_io import write_with_pyav

        codec = {"a.mkv": "libx264", "a.webm": "libvpx-vp9", "a.avi": "mjpeg"}[name]
        pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        write_with_pyav(path, numbered(20), codec, pix_fmt)
        fps = 12.0
    frames = read_at_times(only(path), [index / fps for index in range(20)], channels=3)
    assert numbers(frames) == list(range(20))


def test_thirty_frames_a_second_feed_twenty_four(tmp_path: Path) -> None:
    record = only(mp4(tmp_path / "a.mp4", 30, 30.0))
    frames = read_at_times(record, [index / 24 for index in range(24)], channels=3)
    assert numbers(frames) == [index * 30 // 24 for index in range(24)]


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_animated_pictures_keep_their_own_durations(tmp_path: Path, name: str) -> None:
    from PIL import Image

    first, *rest = (Image.fromarray(frame) for frame in numbered(4))
    first.save(
        tmp_path / name, save_all=True, append_images=rest, duration=[100, 400, 50, 900], loop=0
    )
    record = only(tmp_path / name)
    line = frame_times(record)
    assert line.times == pytest.approx([0.0, 0.1, 0.5, 0.55])
    assert line.end == pytest.approx(1.45)
    moments = [0.0, 0.09, 0.11, 0.45, 0.52, 0.56, 1.4]
    assert numbers(read_at_times(record, moments, channels=3)) == [0, 0, 1, 1, 2, 3, 3]
    with pytest.raises(ClipError, match=r"1\.450 seconds"):
        read_at_times(record, [1.46], channels=3)


def test_a_gif_at_twenty_four_a_second_loses_nothing_to_its_rounding(tmp_path: Path) -> None:
    write_animation(tmp_path / "a.gif", numbered(24), fps=24)
    record = only(tmp_path / "a.gif")
    off = [abs(start - index / 24) for index, start in enumerate(frame_times(record).times)]
    assert 0.001 < max(off) <= GIF_TICK
    frames = read_at_times(record, [index / 24 for index in range(24)], channels=3)
    assert numbers(frames) == list(range(24))


def test_a_moment_past_the_end_is_an_error_and_no_frozen_picture(tmp_path: Path) -> None:
    record = only(mp4(tmp_path / "a.mp4"))
    assert numbers(read_at_times(record, [0.499], channels=3)) == [11]
    for seconds in ([0.0, 0.5], [9.0]):
        with pytest.raises(ClipError, match=r"0\.500 seconds") as caught:
            read_at_times(record, seconds, channels=3)
        assert caught.value.reason == "too short"
    with pytest.raises(ClipError, match="12 frames") as caught:
        read_frames(record, [3, 12], channels=3)
    assert caught.value.reason == "too short"


def test_a_still_picture_is_shown_at_every_moment(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", numbered(3)[2])
    write_animation(tmp_path / "b.gif", numbered(1), fps=10)
    assert numbers(read_at_times(only(tmp_path / "a.png"), [0.0, 99.0], channels=3)) == [2, 2]
    assert numbers(read_at_times(only(tmp_path / "b.gif"), [0.0, 99.0], channels=3)) == [0, 0]
    assert frame_times(only(tmp_path / "b.gif")).end == 0.0


def test_a_folder_of_frames_is_read_at_its_rate(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for index, frame in enumerate(numbered(11)):
        write_png(tmp_path / "run" / f"{index}.png", frame)
    record = only(tmp_path, frame_folders=True, fps=10.0)
    assert numbers(read_frames(record, [10, 2], channels=3)) == [10, 2]
    assert numbers(read_at_times(record, [0.0, 0.3, 0.29, 1.05], channels=3)) == [0, 3, 2, 10]
    assert frame_times(record).end == pytest.approx(1.1)
    with pytest.raises(ClipError, match="longer clip"):
        read_at_times(record, [1.2], channels=3)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_an_array_keeps_its_channels(tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 6, channels), np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    record = only(tmp_path, fps=5.0)
    np.testing.assert_array_equal(read_frames(record, [4, 1], channels=channels), pixels[[4, 1]])
    moments = read_at_times(record, [0.8, 0.39], channels=channels)
    np.testing.assert_array_equal(moments, pixels[[4, 1]])


@pytest.mark.parametrize("low", [0.0, -1.0])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floating_point_arrays_become_the_same_eight_bits(
    tmp_path: Path, low: float, kind: type[np.floating]
) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.save(tmp_path / "a.npy", (low + (1 - low) * levels / 255).astype(kind))
    record = only(tmp_path, value_range=(low, 1.0))
    np.testing.assert_array_equal(read_frames(record, [0], channels=1), levels)


def test_values_outside_the_stated_range_are_not_guessed_at(tmp_path: Path) -> None:
    for value in (-0.5, 1.5, np.nan):
        np.save(tmp_path / "a.npy", np.full((2, 4, 4, 1), value, np.float32))
        with pytest.raises(ClipError, match="--array-range") as caught:
            read_frames(only(tmp_path), [0], channels=1)
        assert caught.value.reason == "values out of range"


def test_three_axes_are_grey_frames_unless_they_may_be_a_picture(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 4, 16), np.uint8))
    assert read_frames(only(tmp_path), [0], channels=3).shape == (1, 4, 16, 3)
    np.save(tmp_path / "a.npy", np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ClipError, match="four axes"):
        read_frames(only(tmp_path), [0], channels=3)


def test_grey_is_the_rounded_mean_and_grey_repeats_to_rgb(tmp_path: Path) -> None:
    pixels = np.array([[0, 0, 1], [0, 1, 1], [255, 255, 255], [10, 20, 31]], np.uint8)
    np.save(tmp_path / "a.npy", pixels.reshape(1, 2, 2, 3))
    grey = read_frames(only(tmp_path), [0], channels=1)
    assert grey.ravel().tolist() == [0, 1, 255, 20]
    np.save(tmp_path / "a.npy", grey)
    np.testing.assert_array_equal(
        read_frames(only(tmp_path), [0], channels=3), np.repeat(grey, 3, axis=-1)
    )


def test_other_channels_than_the_clip_has_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="3 channels") as caught:
        read_frames(only(mp4(tmp_path / "a.mp4")), [0], channels=4)
    assert caught.value.reason == "wrong channels"


def test_the_result_is_measured_before_it_is_allocated(tmp_path: Path) -> None:
    record = only(mp4(tmp_path / "a.mp4"))
    limits = DataLimits(max_result_bytes=3 * 16 * 24 * 3)
    assert len(read_frames(record, [0] * 3, channels=3, limits=limits)) == 3
    for read in (read_frames, read_at_times):
        with pytest.raises(ClipError, match="fewer frames") as caught:
            read(record, [0] * 4, channels=3, limits=limits)
        assert caught.value.reason == "too much memory"


def test_limits_on_frames_seconds_and_pixels_hold(tmp_path: Path) -> None:
    record = only(mp4(tmp_path / "a.mp4"))
    for limits, reason in (
        (DataLimits(max_frames=11), "too long"),
        (DataLimits(max_seconds=0.4), "too long"),
        (DataLimits(max_pixels=16 * 24 - 1), "frames too large"),
    ):
        with pytest.raises(ClipError) as caught:
            list(iter_frames(record, limits))
        assert caught.value.reason == reason
    assert len(list(iter_frames(record, DataLimits(max_frames=12, max_pixels=16 * 24)))) == 12


def test_odd_sizes_of_our_own_videos_come_back_odd(tmp_path: Path) -> None:
    record = only(mp4(tmp_path / "a.mp4", height=15, width=23))
    assert read_frames(record, [0], channels=3).shape == (1, 15, 23, 3)


@pytest.mark.parametrize("indices", [[], [-1]])
def test_indices_and_moments_that_cannot_be_are_the_callers_mistake(
    tmp_path: Path, indices: list[int]
) -> None:
    record = only(mp4(tmp_path / "a.mp4"))
    with pytest.raises(InputError, match="frames to read"):
        read_frames(record, indices, channels=3)
    for seconds in ([float(index) for index in indices], [float("nan")], [float("inf")]):
        with pytest.raises(InputError, match="moments to read"):
            read_at_times(record, seconds, channels=3)
