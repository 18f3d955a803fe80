from __future__ import annotations

import numpy as np
import pytest
import torch

from imagen_video.errors import MediaError
from imagen_video.media.frames import to_float, to_images, to_uint8

ALL = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_all_256_values_survive_the_round_trip(dtype: torch.dtype) -> None:
    assert np.array_equal(to_uint8(to_float(ALL).to(dtype)), ALL)


def test_the_ends_of_the_ranges_meet() -> None:
    values = to_float(ALL)
    assert values.min() == -1.0
    assert values.max() == 1.0
    assert values.dtype == torch.float32


def test_channels_move_and_pixels_keep_their_place() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    video = to_float(frames)
    assert video.shape == (2, 3, 4, 5)
    assert video[1, 2, 3, 4] == pytest.approx(frames[1, 3, 4, 2] / 127.5 - 1, abs=1e-6)
    assert np.array_equal(to_uint8(video), frames)


def test_batches_convert_like_their_members() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), dtype=np.uint8)
    batch = to_float(frames)
    assert batch.shape == (2, 3, 3, 4, 5)
    assert torch.equal(batch[1], to_float(frames[1]))
    assert np.array_equal(to_uint8(batch), frames)


def test_values_outside_are_clipped() -> None:
    video = torch.tensor([-7.0, -1.001, 1.001, 300.0]).reshape(1, 1, 2, 2)
    assert to_uint8(video)[0, :, :, 0].ravel().tolist() == [0, 0, 255, 255]


def test_the_nearest_value_is_taken() -> None:
    video = torch.tensor([10.4, 10.6, 11.0, 254.6]).reshape(1, 1, 2, 2) / 127.5 - 1
    assert to_uint8(video)[0, :, :, 0].ravel().tolist() == [10, 11, 11, 255]


def test_one_channel_is_shown_as_grey_and_read_back() -> None:
    grey = to_float(ALL, channels=1)
    assert grey.shape == (1, 1, 16, 16)
    assert np.array_equal(to_uint8(grey), ALL)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_an_error_that_names_the_frame(value: float) -> None:
    video = torch.zeros(3, 3, 2, 2)
    video[1, 0, 0, 0] = value
    with pytest.raises(MediaError, match="frame 1"):
        to_uint8(video)


def test_other_channel_counts_are_refused() -> None:
    with pytest.raises(MediaError, match="2 channels"):
        to_uint8(torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match="1 or 3"):
        to_float(ALL, channels=2)


def test_results_share_no_memory_with_their_source() -> None:
    frames = ALL.copy()
    video = to_float(frames)
    frames[:] = 0
    assert video.max() == 1.0


def test_pictures_equal_the_frames() -> None:
    images = to_images(ALL)
    assert len(images) == 1
    assert np.array_equal(np.array(images[0]), ALL[0])
