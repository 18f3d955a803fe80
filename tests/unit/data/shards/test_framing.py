from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.cascade.resample import resize
from imagen_video.data.clips.labels import Label
from imagen_video.data.clips.records import MediaFile, Record
from imagen_video.data.decoding.read import read_at_times
from imagen_video.data.shards.framing import (
    Box,
    Timing,
    largest_box,
    place_of,
    resize_frames,
    window_starts,
)

RATES = st.sampled_from([10.0, 12.5, 23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0, 120.0])


def clock(folder: Path, frames: int, fps: float) -> Record:
    """Save a clip whose frame n has the value n, in two channels of a byte."""
    numbers = np.arange(frames)
    pixels = np.stack([numbers % 256, numbers // 256], axis=-1).astype(np.uint8)
    path = folder / "clock.npy"
    np.save(path, pixels[:, None, None, :])
    media = MediaFile(path=path, size=path.stat().st_size)
    return Record(id="clock.npy", media=media, kind="array", label=Label(), fps=fps)


def shown(record: Record, moments: list[float]) -> list[int]:
    pixels = read_at_times(record, moments, channels=2).astype(int)
    return [int(frame[0, 0, 0] + 256 * frame[0, 0, 1]) for frame in pixels]


@given(source_fps=RATES, fps=RATES, start=st.sampled_from([0.0, 1.0, 16 / 3]))
def test_every_frame_is_the_source_frame_nearest_in_time_without_drift(
    tmp_path_factory: pytest.TempPathFactory, source_fps: float, fps: float, start: float
) -> None:
    frames = round(20 * source_fps)
    record = clock(tmp_path_factory.mktemp("clips"), frames, source_fps)
    timing = Timing(seconds=frames / source_fps, period=1 / source_fps)
    grid = range(min(128, timing.frames_from(start, fps, 1000)))
    found = shown(record, timing.moments(start, grid, fps))
    for number, source in zip(grid, found, strict=True):
        off = source / source_fps - (start + number / fps)
        assert abs(off) <= 0.5 / source_fps + 1e-3


def test_thirty_frames_a_second_give_twenty_four_by_leaving_out_every_fifth(
    tmp_path: Path,
) -> None:
    record = clock(tmp_path, 160, 30.0)
    timing = Timing(seconds=160 / 30, period=1 / 30)
    found = shown(record, timing.moments(0.0, range(128), 24.0))
    assert found[:9] == [0, 1, 3, 4, 5, 6, 8, 9, 10]
    assert [found[24 * second] for second in range(6)] == [0, 30, 60, 90, 120, 150]
    assert len(set(found)) == 128


def test_the_frame_rate_of_the_cascade_gives_every_frame_once(tmp_path: Path) -> None:
    record = clock(tmp_path, 128, 24.0)
    timing = Timing(seconds=128 / 24, period=1 / 24)
    assert timing.frames_from(0.0, 24.0, 500) == 128
    assert shown(record, timing.moments(0.0, range(128), 24.0)) == list(range(128))


def test_a_coarser_stage_sees_every_second_frame_of_the_finer_one(tmp_path: Path) -> None:
    record = clock(tmp_path, 300, 50.0)
    timing = Timing(seconds=6.0, period=1 / 50)
    fine = shown(record, timing.moments(0.5, range(32), 24.0))
    assert shown(record, timing.moments(0.5, range(0, 32, 2), 24.0)) == fine[::2]


def test_a_short_clip_holds_its_last_frame_or_begins_again(tmp_path: Path) -> None:
    record = clock(tmp_path, 4, 10.0)
    for short, expected in (
        ("hold", [0, 1, 2, 3, 3, 3, 3, 3, 3, 3]),
        ("loop", [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]),
    ):
        timing = Timing(seconds=0.4, period=0.1, short=short)  # pyright: ignore[reportArgumentType]
        assert timing.frames_from(0.0, 10.0, 10) == 10
        assert shown(record, timing.moments(0.0, range(10), 10.0)) == expected


@given(
    seconds=st.floats(0.05, 100),
    shortest=st.floats(0, 10),
    stride=st.floats(0.1, 20),
    most=st.integers(1, 50),
)
def test_windows_start_on_their_grid_and_leave_enough_behind_them(
    seconds: float, shortest: float, stride: float, most: int
) -> None:
    starts = window_starts(seconds, shortest, stride, most)
    assert starts == [index * stride for index in range(len(starts))]
    assert 1 <= len(starts) <= most
    assert all(seconds - start >= shortest for start in starts[1:])
    assert len(starts) == most or seconds - len(starts) * stride < shortest


@given(
    size=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    aspect=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_the_box_lies_in_the_clip_touches_two_sides_and_has_the_aspect(
    size: tuple[int, int], aspect: tuple[int, int], place: tuple[float, float]
) -> None:
    box = largest_box(size, aspect, place)
    assert 0 <= box.top <= size[0] - box.height
    assert 0 <= box.left <= size[1] - box.width
    assert box.height == size[0] or box.width == size[1]
    exact = box.height * aspect[1] / aspect[0]
    other = box.width * aspect[0] / aspect[1]
    # to the nearest pixel, of which there is at least one
    fits = abs(box.width - exact) <= 0.5 or abs(box.height - other) <= 0.5
    assert fits or 1 in (box.height, box.width)
    cut = box.cut(np.zeros((2, *size, 3), np.uint8))
    assert cut.shape == (2, box.height, box.width, 3)


def test_a_random_place_depends_on_seed_and_clip_alone_and_covers_the_room() -> None:
    assert place_of("centre", 1, "a") == (0.5, 0.5)
    assert place_of("random", 1, "a") == place_of("random", 1, "a")
    assert place_of("random", 1, "a") != place_of("random", 2, "a")
    places = np.array([place_of("random", 0, str(number)) for number in range(300)])
    assert places.min() < 0.05
    assert places.max() > 0.95
    assert abs(places.mean() - 0.5) < 0.05


def test_a_still_scene_stays_still_and_a_shift_in_it_is_the_same_everywhere() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (40, 90, 3), np.uint8)
    frames = np.repeat(picture[None], 5, axis=0)
    box = largest_box((40, 90), (24, 40), place_of("random", 3, "clip"))
    made = resize_frames(box.cut(frames), 24, 40)
    assert (made == made[:1]).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [(37, 53), (24, 40), (96, 160), (300, 500)])
def test_bytes_are_resized_as_the_cascade_resizes_floats(
    channels: int, size: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, *size, channels), np.uint8)
    made = resize_frames(pixels, 24, 40).astype(float)
    floats = resize(torch.from_numpy(pixels).permute(0, 3, 1, 2)[None].float(), 24, 40)
    difference = made - floats[0].permute(0, 2, 3, 1).numpy()
    assert abs(difference).max() < 1.01
    assert abs(difference.mean()) < 0.06  # halves are rounded up


def test_a_fine_pattern_becomes_grey_instead_of_another_pattern() -> None:
    stripes = np.zeros((1, 120, 200, 3), np.uint8)
    stripes[:, :, ::2] = 255
    made = resize_frames(stripes, 24, 40)
    assert made[:, :, 1:-1].min() > 120
    assert made[:, :, 1:-1].max() < 136


def test_a_box_is_a_view() -> None:
    frames = np.zeros((3, 10, 10, 3), np.uint8)
    assert np.shares_memory(Box(top=1, left=2, height=3, width=4).cut(frames), frames)
