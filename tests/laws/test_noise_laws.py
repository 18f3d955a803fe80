"""Noise does not depend on how it is asked for."""

from __future__ import annotations

from typing import get_args

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagen_video.diffusion.noise import Purpose, frame_noise, video_noise

seeds = st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=5)
purposes: st.SearchStrategy[Purpose] = st.sampled_from(get_args(Purpose))
stages = st.text(max_size=8)
quick = settings(max_examples=50, deadline=None, derandomize=True)
SHAPE = (2, 3, 5)


@quick
@given(seeds, stages, purposes, st.integers(0, 2**40), st.data())
def test_noise_is_independent_of_batch_frames_and_order(
    batch: list[int], stage: str, purpose: Purpose, step: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, 300))
    frames = range(start, start + data.draw(st.integers(1, 5)))
    noise = video_noise(batch, stage, purpose, step, frames, SHAPE)
    order = data.draw(st.permutations(range(len(batch))))
    shuffled = video_noise([batch[i] for i in order], stage, purpose, step, frames[::-1], SHAPE)
    assert torch.equal(shuffled, noise[list(order)].flip(1))
    i, j = data.draw(st.sampled_from(list(np.ndindex(len(batch), len(frames)))))
    alone = frame_noise(batch[i], stage, purpose, step, frames[j], SHAPE)
    assert np.array_equal(noise[i, j].numpy(), alone)


@quick
@given(st.data())
def test_different_keys_never_give_the_same_frame(data: st.DataObject) -> None:
    keys = st.tuples(st.integers(-5, 5), stages, purposes, st.integers(0, 300), st.integers(0, 127))
    one, other = data.draw(keys), data.draw(keys)
    equal = np.array_equal(frame_noise(*one, SHAPE), frame_noise(*other, SHAPE))
    assert equal == (one == other)


def test_the_streams_global_state_is_not_touched() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    video_noise([1], "base", "initial", 0, range(2), SHAPE)
    assert torch.equal(torch.rand(3), expected)
