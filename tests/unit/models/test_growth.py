from __future__ import annotations

import dataclasses

import pytest
import torch

from imagen_video.models.growth import GAINED, can_grow, grown
from imagen_video.models.spec import UNetSpec
from imagen_video.models.unet import VideoUNet
from unit.models.random_networks import ATTENTION, EVERYTHING, awake, inputs

GROWN = dataclasses.replace(ATTENTION, guidance_weight=True, frame_position=True)


@pytest.mark.parametrize("name", GAINED)
def test_a_network_that_gains_an_input_goes_on_as_it_was(name: str) -> None:
    old = awake(ATTENTION)
    new = grown(old, dataclasses.replace(ATTENTION, **{name: True}), seed=1).eval()
    z, logsnr, conditions = inputs(GROWN)
    with torch.no_grad():
        expected = old(z, logsnr, conditions)
        for weight in (0.0, 1.0, 15.0):
            told = conditions.replace(guidance_weight=torch.full((2,), weight))
            # to rounding: one embedding a frame is another matrix product than one a clip
            assert torch.allclose(new(z, logsnr, told), expected, atol=1e-5)
        embedding = getattr(new.embedding, name)
        embedding.mlp[-1].weight.normal_(generator=torch.Generator().manual_seed(0))
        assert not torch.allclose(new(z, logsnr, conditions), expected, atol=1e-4)


def test_an_answer_is_linear_in_the_guidance_weight_but_for_its_embedding() -> None:
    """As guidance itself is: v = cond + w (cond - uncond)."""
    spec = dataclasses.replace(ATTENTION, guidance_weight=True)
    network = awake(spec)
    assert network.embedding.guidance_weight is not None
    with torch.no_grad():
        for parameter in network.embedding.guidance_weight.parameters():
            parameter.zero_()
    z, logsnr, conditions = inputs(spec)

    def answer(*weights: float) -> torch.Tensor:
        with torch.no_grad():
            return network(z, logsnr, conditions.replace(guidance_weight=torch.tensor(weights)))

    at_0, at_3, at_6 = answer(0, 0), answer(3, 3), answer(6, 6)
    assert (at_6 - at_0).abs().max() > 1e-3
    assert torch.allclose(at_6 - at_0, 2 * (at_3 - at_0), atol=1e-5)
    mixed = answer(0, 6)
    assert torch.allclose(mixed[0], at_0[0], atol=1e-5)
    assert torch.allclose(mixed[1], at_6[1], atol=1e-5)
    with torch.no_grad():
        silent = network(z, logsnr, conditions.replace(guidance_weight=None))
    assert torch.allclose(silent, at_0, atol=1e-5)


def test_of_the_same_spec_it_is_a_copy() -> None:
    old = awake(EVERYTHING)
    new = grown(old, EVERYTHING, seed=1)
    ours, theirs = new.state_dict(), old.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_growing_leaves_the_global_random_numbers_alone() -> None:
    old = VideoUNet(ATTENTION)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    grown(old, GROWN, seed=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("new", "fits"),
    [
        (ATTENTION, True),
        (GROWN, True),
        (dataclasses.replace(GROWN, frame_rate=True), False),
        (dataclasses.replace(GROWN, embedding_width=2 * ATTENTION.embedding_width), False),
    ],
)
def test_what_a_network_can_grow_into(new: UNetSpec, fits: bool) -> None:
    assert can_grow(ATTENTION, new) is fits


def test_no_input_is_ever_taken_away() -> None:
    assert not can_grow(GROWN, ATTENTION)
