"""Training a stage of the `tiny` cascade on clips of one colour whose text says which."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imagen_video.data.batches.batch import Batch
from imagen_video.models.unet import VideoUNet
from imagen_video.presets.tiny import tiny
from imagen_video.text.base import TextEmbedding
from imagen_video.training.config import TrainConfig
from imagen_video.training.loop import train
from imagen_video.training.objective import StageObjective
from imagen_video.training.processes import Processes

SPEC = tiny()


@dataclasses.dataclass(frozen=True)
class TinyClips:
    """Every third step has images. The text is encoded already."""

    stage: str = "base"
    rows: int = 4
    on_batch: Callable[[int], None] = lambda step: None

    def batch(self, step: int) -> Batch:
        self.on_batch(step)
        stage = SPEC.stage(self.stage)
        generator = torch.Generator().manual_seed(step)
        colour = torch.rand(self.rows, 1, 3, 1, 1, generator=generator) * 2 - 1
        frames = 1 if step % 3 == 2 else stage.output.frames
        size = (self.rows, frames, 3, stage.output.height, stage.output.width)
        width = stage.unet.text_width or 1
        states = colour[:, 0, :1, 0].expand(-1, 5, width).contiguous()
        mask = torch.ones(self.rows, 5, dtype=torch.bool)
        return Batch(
            video=colour.expand(size).contiguous(), text=TextEmbedding(states=states, mask=mask)
        )


def objective_of(stage: str, device: torch.device | None = None) -> StageObjective:
    return StageObjective(
        stage=SPEC.stage(stage),
        source=SPEC.input_of(stage),
        encoder=None,
        device=device or torch.device("cpu"),
    )


def config_of(**changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "steps": 6,
        "warmup_steps": 2,
        "sample_minutes": 0.0,
        "validate_every": 0,
        "log_every": 1,
        **changes,
    }
    return TrainConfig(**values)


def network_of(stage: str = "base", seed: int = 0) -> VideoUNet:
    torch.manual_seed(seed)
    return VideoUNet(SPEC.stage(stage).unet)


def run(run_dir: Path, config: TrainConfig, stage: str = "base", **changes: Any) -> nn.Module:
    network = changes.pop("network", None) or network_of(stage)
    network.gradient_checkpointing = config.gradient_checkpointing
    return train(
        network,
        changes.pop("objective", None) or objective_of(stage),
        changes.pop("batches", None) or TinyClips(stage),
        config,
        run_dir,
        meta={"cascade": SPEC.name, "stage": dataclasses.asdict(SPEC.stage(stage))},
        processes=changes.pop("processes", None) or Processes.join(config),
        **changes,
    )


class DrawsFromGlobalGenerators:
    """An objective that is not ours: each process draws something else, from global state."""

    def __init__(self, stage: str) -> None:
        self._objective = objective_of(stage)

    def __call__(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        loss = self._objective(network, batch, generator)
        return loss * (1 + 0.1 * torch.rand(()))
