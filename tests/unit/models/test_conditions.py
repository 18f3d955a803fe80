from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from imagen_video.models.conditions import Conditions
from imagen_video.models.spec import UNetSpec
from unit.models.random_networks import (
    ATTENTION,
    CONVOLUTION,
    EVERYTHING,
    LOCAL,
    SPECS,
    TEXT_WIDTH,
    TOKENS,
    awake,
    inputs,
    random,
)

every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
POOLED_ONLY = dataclasses.replace(
    LOCAL, levels=tuple(dataclasses.replace(level, text_attention=False) for level in LOCAL.levels)
)
text_specs = pytest.mark.parametrize(
    "spec", [*SPECS.values(), POOLED_ONLY], ids=[*SPECS.keys(), "pooled_only"]
)


@text_specs
def test_masked_text_is_null_and_real_text_is_not(spec: UNetSpec) -> None:
    network = awake(spec)
    z, logsnr, conditions = inputs(spec)
    states, mask = conditions.text_states, conditions.text_mask
    assert states is not None
    assert mask is not None
    other = conditions.replace(text_states=states.roll(1, dims=-1))
    assert (network(z, logsnr, conditions) - network(z, logsnr, other)).abs().max() > 1e-3
    nothing = torch.zeros_like(mask)
    null = network(z, logsnr, conditions.replace(text_mask=nothing))
    assert torch.equal(network(z, logsnr, other.replace(text_mask=nothing)), null)
    assert null.isfinite().all()
    missing = network(z, logsnr, conditions.replace(text_states=None, text_mask=None))
    torch.testing.assert_close(missing, null, rtol=1e-4, atol=1e-4)


@text_specs
def test_neither_the_length_of_the_padding_nor_its_content_matters(spec: UNetSpec) -> None:
    network = awake(spec)
    z, logsnr, conditions = inputs(spec)
    states, mask = conditions.text_states, conditions.text_mask
    assert states is not None
    assert mask is not None
    mask = mask.clone()
    mask[1, 2:] = False
    short = network(z, logsnr, conditions.replace(text_mask=mask))
    padded_mask = torch.cat([mask, torch.zeros(2, 11, dtype=torch.bool)], dim=1)
    outputs = []
    for garbage in (0.0, 1e4, float("inf"), float("nan")):
        padded = torch.cat([states, torch.full((2, 11, TEXT_WIDTH), garbage)], dim=1)
        padded[1, 2:] = garbage
        outputs.append(
            network(z, logsnr, conditions.replace(text_states=padded, text_mask=padded_mask))
        )
    for output in outputs:
        torch.testing.assert_close(output, short, rtol=1e-4, atol=1e-4)
        assert torch.equal(output, outputs[0])


def test_a_prompt_beside_a_longer_one_gives_what_it_gives_alone() -> None:
    network = awake(ATTENTION)
    z, logsnr, conditions = inputs(ATTENTION)
    states, mask = conditions.text_states, conditions.text_mask
    assert states is not None
    assert mask is not None
    mask = mask.clone()
    mask[0, 1:] = False
    together = network(z, logsnr, conditions.replace(text_mask=mask))
    first = conditions.map(lambda t: t[:1]).replace(
        text_states=states[:1, :1], text_mask=mask[:1, :1]
    )
    torch.testing.assert_close(
        together[:1], network(z[:1], logsnr[:1], first), rtol=1e-4, atol=1e-4
    )


@every_spec
def test_conditions_per_frame_equal_conditions_per_video_when_they_are_the_same(
    spec: UNetSpec,
) -> None:
    network = awake(spec)
    z, logsnr, conditions = inputs(spec, frames=3)
    changes: dict[str, Tensor | None] = {}
    for name in ("text_states", "text_mask", "low_res_logsnr", "class_id", "vector"):
        value = getattr(conditions, name)
        if value is not None:
            changes[name] = value[:, None].expand(-1, 3, *value.shape[1:])
    per_video = network(z, logsnr, conditions)
    per_frame = network(z, logsnr[:, None].expand(-1, 3), conditions.replace(**changes))
    torch.testing.assert_close(per_frame, per_video, rtol=1e-4, atol=1e-4)


def test_a_frame_hears_its_own_caption_only() -> None:
    network = awake(CONVOLUTION)
    z, logsnr, conditions = inputs(CONVOLUTION, frames=3)
    conditions = conditions.replace(is_image=torch.tensor([True, True]))
    states = random(2, 3, TOKENS, TEXT_WIDTH, seed=9)
    mask = torch.ones(2, 3, TOKENS, dtype=torch.bool)
    changed = states.clone()
    changed[1, 2] = -changed[1, 2]
    before = network(z, logsnr, conditions.replace(text_states=states, text_mask=mask))
    after = network(z, logsnr, conditions.replace(text_states=changed, text_mask=mask))
    moved = (before - after).abs().amax(dim=(2, 3, 4))
    assert moved[1, 2] > 1e-3
    moved[1, 2] = 0
    # equal to rounding: a matrix product may add up in another order beside other numbers
    assert moved.max() < 1e-5


def only(name: str) -> UNetSpec:
    """A spec in which one numeric condition is the only one besides the noise level."""
    spec = UNetSpec(
        levels=ATTENTION.levels[:1], embedding_width=16, head_width=8, text_width=TEXT_WIDTH
    )
    if name == "class_id":
        return dataclasses.replace(spec, num_classes=7)
    return dataclasses.replace(spec, vector_width=3)


def test_class_minus_one_is_no_class() -> None:
    spec = only("class_id")
    network = awake(spec)
    z, logsnr, conditions = inputs(spec)
    ids = [torch.tensor(pair) for pair in ([0, 1], [6, 1], [-1, 1], [-1, -1])]
    outputs = [network(z, logsnr, conditions.replace(class_id=pair)) for pair in ids]
    missing = network(z, logsnr, conditions.replace(class_id=None))
    assert (outputs[0][0] - outputs[1][0]).abs().max() > 1e-3
    assert (outputs[1][0] - outputs[2][0]).abs().max() > 1e-3
    torch.testing.assert_close(outputs[3], missing, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(outputs[2][0], outputs[3][0], rtol=1e-4, atol=1e-4)
    dropped = conditions.drop(torch.tensor([True, True]))
    assert torch.equal(
        network(z, logsnr, dropped.replace(text_mask=conditions.text_mask)), outputs[3]
    )


def test_a_class_past_the_last_is_an_error_and_not_no_class() -> None:
    spec = only("class_id")
    network = awake(spec)
    z, logsnr, conditions = inputs(spec)
    for past in (7, 8, 1000):
        with pytest.raises(IndexError):
            network(z, logsnr, conditions.replace(class_id=torch.tensor([past, 1])))


def test_a_vector_of_nan_is_no_vector() -> None:
    spec = only("vector")
    network = awake(spec)
    z, logsnr, conditions = inputs(spec)
    zero, nan = torch.zeros(2, 3), torch.full((2, 3), torch.nan)
    null = network(z, logsnr, conditions.replace(vector=nan))
    assert null.isfinite().all()
    torch.testing.assert_close(
        network(z, logsnr, conditions.replace(vector=None)), null, rtol=1e-4, atol=1e-4
    )
    # zero is a number like any other
    assert (network(z, logsnr, conditions.replace(vector=zero)) - null).abs().max() > 1e-3
    one_known = nan.clone()
    one_known[0, 1] = 2.0
    moved = network(z, logsnr, conditions.replace(vector=one_known)) - null
    assert moved[0].abs().max() > 1e-3
    assert moved[1].abs().max() < 1e-5


@pytest.mark.parametrize("name", ["frame_rate", "guidance_weight"])
def test_frame_rate_and_guidance_weight_are_heard(name: str) -> None:
    network = awake(EVERYTHING)
    z, logsnr, conditions = inputs(EVERYTHING)
    value = getattr(conditions, name)
    changed = conditions.replace(**{name: value + torch.tensor([0.0, 1.0])})
    moved = network(z, logsnr, changed) - network(z, logsnr, conditions)
    assert moved[1].abs().max() > 1e-3
    assert moved[0].abs().max() < 1e-5


def test_only_a_network_that_knows_the_place_of_a_frame_tells_equal_frames_apart() -> None:
    for known in (False, True):
        spec = dataclasses.replace(ATTENTION, given_frames=False, frame_position=known)
        z, logsnr, conditions = inputs(spec, frames=5)
        v = awake(spec)(z[:, :1].expand_as(z).contiguous(), logsnr, conditions)
        apart = (v - v[:, :1]).abs().amax(dim=(0, 2, 3, 4))
        # relative positions alone see the same distances of the same frames from everywhere
        assert (apart[1:] > 1e-2).all() if known else (apart < 1e-5).all()


def test_images_have_no_place_packed_or_alone() -> None:
    spec = dataclasses.replace(ATTENTION, given_frames=False, frame_position=True)
    network = awake(spec)
    z, logsnr, conditions = inputs(spec, frames=3)
    packed = network(z, logsnr, conditions.replace(is_image=torch.tensor([True, True])))
    alone = [network(z[:, i : i + 1], logsnr, conditions) for i in range(3)]
    assert torch.allclose(packed, torch.cat(alone, dim=1), atol=1e-5)
    network(z[:, :1], logsnr, conditions).sum().backward()
    assert network.embedding.frame_position is not None
    # DDP waits for the gradient of every weight, also in a batch of images
    gradients = [p.grad for p in network.embedding.frame_position.parameters()]
    assert all(g is not None and not g.any() for g in gradients)


def test_values_of_frames_that_are_not_given_do_not_matter() -> None:
    network = awake(ATTENTION)
    z, logsnr, conditions = inputs(ATTENTION)
    given, mask = conditions.given_frames, conditions.given_mask
    assert given is not None
    assert mask is not None
    before = network(z, logsnr, conditions)
    for garbage in (1e3, float("nan")):
        other = torch.where(mask[:, :, None, None, None], given, garbage)
        assert torch.equal(network(z, logsnr, conditions.replace(given_frames=other)), before)
    seen = torch.where(mask[:, :, None, None, None], -given, given)
    assert (network(z, logsnr, conditions.replace(given_frames=seen)) - before).abs().max() > 1e-3


def test_no_given_frames_equals_an_empty_mask() -> None:
    network = awake(ATTENTION)
    z, logsnr, conditions = inputs(ATTENTION)
    missing = network(z, logsnr, conditions.replace(given_frames=None, given_mask=None))
    empty = conditions.replace(given_mask=torch.zeros(2, 3, dtype=torch.bool))
    assert torch.equal(network(z, logsnr, empty), missing)


def test_a_given_black_frame_differs_from_no_given_frame() -> None:
    network = awake(ATTENTION)
    z, logsnr, conditions = inputs(ATTENTION)
    assert conditions.given_frames is not None
    black = conditions.replace(given_frames=torch.zeros_like(conditions.given_frames))
    missing = conditions.replace(given_frames=None, given_mask=None)
    moved = network(z, logsnr, black) - network(z, logsnr, missing)
    assert moved.abs().max() > 1e-3


def test_a_missing_augmentation_level_is_the_clean_one() -> None:
    network = awake(LOCAL)
    z, logsnr, conditions = inputs(LOCAL)
    missing = network(z, logsnr, conditions.replace(low_res_logsnr=None))
    clean = network(z, logsnr, conditions.replace(low_res_logsnr=torch.full((2,), 20.0)))
    torch.testing.assert_close(missing, clean, rtol=1e-4, atol=1e-4)


def test_drop_makes_text_class_and_vector_null_and_leaves_the_rest() -> None:
    _, _, conditions = inputs(EVERYTHING)
    dropped = conditions.drop(torch.tensor([True, False]))
    assert dropped.text_mask is not None
    assert dropped.class_id is not None
    assert dropped.vector is not None
    assert conditions.vector is not None
    assert dropped.text_mask.tolist() == [[False] * TOKENS, [True] * TOKENS]
    assert dropped.class_id.tolist() == [-1, 1]
    assert dropped.vector[0].isnan().all()
    assert torch.equal(dropped.vector[1], conditions.vector[1])
    for name in ("low_res", "low_res_logsnr", "given_frames", "given_mask", "frame_rate"):
        assert getattr(dropped, name) is getattr(conditions, name)


def test_drop_reaches_conditions_per_frame() -> None:
    conditions = Conditions(
        text_mask=torch.ones(2, 3, 4, dtype=torch.bool),
        class_id=torch.ones(2, 3, dtype=torch.long),
        vector=torch.ones(2, 3, 5),
    ).drop(torch.tensor([False, True]))
    assert conditions.text_mask is not None
    assert conditions.class_id is not None
    assert conditions.vector is not None
    assert conditions.text_mask[0].all()
    assert not conditions.text_mask[1].any()
    assert conditions.class_id.tolist() == [[1] * 3, [-1] * 3]
    assert conditions.vector[1].isnan().all()
    assert not conditions.vector[0].isnan().any()


def test_twice_repeats_the_batch_in_order() -> None:
    _, _, conditions = inputs(EVERYTHING)
    twice = conditions.twice()
    for field in dataclasses.fields(Conditions):
        value, repeated = getattr(conditions, field.name), getattr(twice, field.name)
        if value is not None:
            assert torch.equal(repeated, torch.cat([value, value]))


def test_a_window_cuts_what_is_given_per_frame_only() -> None:
    per_frame = Conditions(
        text_states=random(2, 5, TOKENS, TEXT_WIDTH),
        text_mask=torch.ones(2, 5, TOKENS, dtype=torch.bool),
        low_res_logsnr=random(2, 5),
        class_id=torch.arange(10).view(2, 5),
        vector=random(2, 5, 3),
    )
    window = per_frame.window(slice(1, 3))
    for field in dataclasses.fields(Conditions):
        value = getattr(per_frame, field.name)
        if value is not None:
            assert torch.equal(getattr(window, field.name), value[:, 1:3])
    _, _, per_video = inputs(EVERYTHING)
    window = per_video.window(slice(1, 2))
    assert all(
        getattr(window, f.name) is getattr(per_video, f.name)
        for f in dataclasses.fields(Conditions)
    )
