"""A training run of milliseconds: a small stage, moving squares, words as text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imagen_video.data.batches.batch import Batch
from imagen_video.models.unet import VideoUNet
from imagen_video.training.config import TrainConfig
from imagen_video.training.loop import train
from imagen_video.training.objective import StageObjective
from unit.cascade.small_cascades import WordEncoder, small_cascade

SPEC = small_cascade()


@dataclasses.dataclass(frozen=True)
class ColourClips:
    """Clips of one colour each, the caption names it; every third step has images."""

    stage: str = "base"
    batch_size: int = 4
    sizes: tuple[int, ...] = (4, 4, 6)

    def batch(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        bright = torch.rand(self.batch_size, generator=generator) < 0.5
        colour = torch.where(bright, 0.8, -0.8)
        frames, height, width = self.sizes
        frames = 1 if step % 3 == 2 else frames
        video = colour[:, None, None, None, None].expand(-1, frames, 3, height, width)
        captions = tuple("bright" if b else "dark" for b in bright.tolist())
        return Batch(video=video.contiguous(), captions=captions)


def network_of(stage: str = "base", seed: int = 0) -> VideoUNet:
    torch.manual_seed(seed)
    return VideoUNet(SPEC.stage(stage).unet)


def objective_of(stage: str = "base", **changes: Any) -> StageObjective:
    values: dict[str, Any] = {"encoder": WordEncoder(), **changes}
    return StageObjective(stage=SPEC.stage(stage), source=SPEC.input_of(stage), **values)


def config_of(**changes: Any) -> TrainConfig:
    values: dict[str, Any] = {"steps": 12, "warmup_steps": 2, "sample_minutes": 0.0, **changes}
    return TrainConfig(**values)


def stage_meta(stage: str = "base") -> dict[str, Any]:
    return {"cascade": SPEC.name, "stage": dataclasses.asdict(SPEC.stage(stage))}


def run(run_dir: Path, config: TrainConfig, **changes: Any) -> nn.Module:
    return train(
        changes.pop("network", None) or network_of(),
        changes.pop("objective", None) or objective_of(text_dropout=config.text_dropout),
        changes.pop("batches", None) or ColourClips(),
        config,
        run_dir,
        meta=changes.pop("meta", None) or stage_meta(),
        **changes,
    )


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert not differing
