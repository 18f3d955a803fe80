"""The memory of one training process, part by part, for a choice of how to train.

    peak = weights + optimiser + average + copies + gradients and activations + overhead

    part        one process   ddp, each     fsdp, each of n
    weights     P             P             P / n
    optimiser   2 P (AdamW)   2 P           2 P / n
    average     P             P             P / n
    gradients   P             P             P / n
    copies      -             P (buckets)   weights outside of blocks, and two blocks
    activations of the rows that one process works through at once

Activations, and the bf16 copies of weights that autocast makes, come from the real step without
data (`planning.step`). `benchmarks/memory.py` compares the sum with processes that train.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from imagen_video.cascade.spec import CascadeSpec, StageSpec
from imagen_video.models.cost import inference_bytes
from imagen_video.planning.state import gathered_bytes, optimizer_bytes, parameter_bytes
from imagen_video.planning.step import DEFAULT_TOKENS, StepBytes, TrainedShape, step_bytes
from imagen_video.training.config import OptimizerName, Precision

Sharding = Literal["none", "ddp", "fsdp"]

GPU_OVERHEAD = 2 << 30
"""Bytes of a GPU that nobody allocates: context, workspaces of libraries, NCCL's buffers.

Assumption: usual sizes; not measured here.
"""
GPU_SLACK = 1.05
"""Memory over activations that a caching allocator loses to fragments. Assumption."""
SHEET_CLIPS = 3
"""Clips of a sample sheet, which the averaged network makes during training."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """How to train: what decides about memory and speed, not about the result."""

    sharding: Sharding
    """One process, whole copies, or a part of every tensor on each process."""
    checkpointing: bool
    """Recompute blocks in the backward pass."""
    precision: Precision
    """fp32, or bf16 autocast."""
    optimizer: OptimizerName = "adamw"
    """Whose tensors lie beside the weights."""

    def __str__(self) -> str:
        """In words."""
        again = "checkpointing" if self.checkpointing else "no checkpointing"
        return f"{self.sharding}, {again}, {self.precision}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Predicted bytes of one process."""

    parameters: int
    gradients: int
    optimizer: int
    ema: int
    copies: int
    """DDP's buckets of gradients, or the whole weights that FSDP has gathered."""
    activations: int
    """Everything else that lives at once at the worst moment of a step."""
    overhead: int
    """What nobody allocates; 0 on a CPU."""
    step_peak: int
    """Of all together. Less than the sum where gradients appear while activations go."""
    sheet_peak: int
    """The same while a sample sheet is drawn: no gradients, but more clips than a step may have."""

    @property
    def peak(self) -> int:
        """Most that the process ever takes."""
        return max(self.step_peak, self.sheet_peak)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**dataclasses.asdict(self), "peak": self.peak}


def predict(  # noqa: PLR0913 - a stage, a choice, and on what
    cascade: CascadeSpec,
    stage: str,
    choice: Choice,
    *,
    ranks: int,
    rows: int,
    images: bool = False,
    accumulate: bool = False,
    on_gpu: bool = True,
) -> MemoryPlan:
    """Predict the memory of a process.

    Args:
        cascade: the cascade.
        stage: name of the trained stage.
        choice: how.
        ranks: number of processes.
        rows: clips (or images) that a process works through at once.
        images: whether the rows are images.
        accumulate: whether a step has several such parts: gradients then stay in between.
        on_gpu: whether to add what a GPU loses.
    """
    spec = cascade.stage(stage)
    split = ranks if choice.sharding == "fsdp" else 1
    shape = TrainedShape.of(spec, rows, images=images)
    step = step_of(cascade, stage, choice, rows, images=images)
    parameters = parameter_bytes(spec, split)
    copies = {"none": 0, "ddp": parameters, "fsdp": gathered_bytes(spec)}[choice.sharding]
    optimizer = optimizer_bytes(spec, choice.optimizer, split)
    activations, moving = step.activations, step.with_gradients
    if accumulate or split > 1:  # gradients of before are there already, or take little
        moving = activations + parameters
    overhead = GPU_OVERHEAD + int((GPU_SLACK - 1) * activations) if on_gpu else 0
    held = 2 * parameters + optimizer + copies + overhead
    return MemoryPlan(
        parameters=parameters,
        gradients=parameters,
        optimizer=optimizer,
        ema=parameters,
        copies=copies,
        activations=activations,
        overhead=overhead,
        step_peak=held + moving,
        sheet_peak=held + _sheet_bytes(spec, shape),
    )


def step_of(
    cascade: CascadeSpec, stage: str, choice: Choice, rows: int, *, images: bool = False
) -> StepBytes:
    """Measure the step of one process on tensors without memory, with captions of full length."""
    spec = cascade.stage(stage)
    tokens = (cascade.text_encoder or {}).get("max_tokens", DEFAULT_TOKENS)
    return step_bytes(
        spec,
        cascade.input_of(stage),
        TrainedShape.of(spec, rows, images=images),
        precision=choice.precision,
        checkpointing=choice.checkpointing,
        tokens=tokens,
    )


def _sheet_bytes(stage: StageSpec, shape: TrainedShape) -> int:
    """What the averaged network takes to sample the clips of a sheet, all at once."""
    rows = SHEET_CLIPS * stage.rows_a_sample(stage.sampling)
    frames = stage.train_frames or stage.output.frames
    return inference_bytes(stage.unet, rows, frames, shape.height, shape.width)
