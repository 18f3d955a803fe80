"""Batch and frames are folded into one axis inside: nothing may get mixed up on the way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from imagen_video.models.conditions import Conditions
from imagen_video.models.layers import FiLM, fold_frames
from imagen_video.models.spec import UNetSpec
from unit.models.random_networks import SPECS, awake, inputs, random

every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


def distinct(spec: UNetSpec, batch: int, frames: int) -> tuple[Tensor, Tensor, Conditions]:
    """Inputs in which each video and each frame is far from the others."""
    z, logsnr, conditions = inputs(spec, batch=batch, frames=frames)
    offset = torch.arange(batch * frames).view(batch, frames, 1, 1, 1) / 4.0
    if conditions.low_res is not None:
        conditions = conditions.replace(low_res=conditions.low_res - offset)
    if conditions.text_states is not None:
        scale = 1 + torch.arange(batch).view(batch, 1, 1)
        conditions = conditions.replace(text_states=conditions.text_states * scale)
    return z + offset, logsnr, conditions


@every_spec
def test_a_video_in_a_batch_gives_what_it_gives_alone(spec: UNetSpec) -> None:
    network = awake(spec)
    z, logsnr, conditions = distinct(spec, batch=3, frames=2)
    together = network(z, logsnr, conditions)
    for i in range(3):
        one = slice(i, i + 1)
        alone = network(z[one], logsnr[one], conditions.map(lambda t, one=one: t[one]))
        torch.testing.assert_close(together[one], alone, rtol=1e-3, atol=1e-3)


@every_spec
def test_changing_one_video_changes_no_other(spec: UNetSpec) -> None:
    network = awake(spec)
    z, logsnr, conditions = distinct(spec, batch=3, frames=2)
    before = network(z, logsnr, conditions)
    z, conditions = z.clone(), conditions.map(lambda t: t.clone())
    z[1] += random(*z.shape[1:])
    for value in (conditions.text_states, conditions.low_res, conditions.vector):
        if value is not None:
            value[1] *= -1
    after = network(z, logsnr + torch.tensor([0.0, 1.0, 0.0]), conditions)
    moved = (after - before).abs().amax(dim=(1, 2, 3, 4))
    assert moved[1] > 1e-2
    assert moved[0] == 0
    assert moved[2] == 0


@every_spec
def test_reversing_the_batch_reverses_the_output(spec: UNetSpec) -> None:
    network = awake(spec)
    z, logsnr, conditions = distinct(spec, batch=3, frames=2)
    flipped = network(z.flip(0), logsnr.flip(0), conditions.map(lambda t: t.flip(0)))
    torch.testing.assert_close(
        flipped.flip(0), network(z, logsnr, conditions), rtol=1e-3, atol=1e-3
    )


@every_spec
def test_swapping_batch_and_frames_of_the_input_is_noticed(spec: UNetSpec) -> None:
    """With as many videos as frames, a swapped reshape would keep every shape."""
    network = awake(spec)
    z, logsnr, conditions = distinct(spec, batch=3, frames=3)
    straight = network(z, logsnr, conditions)
    swapped = network(z.transpose(0, 1), logsnr, conditions).transpose(0, 1)
    assert (straight - swapped).abs().max() > 1e-2


def test_folding_keeps_the_frames_of_a_video_together() -> None:
    per_frame = torch.arange(6).view(2, 3, 1)
    assert fold_frames(per_frame, 3).flatten().tolist() == [0, 1, 2, 3, 4, 5]
    per_video = torch.arange(2).view(2, 1, 1)
    assert fold_frames(per_video, 3).flatten().tolist() == [0, 0, 0, 1, 1, 1]


def test_film_scales_each_frame_by_its_own_embedding() -> None:
    film = FiLM(4, 8)
    torch.nn.init.normal_(film.projection.weight)
    embedding, x = random(2, 3, 4), random(6, 8, 2, 2, seed=1)
    scale, shift = film.projection(embedding).chunk(2, dim=-1)
    out = film(x, embedding, 3).view(2, 3, 8, 2, 2)
    for b in range(2):
        for f in range(3):
            expected = x.view(2, 3, 8, 2, 2)[b, f] * (1 + scale[b, f])[:, None, None]
            expected = expected + shift[b, f][:, None, None]
            torch.testing.assert_close(out[b, f], expected, rtol=1e-5, atol=1e-5)
