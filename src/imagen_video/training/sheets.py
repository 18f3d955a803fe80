"""Sample sheets during training: what the averaged network makes of clips it is not trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from imagen_video.cascade.conditioning import low_res_of
from imagen_video.cascade.spec import Clip, StageSpec
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.data.batches.batch import Batch, BatchSource
from imagen_video.media.frames import to_uint8
from imagen_video.media.sheets import contact_sheet, write_png
from imagen_video.text.base import TextEncoder
from imagen_video.training.labels import text_of

MAX_STEPS = 16
"""Network evaluations of a sheet: enough to see progress, few enough not to slow training down."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleSheet:
    """Draws `RUN/samples/step-*.png`: one row a sampled clip, and below it the real one."""

    stage: StageSpec
    source: Clip | None
    """The stage's input; None for the base."""
    batches: BatchSource
    """Clips that training does not show. The same ones every time."""
    encoder: TextEncoder | None
    run_dir: Path
    bf16: bool = False
    write: bool = True
    """Only one of several processes writes; all of them sample."""

    def __call__(self, network: nn.Module, step: int) -> np.ndarray:
        """Sample with the averaged network after `step` updates; return the sheet."""
        batch = self.batches.batch(0)
        real = batch.video
        clips, frames, _, height, width = real.shape
        low_res = None if self.source is None else low_res_of(real, self.source, self.stage.output)
        training = network.training
        made = sample_stage(
            self.stage,
            network.eval(),
            StageInput(
                seeds=range(clips),
                clip=Clip(frames=frames, height=height, width=width, fps=self.stage.output.fps),
                text=None if self.stage.unet.text_width is None else text_of(batch, self.encoder),
                low_res=low_res,
                class_id=batch.class_id,
                vector=batch.vector,
            ),
            dataclasses.replace(
                self.stage.sampling, steps=min(MAX_STEPS, self.stage.sampling.steps)
            ),
            bf16=self.bf16,
        )
        network.train(training)
        pairs = zip(_shown(made), _shown(real), strict=True)
        rows = [clip for pair in pairs for clip in pair]
        labels = [text for label in _labels(batch) for text in (label, "real")]
        sheet = contact_sheet(rows, columns=8, cell_width=160, labels=labels)
        if self.write:
            write_png(self.run_dir / "samples" / f"step-{step:08d}.png", sheet)
        return sheet


def _shown(video: Tensor) -> np.ndarray:
    """Frames in colour: grey is repeated, further channels (depth, ...) are left out."""
    channels = video.shape[2]
    return to_uint8(video[:, :, :3] if channels >= 3 else video[:, :, :1])


def _labels(batch: Batch) -> list[str]:
    """What was asked for, a line a clip."""
    if batch.captions:
        return [text if isinstance(text, str) else " / ".join(text) for text in batch.captions]
    lines = [""] * len(batch)
    if batch.class_id is not None:
        lines = [f"class {number}" for number in batch.class_id.tolist()]
    if batch.vector is not None:
        vectors = batch.vector.tolist()
        lines = [f"{line} {vector}".strip() for line, vector in zip(lines, vectors, strict=True)]
    return [line or "unconditional" for line in lines]
