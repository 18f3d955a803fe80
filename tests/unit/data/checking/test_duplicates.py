from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagen_video.data.checking.duplicates import (
    SIGNATURE_CHARACTERS,
    ContentHash,
    exact_groups,
    is_near,
    near_groups,
)


def digest(frames: Iterable[np.ndarray]) -> str:
    content = ContentHash()
    for frame in frames:
        content.add(frame)
    return content.hexdigest()


def textured(seed: int, count: int = 5, height: int = 48, width: int = 64) -> np.ndarray:
    """Smooth random pictures that change a little from frame to frame."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 7, 3), np.uint8))
        frames.append(np.array(coarse.resize((width, height), Image.Resampling.BICUBIC)))
    return np.stack(frames)


def test_a_noisy_or_resized_copy_is_near_and_another_clip_is_not() -> None:
    from PIL import Image

    frames = textured(1)
    noise = np.random.default_rng(2).normal(0, 6, frames.shape)
    noisy = np.clip(frames + noise, 0, 255).astype(np.uint8)
    small = [np.array(Image.fromarray(frame).resize((40, 30))) for frame in frames]
    signatures = {
        "original": digest(frames),
        "other": digest(textured(3)),
        "noisy": digest(noisy),
        "small": digest(small),
    }
    assert near_groups(signatures) == [("original", "noisy", "small")]


@pytest.mark.parametrize("frame", [0, 2, 4])
def test_first_middle_and_last_frame_all_count(frame: int) -> None:
    frames = textured(1)
    changed = frames.copy()
    changed[frame] = textured(9, 1)[0]
    assert not is_near(bytes.fromhex(digest(frames)), bytes.fromhex(digest(changed)))


def test_flat_clips_differ_by_their_colour() -> None:
    flat = {str(level): digest([np.full((9, 9, 3), level, np.uint8)]) for level in (0, 4, 90)}
    assert near_groups(flat) == [("0", "4")]


def test_a_bright_dot_elsewhere_on_black_is_another_clip() -> None:
    clips = {}
    for column in range(4):
        frame = np.zeros((32, 36, 3), np.uint8)
        frame[8:16, 8 * column : 8 * column + 8] = 255
        clips[str(column)] = digest([frame])
    assert near_groups(clips) == []


@settings(max_examples=20)
@given(st.integers(1, 200))
def test_the_middle_is_found_without_knowing_the_length(count: int) -> None:
    frames = np.zeros((count, 8, 9, 1), np.uint8)
    frames[:] = (np.arange(count) % 250).astype(np.uint8)[:, None, None, None]
    value = bytes.fromhex(digest(list(frames)))
    first, middle, last = (value[96 + 67 * part] for part in range(3))
    assert (first, last) == (0, (count - 1) % 250)
    assert abs(middle - count / 2) <= max(1.0, count / 32)


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3, 4]))
@settings(max_examples=20)
def test_any_size_and_number_of_channels_has_a_signature(
    height: int, width: int, channels: int
) -> None:
    frame = np.full((height, width, channels), 7, np.uint8)
    assert len(digest([frame])) == SIGNATURE_CHARACTERS


def test_many_equal_clips_make_one_group_in_little_time() -> None:
    same = digest(textured(1))
    signatures = {str(number): same for number in range(3000)}
    (group,) = near_groups(signatures)
    assert len(group) == 3000


def test_a_small_thing_elsewhere_on_a_busy_ground_is_another_clip() -> None:
    ground = textured(1, 1)[0]
    clips = {}
    for column in range(4):
        frame = ground.copy()
        frame[20:28, 12 * column : 12 * column + 8] = (255, 255, 255)
        clips[str(column)] = digest([frame])
    assert near_groups(clips) == []


def test_a_slow_change_from_clip_to_clip_does_not_join_all_of_them() -> None:
    levels = range(0, 120, 4)
    flat = {str(level): digest([np.full((9, 9, 3), level, np.uint8)]) for level in levels}
    assert max(len(group) for group in near_groups(flat)) == 3


def test_equal_bytes_are_grouped_in_order() -> None:
    assert exact_groups({"a": "1", "b": "2", "c": "1", "d": "3", "e": "2"}) == [
        ("a", "c"),
        ("b", "e"),
    ]
