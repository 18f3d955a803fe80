"""Frames of packed images never meet (joint training), and frames of clips do."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from imagen_video.models.conditions import Conditions
from imagen_video.models.spec import UNetSpec
from imagen_video.models.unet import VideoUNet
from unit.models.random_networks import ATTENTION, CONVOLUTION, EVERYTHING, LOCAL, awake, inputs

FRAMES = 4
temporal_specs = pytest.mark.parametrize(
    "spec", [ATTENTION, CONVOLUTION, LOCAL, EVERYTHING], ids=["attn", "conv", "local", "everything"]
)


def influence(network: VideoUNet, is_image: Tensor | None, batch: int = 1) -> Tensor:
    """Largest gradient of output frame i after input frame j, `(i, j)`, over z and the low-res."""
    z, logsnr, conditions = inputs(network.spec, batch=batch, frames=FRAMES)
    conditions = conditions.replace(is_image=is_image)
    z.requires_grad_()
    sources = [z]
    if conditions.low_res is not None:
        sources.append(conditions.low_res.requires_grad_())
    if conditions.given_frames is not None:
        # every frame given: otherwise what is not read has no influence anyway
        mask = torch.ones(batch, FRAMES, dtype=torch.bool)
        given = conditions.given_frames.requires_grad_()
        conditions = conditions.replace(given_mask=mask)
        sources.append(given)
    v = network(z, logsnr, conditions)
    weights = torch.randn(v.shape, generator=torch.Generator().manual_seed(5))
    table = torch.zeros(FRAMES, FRAMES)
    for i in range(FRAMES):
        loss = (v[:, i] * weights[:, i]).sum()
        for gradient in torch.autograd.grad(loss, sources, retain_graph=True):
            table[i] = torch.maximum(table[i], gradient.abs().amax(dim=(0, 2, 3, 4)))
    return table


@temporal_specs
def test_the_jacobian_between_frames_is_exactly_zero_for_images(spec: UNetSpec) -> None:
    table = influence(awake(spec), torch.tensor([True]))
    own = torch.eye(FRAMES, dtype=torch.bool)
    assert (table[own] > 1e-3).all()
    assert (table[~own] == 0).all()


@temporal_specs
def test_neighbouring_frames_of_a_clip_influence_each_other_both_ways(spec: UNetSpec) -> None:
    for is_image in (None, torch.tensor([False])):
        table = influence(awake(spec), is_image)
        for i in range(FRAMES - 1):
            assert table[i, i + 1] > 1e-4
            assert table[i + 1, i] > 1e-4


def frames_alone(network: VideoUNet, z: Tensor, logsnr: Tensor, conditions: Conditions) -> Tensor:
    """Run every frame of a batch as a video of its own."""

    def cut(frame: int) -> Conditions:
        video_fields = ("low_res", "given_frames", "given_mask")
        changes = {
            name: None if value is None else value[:, frame : frame + 1]
            for name in video_fields
            for value in (getattr(conditions, name),)
        }
        return conditions.window(slice(frame, frame + 1)).replace(**changes, is_image=None)

    per_frame = logsnr if logsnr.ndim == 2 else logsnr[:, None].expand(-1, z.shape[1])
    parts = [network(z[:, f : f + 1], per_frame[:, f : f + 1], cut(f)) for f in range(z.shape[1])]
    return torch.cat(parts, dim=1)


def with_per_frame_conditions(conditions: Conditions, frames: int) -> Conditions:
    """Give every frame its own text, class, vector and augmentation level."""
    changes: dict[str, Tensor | None] = {}
    for name in ("text_states", "text_mask", "low_res_logsnr", "class_id", "vector"):
        value = getattr(conditions, name)
        if value is not None:
            changes[name] = value[:, None].expand(-1, frames, *value.shape[1:]).clone()
    if (states := changes.get("text_states")) is not None:
        changes["text_states"] = states + torch.arange(frames).view(1, frames, 1, 1)
    if (mask := changes.get("text_mask")) is not None:
        mask[:, 1, 3:] = False
        mask[:, 2] = False
    if (level := changes.get("low_res_logsnr")) is not None:
        changes["low_res_logsnr"] = level + torch.arange(frames)
    if (class_id := changes.get("class_id")) is not None:
        class_id[:, 1] = -1
        class_id[:, 2] = 5
    if (vector := changes.get("vector")) is not None:
        vector[:, 1] = torch.nan
    return conditions.replace(**changes)


@temporal_specs
def test_packed_images_equal_separate_images_with_their_own_conditions(spec: UNetSpec) -> None:
    network = awake(spec).double()
    z, _, conditions = inputs(spec, frames=FRAMES)
    conditions = with_per_frame_conditions(conditions, FRAMES)
    conditions = conditions.replace(is_image=torch.tensor([True, True]))
    conditions = conditions.map(lambda t: t.double() if t.is_floating_point() else t)
    z, logsnr = z.double(), torch.linspace(-4, 4, 2 * FRAMES).view(2, FRAMES).double()
    packed = network(z, logsnr, conditions)
    alone = frames_alone(network, z, logsnr, conditions)
    torch.testing.assert_close(packed, alone, rtol=1e-6, atol=1e-6)
    clip = network(z, logsnr, conditions.replace(is_image=None))
    assert (clip - alone).abs().max() > 1e-2


@temporal_specs
def test_images_and_clips_mix_in_one_batch(spec: UNetSpec) -> None:
    network = awake(spec)
    z, logsnr, conditions = inputs(spec, frames=FRAMES)
    mixed = network(z, logsnr, conditions.replace(is_image=torch.tensor([True, False])))
    images = network(z, logsnr, conditions.replace(is_image=torch.tensor([True, True])))
    clips = network(z, logsnr, conditions)
    torch.testing.assert_close(mixed[0], images[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mixed[1], clips[1], rtol=1e-4, atol=1e-4)
    assert (mixed[0] - clips[0]).abs().max() > 1e-3
    assert (mixed[1] - images[1]).abs().max() > 1e-3


@temporal_specs
def test_a_video_of_one_frame_is_an_image(spec: UNetSpec) -> None:
    network = awake(spec)
    z, logsnr, conditions = inputs(spec, frames=1)
    as_image = network(z, logsnr, conditions.replace(is_image=torch.tensor([True, True])))
    assert torch.equal(network(z, logsnr, conditions), as_image)


def test_gradients_of_clips_beside_images_are_finite() -> None:
    network = awake(ATTENTION)
    z, logsnr, conditions = inputs(ATTENTION, frames=FRAMES)
    conditions = conditions.replace(is_image=torch.tensor([True, False]))
    network(z, logsnr, conditions).square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 7, 16, 40])
@pytest.mark.parametrize("spec", [ATTENTION, CONVOLUTION], ids=["attention", "convolution"])
def test_any_number_of_frames_works(spec: UNetSpec, frames: int) -> None:
    z, logsnr, conditions = inputs(spec, batch=1, frames=frames, height=4, width=4)
    assert awake(spec)(z, logsnr, conditions).shape == z.shape


def test_temporal_attention_reaches_every_frame_and_convolution_its_halo_only() -> None:
    assert (influence(awake(ATTENTION), None) > 0).all()
    one_block = dataclasses.replace(
        CONVOLUTION,
        levels=(dataclasses.replace(CONVOLUTION.levels[0], num_blocks=1),),
    )
    table = influence(awake(one_block), None)
    frames = torch.arange(FRAMES)
    far = (frames[:, None] - frames[None, :]).abs() > one_block.halo_frames
    assert (table[far] == 0).all()
    assert (table[~far] > 0).all()
