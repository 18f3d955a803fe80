"""Sample sheets during training: what the averaged network makes of clips it is not trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import nn

from imagen_video.cascade.conditioning import low_res_of
from imagen_video.cascade.spec import Clip, StageSpec
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.data.batch import BatchSource
from imagen_video.media.frames import to_uint8
from imagen_video.media.sheets import contact_sheet, write_png
from imagen_video.text.base import TextEncoder

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

    def __call__(self, network: nn.Module, step: int) -> None:
        """Sample with the averaged network after `step` updates."""
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
                text=None if self.encoder is None else self.encoder.encode(batch.captions),
                low_res=low_res,
            ),
            dataclasses.replace(
                self.stage.sampling, steps=min(MAX_STEPS, self.stage.sampling.steps)
            ),
            bf16=self.bf16,
        )
        network.train(training)
        rows = [clip for pair in zip(to_uint8(made), to_uint8(real), strict=True) for clip in pair]
        labels = [text for caption in batch.captions for text in (caption, "real")]
        sheet = contact_sheet(rows, columns=8, cell_width=160, labels=labels)
        write_png(self.run_dir / "samples" / f"step-{step:08d}.png", sheet)
