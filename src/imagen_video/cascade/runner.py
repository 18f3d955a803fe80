"""The stages of a request, one after another: what is told, resumed, kept and reported."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor, nn

from imagen_video.cascade.inputs import given_first_frames
from imagen_video.cascade.memory import give_back_freed, held_bytes, wait_for
from imagen_video.cascade.outputs import as_output_type
from imagen_video.cascade.request import PipelineOutput, Progress, Request, StageReport, Stopped
from imagen_video.cascade.run_plan import RunPlan
from imagen_video.cascade.spec import StageSpec
from imagen_video.cascade.stage import OnStep, StageInput, sample_stage
from imagen_video.cascade.windows import sample_in_windows
from imagen_video.cascade.work_folder import WorkFolder
from imagen_video.media.frames import to_uint8
from imagen_video.text.base import TextEmbedding

OnProgress = Callable[[Progress], None]
"""Called after every part of a stage."""
OnStage = Callable[[StageReport, Tensor], None]
"""Called with every finished stage and its output."""
OnFrames = Callable[[int, np.ndarray], None]
"""Called in order with the first index and uint8 frames `(b, n, h, w, 3)` of the last stage."""


@dataclasses.dataclass(kw_only=True)
class Runner:
    """One run: the settled request, what it is run with, and who listens."""

    request: Request
    plan: RunPlan
    text: tuple[TextEmbedding | None, TextEmbedding | None]
    """Prompts and negative prompts."""
    network: Callable[[str], nn.Module]
    """Stage name to network."""
    bf16: bool
    memory: int | None
    keep: Sequence[str]
    work: WorkFolder | None
    output_type: str
    on_progress: OnProgress | None
    on_stage: OnStage | None
    on_frames: OnFrames | None

    def run(self) -> PipelineOutput:
        """Run all stages.

        Raises:
            Stopped: if a callback does; what was finished is in its `output`.
        """
        kept: dict[str, Tensor] = {}
        reports: list[StageReport] = []
        video = self.request.video
        try:
            for index, stage in enumerate(self.plan.stages):
                report, video = self._stage(index, stage, video)
                reports.append(report)
                if stage.name in self.keep:
                    kept[stage.name] = video.cpu()
                if self.on_stage is not None:
                    self.on_stage(report, video)
        except Stopped as stop:
            stop.output = self._output(video if reports else None, kept, reports)
            raise
        return self._output(video, kept, reports)

    def _output(
        self, video: Tensor | None, kept: dict[str, Tensor], reports: list[StageReport]
    ) -> PipelineOutput:
        last = reports[-1].clip if reports else self.plan.clips[self.plan.stages[0].name]
        return PipelineOutput(
            frames=None if video is None else as_output_type(video, self.output_type),
            fps=last.fps,
            stages=kept,
            reports=tuple(reports),
        )

    def _stage(
        self, index: int, stage: StageSpec, before: Tensor | None
    ) -> tuple[StageReport, Tensor]:
        """Run one stage, or take it from the work folder."""
        last = index == len(self.plan.stages) - 1
        started = time.monotonic()
        video = None if self.work is None else self.work.load(stage.name)
        resumed, tiles = video is not None, 0
        if video is None:
            asked = self._asked(stage, before)
            on_step = self._on_step(stage.name, index, started)
            video, tiles = self._sample(stage, asked, on_step, forward=last)
            wait_for(video.device)
            if self.work is not None and not last:
                self.work.save(stage.name, video)
        elif last:
            self._forward(0, video)
        report = StageReport(
            name=stage.name,
            clip=self.plan.clips[stage.name],
            sampling=self.plan.sampling[stage.name],
            seconds=time.monotonic() - started,
            tiles=tiles,
            resumed=resumed,
        )
        return report, video

    def _sample(
        self, stage: StageSpec, asked: StageInput, on_step: OnStep | None, *, forward: bool
    ) -> tuple[Tensor, int]:
        """Return a stage's output and the number of its tiles."""
        network = self.network(stage.name)
        device = next(network.parameters()).device
        resident = 0
        if self.memory is not None:
            give_back_freed(device)
            resident = held_bytes(device)
        tiles = self.plan.tiles(stage, self.memory, resident)
        sample = functools.partial(
            sample_stage,
            stage,
            network,
            sampling=self.plan.sampling[stage.name],
            tiles=tiles,
            bf16=self.bf16,
        )
        if not (self.plan.windowed and stage.kind == "base"):
            on_frames = self._forward if forward else None
            return sample(asked, on_step=on_step, on_frames=on_frames), len(tiles)
        assert self.request.overlap is not None
        video = sample_in_windows(
            lambda part, step: sample(part, on_step=step),
            asked,
            stage.unet.channels,
            stage.output.frames,
            self.request.overlap,
            on_step,
        )
        if forward:
            self._forward(0, video)
        return video, len(tiles)

    def _asked(self, stage: StageSpec, before: Tensor | None) -> StageInput:
        request, clip = self.request, self.plan.clips[stage.name]
        first = stage is self.plan.stages[0]
        asked = StageInput(
            seeds=request.seeds,
            clip=clip,
            text=self.text[0],
            negative=self.text[1],
            low_res=before,
            class_id=request.class_id,
            vector=request.vector,
        )
        if not first or request.given_frames is None:
            return asked
        given = given_first_frames(request.given_frames, stage, clip)
        return dataclasses.replace(asked, **given)

    def _on_step(self, name: str, index: int, started: float) -> OnStep | None:
        on_progress = self.on_progress
        if on_progress is None:
            return None
        return lambda done, total: on_progress(
            Progress(
                stage=name,
                index=index,
                num_stages=len(self.plan.stages),
                done=done,
                total=total,
                seconds=time.monotonic() - started,
            )
        )

    def _forward(self, first: int, video: Tensor) -> None:
        if self.on_frames is not None:
            self.on_frames(first, to_uint8(video.float().cpu()))
