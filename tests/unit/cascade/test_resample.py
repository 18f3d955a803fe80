from __future__ import annotations

import pytest
import torch

from imagen_video.cascade.resample import (
    TemporalFill,
    enlarge_to,
    fill_frames,
    reduce_to,
    resize,
    skip_frames,
)
from imagen_video.errors import InputError
from unit.cascade.small_cascades import random_video

FILLS: tuple[TemporalFill, ...] = ("repeat", "blank")


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_skipping_undoes_filling(fill: TemporalFill, factor: int) -> None:
    video = random_video(2, 3, 1, 4, 4)
    assert torch.equal(skip_frames(fill_frames(video, factor, fill), factor), video)


def test_blank_fill_has_given_frames_at_even_places_and_zeros_between() -> None:
    video = random_video(1, 3, 2, 2, 2)
    filled = fill_frames(video, 2, "blank")
    assert torch.equal(filled[:, ::2], video)
    assert not filled[:, 1::2].any()


def test_repeat_fill_shows_every_frame_twice() -> None:
    video = random_video(1, 3, 2, 2, 2)
    assert torch.equal(fill_frames(video, 2), video.repeat_interleave(2, dim=1))


@pytest.mark.parametrize("size", [(3, 5), (8, 12), (16, 24), (7, 31)])
def test_a_constant_video_stays_constant_at_every_size(size: tuple[int, int]) -> None:
    resized = resize(torch.full((1, 2, 3, 8, 12), 0.25), *size)
    assert resized.shape[-2:] == size
    assert torch.allclose(resized, torch.tensor(0.25), atol=1e-6)


def test_shrinking_averages_and_does_not_pick() -> None:
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1
    assert resize(board.expand(1, 1, 1, 16, 16), 4, 4)[..., 1:3, 1:3].abs().max() < 0.05


def test_enlarging_a_linear_ramp_gives_the_ramp_inside() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 1, 8, 8)
    larger = resize(ramp, 16, 16)[0, 0, 0]
    wanted = (torch.arange(16) + 0.5) / 2 - 0.5
    assert torch.allclose(larger[5, 1:-1], wanted[1:-1], atol=1e-6)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("frames", [range(0, 3), range(1, 6), range(5, 8)])
def test_a_range_of_frames_is_that_slice_of_the_whole(fill: TemporalFill, frames: range) -> None:
    video = random_video(2, 4, 3, 4, 6)
    whole = enlarge_to(video, 8, 8, 12, fill)
    part = enlarge_to(video, 8, 8, 12, fill, frames)
    assert torch.equal(part, whole[:, frames.start : frames.stop])


def test_reducing_skips_frames_then_shrinks() -> None:
    video = random_video(1, 6, 3, 8, 12)
    assert torch.equal(reduce_to(video, 3, 4, 6), resize(video[:, ::2], 4, 6))
    assert torch.equal(reduce_to(video, 6, 8, 12), video)


@pytest.mark.parametrize("frames", [0, 4, 5, 7])
def test_frames_that_do_not_divide_are_refused(frames: int) -> None:
    with pytest.raises(InputError, match="frame skip"):
        reduce_to(random_video(1, 6, 1, 4, 4), frames, 4, 4)


def test_filling_to_a_ragged_number_of_frames_is_refused() -> None:
    with pytest.raises(InputError, match="frame fill"):
        enlarge_to(random_video(1, 3, 1, 4, 4), 7, 4, 4)
    with pytest.raises(InputError, match="frame skip"):
        skip_frames(random_video(1, 3, 1, 4, 4), 2)
