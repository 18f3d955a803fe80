"""What every network promises, shown on the stages of the test cascade with random weights."""

from __future__ import annotations

import pytest
import torch

from imagen_video.cascade.spec import StageSpec
from imagen_video.presets.tiny import tiny
from unit.models.random_networks import awake, inputs

every_stage = pytest.mark.parametrize("stage", tiny().stages, ids=lambda stage: stage.name)


def sizes(stage: StageSpec) -> dict[str, int]:
    """Few frames, and a plane small enough to be quick and larger than one stride."""
    stride = stage.unet.stride
    return {"batch": 2, "frames": 3, "height": 2 * stride, "width": 3 * stride}


@every_stage
def test_shape_and_type_are_kept_and_values_are_finite(stage: StageSpec) -> None:
    z, logsnr, conditions = inputs(stage.unet, **sizes(stage))
    v = awake(stage.unet)(z, logsnr, conditions)
    assert (v.shape, v.dtype) == (z.shape, z.dtype)
    assert v.isfinite().all()


@every_stage
def test_videos_of_a_batch_are_independent(stage: StageSpec) -> None:
    network = awake(stage.unet)
    z, logsnr, conditions = inputs(stage.unet, **sizes(stage))
    alone = network(z[1:], logsnr[1:], conditions.map(lambda t: t[1:]))
    torch.testing.assert_close(network(z, logsnr, conditions)[1:], alone, rtol=1e-3, atol=1e-3)


@every_stage
def test_frames_of_images_are_independent_and_frames_of_clips_are_not(stage: StageSpec) -> None:
    network = awake(stage.unet)
    z, logsnr, conditions = inputs(stage.unet, **sizes(stage))
    changed = z.clone()
    changed[:, 1] *= -1
    for is_image, expected in ((True, False), (False, True)):
        kind = conditions.replace(is_image=torch.full((2,), is_image))
        moved = (network(changed, logsnr, kind) - network(z, logsnr, kind)).abs()
        assert moved[:, 1].max() > 1e-3
        assert bool(moved[:, [0, 2]].max() > 1e-5) == expected


@every_stage
def test_the_prompt_is_heard_and_can_be_dropped(stage: StageSpec) -> None:
    network = awake(stage.unet)
    z, logsnr, conditions = inputs(stage.unet, **sizes(stage))
    assert conditions.text_states is not None
    other = conditions.replace(text_states=-conditions.text_states)
    assert (network(z, logsnr, other) - network(z, logsnr, conditions)).abs().max() > 1e-4
    everything = torch.tensor([True, True])
    assert torch.equal(
        network(z, logsnr, other.drop(everything)),
        network(z, logsnr, conditions.drop(everything)),
    )


@every_stage
def test_a_state_dict_rebuilds_the_network(stage: StageSpec) -> None:
    network, other = awake(stage.unet, seed=1), awake(stage.unet, seed=2)
    z, logsnr, conditions = inputs(stage.unet, **sizes(stage))
    assert not torch.equal(network(z, logsnr, conditions), other(z, logsnr, conditions))
    other.load_state_dict(network.state_dict())
    assert torch.equal(network(z, logsnr, conditions), other(z, logsnr, conditions))
