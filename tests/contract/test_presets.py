"""What every preset promises. A new one is tested here by being a row in `PRESETS`."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from imagen_video.cascade.conditioning import low_res_of
from imagen_video.cascade.resample import enlarge_to
from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.cascade.stage import guidance_weights, make_sampler, make_threshold
from imagen_video.models.conditions import Conditions
from imagen_video.models.cost import num_parameters
from imagen_video.models.spec import LevelSpec, UNetSpec
from imagen_video.models.unet import VideoUNet
from imagen_video.presets import PRESETS

CASCADES = {name: build() for name, build in PRESETS.items()}
every_preset = pytest.mark.parametrize("cascade", CASCADES.values(), ids=CASCADES.keys())
every_stage = pytest.mark.parametrize(
    ("cascade", "stage"),
    [(cascade, stage) for cascade in CASCADES.values() for stage in cascade.stages],
    ids=[f"{name}-{stage.name}" for name, c in CASCADES.items() for stage in c.stages],
)


@every_preset
def test_a_preset_is_built_anew_and_equal_each_time(cascade: CascadeSpec) -> None:
    assert PRESETS[cascade.name]() == cascade


@every_preset
def test_a_preset_survives_json(cascade: CascadeSpec) -> None:
    assert CascadeSpec.from_json(json.loads(json.dumps(cascade.to_json()))) == cascade


@every_preset
def test_the_text_encoder_is_named_exactly_when_a_stage_hears_text(cascade: CascadeSpec) -> None:
    hears = any(stage.unet.text_width is not None for stage in cascade.stages)
    assert (cascade.text_encoder is not None) == hears
    if cascade.text_encoder is not None:
        json.dumps(dict(cascade.text_encoder))
        width = cascade.text_encoder.get("width")
        for stage in cascade.stages:
            assert width is None or stage.unet.text_width == width


@every_stage
def test_a_stage_is_built_on_the_meta_device(cascade: CascadeSpec, stage: StageSpec) -> None:
    assert num_parameters(stage.unet) > 0


@every_stage
def test_a_stage_fits_the_clip_and_crop_of_its_training(
    cascade: CascadeSpec, stage: StageSpec
) -> None:
    source = cascade.input_of(stage.name)
    height, width = stage.crop or (stage.output.height, stage.output.width)
    frames = stage.train_frames or stage.output.frames
    stage.unet.check_size(stage.name, height, width)
    if source is None:
        return
    for count in (frames, 1):  # clips, and images for joint training
        video = torch.zeros(1, count, 1, height, width)
        low_res = low_res_of(video, source, stage.output)
        assert enlarge_to(low_res, count, height, width, stage.temporal_fill).shape == video.shape


@every_stage
def test_the_settings_of_a_stage_can_be_sampled_with(
    cascade: CascadeSpec, stage: StageSpec
) -> None:
    sampling = stage.sampling
    times = make_sampler(sampling).times(sampling.steps)
    assert len(times) == sampling.steps
    weights = guidance_weights(sampling)
    assert len(weights) == sampling.steps
    assert all(0 <= weight <= 20 for weight in weights)
    x = torch.linspace(-3, 3, 2 * 3 * 4 * 4).view(1, 2, 3, 4, 4)
    assert make_threshold(sampling).apply(x).abs().max() <= 1


def narrow(unet: UNetSpec) -> UNetSpec:
    """The same network, narrow and shallow: kinds of layers, conditions and strides stay."""
    levels = tuple(
        LevelSpec(
            **{
                **dataclasses.asdict(level),
                "channels": 16,
                "num_blocks": min(2, level.num_blocks),
            }
        )
        for level in unet.levels
    )
    width = None if unet.text_width is None else 8
    return dataclasses.replace(
        unet, levels=levels, embedding_width=16, head_width=8, text_width=width
    )


@every_stage
def test_a_narrow_copy_of_a_stage_denoises_and_trains(
    cascade: CascadeSpec, stage: StageSpec
) -> None:
    unet = narrow(stage.unet)
    network = VideoUNet(unet)
    clip = Clip(frames=min(4, stage.output.frames), height=unet.stride, width=2 * unet.stride)
    shape = (2, clip.frames, unet.channels, clip.height, clip.width)
    generator = torch.Generator().manual_seed(0)
    z, low_res = (torch.randn(shape, generator=generator) for _ in range(2))
    conditions = Conditions(
        text_states=torch.ones(2, 3, 8) if unet.text_width else None,
        text_mask=torch.ones(2, 3, dtype=torch.bool) if unet.text_width else None,
        class_id=torch.tensor([3, -1]) if unet.num_classes else None,
        low_res=low_res if unet.low_res else None,
        low_res_logsnr=torch.full((2,), 3.0) if unet.low_res else None,
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(8):
        loss = (network(z, torch.zeros(2), conditions) - z).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
