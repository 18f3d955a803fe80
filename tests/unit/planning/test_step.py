from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from imagen_video.cascade.spec import Clip, StageSpec
from imagen_video.models.spec import LevelSpec, UNetSpec
from imagen_video.models.unet import VideoUNet
from imagen_video.planning.step import StepBytes, TrainedShape, _StepBytes, step_bytes
from imagen_video.presets.tiny import tiny
from imagen_video.training.config import Precision

CASCADE = tiny()


def measured(
    rows: int = 2,
    stage: str = "base",
    precision: Precision = "fp32",
    *,
    checkpointing: bool = False,
) -> StepBytes:
    spec = CASCADE.stage(stage)
    return step_bytes(
        spec,
        CASCADE.input_of(stage),
        TrainedShape.of(spec, rows),
        precision=precision,
        checkpointing=checkpointing,
        tokens=16,
    )


def test_activations_grow_with_the_clips() -> None:
    some, twice, thrice = (measured(rows).activations for rows in (8, 16, 24))
    assert thrice - twice == pytest.approx(twice - some, rel=0.01)


def test_checkpointing_saves_activations() -> None:
    assert measured(checkpointing=True).activations < 0.7 * measured().activations


def test_bf16_saves_activations() -> None:
    assert measured(8, precision="bf16").activations < 0.8 * measured(8).activations


def test_gradients_take_at_most_the_size_of_the_weights() -> None:
    step = measured(checkpointing=True)
    weights = 4 * sum(p.numel() for p in _network_of("base").parameters())
    assert step.activations < step.with_gradients <= step.activations + weights


def test_no_memory_is_taken_however_many_clips_there_are() -> None:
    huge = measured(1 << 20)
    assert huge.activations > 1 << 40


@pytest.mark.parametrize("stage", [stage.name for stage in CASCADE.stages])
def test_every_kind_of_stage_can_be_measured(stage: str) -> None:
    assert measured(stage=stage).activations > 0


def test_classes_vectors_and_odd_channels_can_be_measured() -> None:
    unet = UNetSpec(
        levels=(LevelSpec(channels=8, num_blocks=1),),
        channels=1,
        embedding_width=16,
        num_classes=4,
        vector_width=3,
        frame_rate=True,
    )
    clip = Clip(frames=2, height=4, width=4)
    spec = StageSpec(name="base", kind="base", output=clip, unet=unet)
    shape = TrainedShape.of(spec, 2)
    step = step_bytes(spec, None, shape, precision="fp32", checkpointing=False)
    assert step.activations > 0


def test_the_trained_shape_is_the_crop_and_the_cut_of_the_stage() -> None:
    ssr3 = CASCADE.stage("ssr3")
    assert TrainedShape.of(ssr3, 5) == TrainedShape(rows=5, frames=4, height=64, width=64)
    assert TrainedShape.of(ssr3, 5, images=True).frames == 1
    assert ssr3.output == Clip(frames=32, height=192, width=320, fps=24)


def test_the_count_is_that_of_storages_and_not_of_tensors() -> None:
    """A product keeps its two factors; a view keeps nothing of its own."""
    with FakeTensorMode():
        layer = nn.Linear(1, 1)
        with _StepBytes(layer) as followed:
            x = torch.empty(100, requires_grad=True)
            y = x.view(10, 10).T.exp()
            assert followed.live == 800
            del y
            assert followed.live == 400


def _network_of(stage: str) -> nn.Module:
    return VideoUNet(CASCADE.stage(stage).unet)
