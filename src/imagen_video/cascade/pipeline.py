"""`ImagenVideoPipeline`: prompts in, video out, through any run of stages (paper, Fig. 6).

    text -> base -> tsr1 -> ssr1 -> ssr2 -> tsr2 -> tsr3 -> ssr3

Each stage's output is the next one's low-resolution input, noised by conditioning augmentation. A
stage that starts from a given video is a generic video super-resolver.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from imagen_video.cascade.bundle import Bundle, save_bundle
from imagen_video.cascade.inputs import (
    fit_video,
    given_first_frames,
    negatives_for,
    prompts_for,
    seeds_for,
    spread_options,
)
from imagen_video.cascade.labels import labels_for
from imagen_video.cascade.memory import give_back_freed, resident_bytes
from imagen_video.cascade.options import StageOptions
from imagen_video.cascade.outputs import as_output_type, check_output_type
from imagen_video.cascade.request import PipelineOutput, Progress, Request, StageReport
from imagen_video.cascade.resolve_bundle import find_bundle
from imagen_video.cascade.run_plan import RunPlan, plan_run
from imagen_video.cascade.spec import CascadeSpec, StageSpec
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.cascade.work_folder import WorkFolder
from imagen_video.errors import InputError
from imagen_video.media.frames import to_uint8
from imagen_video.text.base import TextEmbedding, TextEncoder

__all__ = [
    "ImagenVideoPipeline",
    "PipelineOutput",
    "Progress",
    "Request",
    "StageReport",
    "fit_video",
]

OnProgress = Callable[[Progress], None]
OnStage = Callable[[StageReport, Tensor], None]
OnFrames = Callable[[int, np.ndarray], None]


class ImagenVideoPipeline:
    """A cascade with its weights and its text encoder, ready to sample."""

    def __init__(
        self,
        spec: CascadeSpec,
        load_network: Callable[[str], nn.Module],
        encoder: TextEncoder | None = None,
        *,
        provenance: Mapping[str, Any] | None = None,
        digest: str = "",
        check_weights: Callable[[str], None] | None = None,
    ) -> None:
        """Wrap a cascade.

        Args:
            spec: the cascade.
            load_network: stage name to network in eval mode.
            encoder: text encoder; None = built from the spec at the first prompt.
            provenance: where the weights come from.
            digest: identifies the weights.
            check_weights: raises `BundleError` if a stage's weights cannot be loaded; called for
                every stage of a run before the first one starts.
        """
        self.spec = spec
        self.provenance = dict(provenance or {})
        self.digest = digest
        self.device = torch.device("cpu")
        self.bf16 = False
        self.one_stage_resident = False
        """Keep only the running stage's weights in memory."""
        self._load_network = load_network
        self._check_weights = check_weights
        self._networks: dict[str, nn.Module] = {}
        self._encoder = encoder

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, *, revision: str | None = None) -> Self:
        """Open a cascade: a built-in name (`emoji`), a bundle folder, or a hub id.

        Raises:
            BundleError: if it cannot be found or is damaged.
        """
        bundle = Bundle.open(find_bundle(name_or_path, revision))
        return cls(
            bundle.spec,
            bundle.network,
            provenance=bundle.provenance,
            digest=bundle.digest,
            check_weights=bundle.check_weights,
        )

    def save_pretrained(self, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Write the cascade as a bundle."""
        networks = {stage.name: self.network(stage.name) for stage in self.spec.stages}
        save_bundle(path, self.spec, networks, provenance=self.provenance, dtype=dtype)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Choose the device, and fp32 or bf16 autocast for the networks.

        Raises:
            InputError: for another dtype.
        """
        if dtype not in (None, torch.float32, torch.bfloat16):
            raise InputError(
                "dtype", str(dtype), "torch.float32 or torch.bfloat16", "choose one of them"
            )
        self.bf16 = self.bf16 if dtype is None else dtype == torch.bfloat16
        if device is not None:
            self.device = torch.device(device)
            for network in self._networks.values():
                network.to(self.device)
        return self

    def network(self, stage: str) -> nn.Module:
        """Return a stage's network, loading it at first use."""
        if stage not in self._networks:
            if self.one_stage_resident:
                self._networks.clear()
            self._networks[stage] = self._load_network(stage).to(self.device)
        return self._networks[stage]

    def __call__(  # noqa: PLR0913 - the argument names of the ecosystem
        self,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        *,
        class_id: int | Sequence[int] | None = None,
        vector: Sequence[float] | Sequence[Sequence[float]] | None = None,
        seed: int | Sequence[int] = 0,
        generator: torch.Generator | None = None,
        num_frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_weight: float | None = None,
        guidance_scale: float | None = None,
        stages: Mapping[str, StageOptions] | None = None,
        until: str | None = None,
        memory: int | None = None,
        output_type: str = "np",
        callback_on_step_end: Callable[[Progress], None] | None = None,
    ) -> PipelineOutput:
        """Make one video a prompt.

        Args:
            prompt: one or several sentences; None for a cascade without text.
            negative_prompt: what guidance pushes away from, one or one a prompt; None = the null
                text.
            class_id: one, or one a video.
            vector: the numbers of a video, or of each.
            seed: one (video i gets seed + i) or one a prompt. Equal seeds give equal videos in any
                batch.
            generator: alternative to `seed`: its initial seed is taken.
            num_frames: frames of the output; the cascade's if None.
            height: pixels of the output.
            width: pixels of the output.
            num_inference_steps: steps of every stage; each stage's own if None.
            guidance_weight: w of the base; each stage's own if None. 0 = off.
            guidance_scale: refused: the weight is one less.
            stages: further settings by stage name.
            until: last stage to run.
            memory: bytes that the process may use; None = no bound.
            output_type: `np` (uint8), `pil` or `pt` (float in [-1, 1]).
            callback_on_step_end: called with a `Progress`.

        Raises:
            InputError: for anything that cannot be used.
        """
        if guidance_scale is not None:
            raise InputError(
                "guidance_scale",
                f"{guidance_scale}",
                "guidance_weight (the paper's w, 0 = off)",
                f"pass guidance_weight={guidance_scale - 1:g}: it is guidance_scale - 1",
            )
        ids, vectors = labels_for(class_id, vector)
        videos = max(1 if label is None else len(label) for label in (ids, vectors))
        prompts = prompts_for(prompt, untold=None if self._hears_text else videos)
        request = Request(
            prompts=prompts,
            seeds=seeds_for(
                generator.initial_seed() if generator is not None else seed, len(prompts)
            ),
            negative_prompts=negatives_for(negative_prompt, len(prompts)),
            until=until,
            num_frames=num_frames,
            height=height,
            width=width,
            options=spread_options(self.spec, stages or {}, num_inference_steps, guidance_weight),
            class_id=ids,
            vector=vectors,
        )
        return self.run(
            request, memory=memory, output_type=output_type, on_progress=callback_on_step_end
        )

    def check(self, request: Request, memory: int | None = None) -> RunPlan:
        """Settle a request without computing anything: its stages, sizes, weights and memory.

        Raises:
            InputError: for anything that cannot be used.
            BundleError: if a stage's weights are missing or damaged.
            ResourceError: if the memory does not suffice.
        """
        plan = plan_run(self.spec, request)
        if self._check_weights is not None:
            for stage in plan.stages:
                if stage.name not in self._networks:
                    self._check_weights(stage.name)
        plan.check_memory(memory)
        return plan

    def run(  # noqa: PLR0913
        self,
        request: Request,
        *,
        memory: int | None = None,
        keep: Sequence[str] = (),
        work: WorkFolder | None = None,
        output_type: str = "np",
        on_progress: OnProgress | None = None,
        on_stage: OnStage | None = None,
        on_frames: OnFrames | None = None,
    ) -> PipelineOutput:
        """Run a request.

        Args:
            request: what to make.
            memory: bytes that the process may use; stages that can be tiled are, the others fail
                early.
            keep: stages whose outputs are returned in `stages`.
            work: folder for finished stages; those found in it are not run again.
            output_type: `np`, `pil`, `pt`, or `none` when `on_frames` takes the result.
            on_progress: called after every part of a stage.
            on_stage: called with every finished stage and its output.
            on_frames: called in order with the first index and uint8 frames `(b, n, h, w, 3)` of
                the last stage.

        Raises:
            InputError: for anything that cannot be used.
            ResourceError: if memory or disk do not suffice.
        """
        check_output_type(output_type)
        for name in keep:
            self.spec.index(name)
        plan = self.check(request, memory)
        text = self._encode(request)
        video, kept, reports = request.video, {}, []
        for index, stage in enumerate(plan.stages):
            last = index == len(plan.stages) - 1
            started = time.monotonic()
            found = None if work is None else work.load(stage.name)
            tiles = 0
            if found is None:
                asked = _stage_input(request, plan, stage, text, video)
                step = _progress(on_progress, stage.name, index, len(plan.stages), started)
                frames = _frames(on_frames) if last else None
                video, tiles = self._sample(plan, stage, asked, memory, step, frames)
                if work is not None and not last:
                    work.save(stage.name, video)
            else:
                video = found
                if last and on_frames is not None:
                    _frames(on_frames)(0, video)
            report = StageReport(
                name=stage.name,
                clip=plan.clips[stage.name],
                sampling=plan.sampling[stage.name],
                seconds=time.monotonic() - started,
                tiles=tiles,
                resumed=found is not None,
            )
            reports.append(report)
            if on_stage is not None:
                on_stage(report, video)
            if stage.name in keep:
                kept[stage.name] = video.cpu()
        assert video is not None
        return PipelineOutput(
            frames=as_output_type(video, output_type),
            fps=plan.clips[plan.stages[-1].name].fps,
            stages=kept,
            reports=tuple(reports),
        )

    def _sample(
        self,
        plan: RunPlan,
        stage: StageSpec,
        asked: StageInput,
        memory: int | None,
        on_step: Callable[[int, int], None] | None,
        on_frames: Callable[[int, Tensor], None] | None,
    ) -> tuple[Tensor, int]:
        """Run one stage; return its output and the number of tiles."""
        network = self.network(stage.name)
        resident = 0
        if memory is not None:
            give_back_freed()
            resident = resident_bytes()
        tiles = plan.tiles(stage, memory, resident)
        video = sample_stage(
            stage,
            network,
            asked,
            plan.sampling[stage.name],
            tiles=tiles,
            bf16=self.bf16,
            on_step=on_step,
            on_frames=on_frames,
        )
        return video, len(tiles)

    @property
    def _hears_text(self) -> bool:
        return any(stage.unet.text_width for stage in self.spec.stages)

    def _encode(self, request: Request) -> tuple[TextEmbedding | None, TextEmbedding | None]:
        """Encode the prompts and the negative prompts."""
        if not self._hears_text:
            return None, None
        if self._encoder is None:
            from imagen_video.text.registry import build_text_encoder

            if self.spec.text_encoder is None:
                raise InputError(
                    "text encoder", "none in the bundle", "text_encoder.json", "pass an encoder"
                )
            self._encoder = build_text_encoder(dict(self.spec.text_encoder))
        text = self._encoder.encode(request.prompts)
        if request.negative_prompts is None:
            return text, None
        return text, self._encoder.encode(request.negative_prompts)


def _stage_input(
    request: Request,
    plan: RunPlan,
    stage: StageSpec,
    text: tuple[TextEmbedding | None, TextEmbedding | None],
    low_res: Tensor | None,
) -> StageInput:
    clip = plan.clips[stage.name]
    first = stage is plan.stages[0]
    return StageInput(
        seeds=request.seeds,
        clip=clip,
        text=text[0],
        negative=text[1],
        low_res=low_res,
        class_id=request.class_id,
        vector=request.vector,
        **(given_first_frames(request.given_frames, stage, clip) if first else {}),
    )


def _progress(
    on_progress: OnProgress | None, name: str, index: int, count: int, started: float
) -> Callable[[int, int], None] | None:
    if on_progress is None:
        return None
    return lambda done, total: on_progress(
        Progress(
            stage=name,
            index=index,
            num_stages=count,
            done=done,
            total=total,
            seconds=time.monotonic() - started,
        )
    )


def _frames(on_frames: OnFrames | None) -> Callable[[int, Tensor], None]:
    def forward(first: int, video: Tensor) -> None:
        if on_frames is not None:
            on_frames(first, to_uint8(video.float().cpu()))

    return forward
