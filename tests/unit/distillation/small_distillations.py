"""Distillations of milliseconds: the small cascade as teacher, clips of moving stripes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imagen_video.cascade.bundle import Bundle, save_bundle
from imagen_video.cascade.spec import StageSpec
from imagen_video.data.batches.batch import Batch
from imagen_video.distillation.config import DistillConfig
from imagen_video.distillation.objective import DistillationObjective
from imagen_video.distillation.rounds import Round, plan_route
from imagen_video.distillation.run import StageTask
from imagen_video.distillation.teacher import Mode, Teacher
from imagen_video.training.objective import StageObjective
from unit.cascade.small_cascades import WordEncoder, awake, small_cascade, small_networks

SPEC = small_cascade()
GUIDED = Round(kind="guided")


@dataclasses.dataclass(frozen=True)
class Stripes:
    """Clips of a stage whose brightness the caption names."""

    stage: str = "base"
    clips: int = 4
    first: int = 0

    def batch(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(self.first + step)
        stage = SPEC.stage(self.stage)
        frames = stage.train_frames or stage.output.frames
        height, width = stage.crop or (stage.output.height, stage.output.width)
        bright = torch.rand(self.clips, generator=generator) < 0.5
        sign = torch.where(bright, 0.6, -0.6)[:, None, None, None, None]
        texture = 0.3 * torch.randn(self.clips, frames, 3, height, width, generator=generator)
        captions = tuple("bright" if b else "dark" for b in bright.tolist())
        return Batch(video=(sign + texture).clamp(-1, 1), captions=captions)


def objective_of(
    stage: str,
    round_: Round,
    *,
    network: nn.Module | None = None,
    mode: Mode = "conditional",
    weights: tuple[float, float] = (0.0, 0.0),
    **changes: Any,
) -> DistillationObjective:
    spec: StageSpec = SPEC.stage(stage)
    teacher = Teacher.of(network or awake(spec.unet), mode)
    return DistillationObjective(
        stage=StageObjective(
            stage=spec,
            source=SPEC.input_of(stage),
            encoder=WordEncoder(),
            text_dropout=0.0,
            **changes,
        ),
        teacher=teacher,
        round=round_,
        min_weight=weights[0],
        max_weight=weights[1],
    )


def with_weight(spec: StageSpec) -> Any:
    """The network of a student that takes w."""
    return dataclasses.replace(spec.unet, guidance_weight=True)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def write_bundle(path: Path, seed: int = 0, **changes: Any) -> Bundle:
    networks = small_networks(SPEC)
    if seed:
        networks = {s.name: awake(s.unet, seed + i) for i, s in enumerate(SPEC.stages)}
    return save_bundle(path, SPEC, networks, provenance={"data": "none"}, **changes)


def config_of(**changes: Any) -> DistillConfig:
    values: dict[str, Any] = {"updates_per_round": 8, "learning_rate": 1e-4, "clips": 4}
    return DistillConfig(**{**values, "sample_minutes": 0.0, "log_every": 4, **changes})


def task_of(bundle: Bundle, run_dir: Path, stage: str = "base", **changes: Any) -> StageTask:
    route = {"to": 1, "start": 2, "weights": (0.0, 4.0) if stage == "base" else None}
    route |= {key: changes.pop(key) for key in list(changes) if key in (*route, "sampler")}
    values: dict[str, Any] = {
        "config": config_of(),
        "batches": Stripes(stage),
        "probes": [Stripes(stage, first=1000).batch(i) for i in range(2)],
        "encoder": WordEncoder(),
        "device": torch.device("cpu"),
    }
    return StageTask(
        bundle=bundle,
        route=plan_route(bundle.spec.stage(stage), **route),
        folder=run_dir / stage,
        **{**values, **changes},
    )


def student_weights(task: StageTask, round_: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(task.folder / round_ / "student.safetensors")


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)
