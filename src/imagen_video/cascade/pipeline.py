"""`ImagenVideoPipeline`: prompts in, video out, through any run of consecutive stages (paper, Fig. 6).

    text -> base -> tsr1 -> ssr1 -> ssr2 -> tsr2 -> tsr3 -> ssr3

Each stage's output is the next one's low-resolution input, noised by conditioning augmentation. A stage that
starts from a given video is a generic video super-resolver.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from imagen_video.cascade.bundle import Bundle, save_bundle
from imagen_video.cascade.memory import activation_budget
from imagen_video.cascade.options import StageOptions, clips_for, resolve, selected
from imagen_video.cascade.resolve_bundle import find_bundle
from imagen_video.cascade.spec import CascadeSpec, Clip, SamplingSpec, StageSpec
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.cascade.tiling import plan_for_memory, whole
from imagen_video.cascade.work_folder import WorkFolder
from imagen_video.errors import InputError
from imagen_video.media.frames import to_float, to_uint8
from imagen_video.text.base import TextEmbedding, TextEncoder

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a generation is."""

    stage: str
    """The stage that runs."""
    index: int
    """Its number among the stages that run, from 0."""
    num_stages: int
    done: int
    """Finished parts of the stage (steps times tiles)."""
    total: int
    seconds: float
    """Since the stage began."""

    @property
    def seconds_left(self) -> float:
        """Estimated time to the end of the stage."""
        return self.seconds / max(1, self.done) * (self.total - self.done)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageReport:
    """What a stage did."""

    name: str
    clip: Clip
    sampling: SamplingSpec
    seconds: float
    tiles: int
    resumed: bool = False
    """Taken from a work folder instead of run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """Everything that determines a generation's result."""

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    negative_prompts: tuple[str, ...] | None = None
    start: str | None = None
    """First stage; None = base."""
    until: str | None = None
    """Last stage; None = the cascade's last."""
    video: Tensor | None = None
    """Input of the first stage where it is not the base: `(b, f, c, h, w)` in [-1, 1]."""
    video_fps: float | None = None
    given_frames: Tensor | None = None
    """Clean first frames for the base (image-to-video), `(b, n, c, h, w)` in the base's size."""
    num_frames: int | None = None
    height: int | None = None
    width: int | None = None
    options: Mapping[str, StageOptions] = dataclasses.field(default_factory=dict)
    class_id: Tensor | None = None
    vector: Tensor | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineOutput:
    """Result of a call."""

    frames: Any
    """One clip a prompt: uint8 arrays `(f, h, w, 3)`, lists of PIL images, or one tensor, by `output_type`."""
    fps: float
    stages: Mapping[str, Tensor]
    """Kept stage outputs `(b, f, c, h, w)` in [-1, 1], float32 on the CPU."""
    reports: tuple[StageReport, ...]


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
    ) -> None:
        """Wrap a cascade.

        Args:
            spec: the cascade.
            load_network: stage name to network in eval mode.
            encoder: text encoder; None = built from the spec at the first prompt.
            provenance: where the weights come from.
            digest: identifies the weights.
        """
        self.spec = spec
        self.provenance = dict(provenance or {})
        self.digest = digest
        self.device = torch.device("cpu")
        self.bf16 = False
        self.one_stage_resident = False
        """Keep only the running stage's weights in memory."""
        self._load_network = load_network
        self._networks: dict[str, nn.Module] = {}
        self._encoder = encoder

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, *, revision: str | None = None) -> Self:
        """Open a cascade: a built-in name (`emoji`), a bundle folder, or a hub id.

        Raises:
            BundleError: if it cannot be found or is damaged.
        """
        bundle = Bundle.open(find_bundle(name_or_path, revision))
        return cls(bundle.spec, bundle.network, provenance=bundle.provenance, digest=bundle.digest)

    def save_pretrained(self, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Write the cascade as a bundle."""
        networks = {stage.name: self.network(stage.name) for stage in self.spec.stages}
        save_bundle(path, self.spec, networks, provenance=self.provenance, dtype=dtype)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Choose the device, and fp32 or bf16 autocast for the networks.

        Raises:
            InputError: for another dtype.
        """
        if dtype not in (None, torch.float32, torch.bfloat16):
            raise InputError("dtype", str(dtype), "torch.float32 or torch.bfloat16", "choose one of them")
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
        prompt: str | Sequence[str],
        negative_prompt: str | Sequence[str] | None = None,
        *,
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
            prompt: one or several sentences.
            negative_prompt: what guidance pushes away from, one or one a prompt; None = the null text.
            seed: one (video i gets seed + i) or one a prompt. Equal seeds give equal videos in any batch.
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
                "guidance_scale", f"{guidance_scale}", "guidance_weight (the paper's w, 0 = off)",
                f"pass guidance_weight={guidance_scale - 1:g}: guidance_weight = guidance_scale - 1",
            )
        prompts = (prompt,) if isinstance(prompt, str) else tuple(prompt)
        request = Request(
            prompts=prompts,
            seeds=_seeds(generator.initial_seed() if generator is not None else seed, len(prompts)),
            negative_prompts=_broadcast(negative_prompt, len(prompts)),
            until=until, num_frames=num_frames, height=height, width=width,
            options=_with_defaults(self.spec, stages or {}, num_inference_steps, guidance_weight),
        )
        return self.run(request, memory=memory, output_type=output_type, on_progress=callback_on_step_end)

    def run(  # noqa: PLR0913
        self,
        request: Request,
        *,
        memory: int | None = None,
        keep: Sequence[str] = (),
        work: WorkFolder | None = None,
        output_type: str = "np",
        on_progress: Callable[[Progress], None] | None = None,
        on_stage: Callable[[StageReport, Tensor], None] | None = None,
        on_frames: Callable[[int, np.ndarray], None] | None = None,
    ) -> PipelineOutput:
        """Run a request.

        Args:
            request: what to make.
            memory: bytes that the process may use; stages that can be tiled are, the others fail early.
            keep: stages whose outputs are returned in `stages`.
            work: folder for finished stages; those found in it are not run again.
            output_type: `np`, `pil`, `pt`, or `none` when `on_frames` takes the result.
            on_progress: called after every part of a stage.
            on_stage: called with every finished stage and its output.
            on_frames: called in order with the first index and uint8 frames `(b, n, h, w, 3)` of the last stage.

        Raises:
            InputError: for anything that cannot be used.
            ResourceError: if memory or disk do not suffice.
        """
        if output_type not in ("np", "pil", "pt", "none"):
            raise InputError("output_type", repr(output_type), "np, pil, pt or none", "choose one of them")
        chosen = selected(self.spec, request.start, request.until)
        sampling = resolve(self.spec, chosen, request.options)
        clips = clips_for(
            self.spec, chosen, source=_source_clip(request, self.spec, chosen[0]),
            num_frames=request.num_frames, height=request.height, width=request.width,
        )
        text, negative = self._encode(request)
        low_res, kept, reports = request.video, {}, []
        for index, stage in enumerate(chosen):
            last = index == len(chosen) - 1
            started = time.monotonic()
            found = work.load(stage.name) if work is not None else None
            tiles = 1
            if found is None:
                asked = StageInput(
                    seeds=request.seeds, clip=clips[stage.name], text=text, negative=negative, low_res=low_res,
                    class_id=request.class_id, vector=request.vector,
                    **(_given(request.given_frames, clips[stage.name]) if index == 0 else {}),
                )
                plan = self._plan(stage, clips[stage.name], len(request.seeds), memory)
                tiles = len(plan)
                video = sample_stage(
                    stage, self.network(stage.name), asked, sampling[stage.name], tiles=plan, bf16=self.bf16,
                    on_step=_progress(on_progress, stage.name, index, len(chosen), started),
                    on_frames=_frames(on_frames) if last else None,
                )
                if work is not None and not last:
                    work.save(stage.name, video)
            else:
                video = found
                if last and on_frames is not None:
                    _frames(on_frames)(0, video)
            report = StageReport(
                name=stage.name, clip=clips[stage.name], sampling=sampling[stage.name],
                seconds=time.monotonic() - started, tiles=tiles, resumed=found is not None,
            )
            reports.append(report)
            if on_stage is not None:
                on_stage(report, video)
            if stage.name in keep:
                kept[stage.name] = video.cpu()
            low_res = video
        assert low_res is not None
        return PipelineOutput(
            frames=_output(low_res, output_type), fps=clips[chosen[-1].name].fps, stages=kept, reports=tuple(reports)
        )

    def _plan(self, stage: StageSpec, clip: Clip, batch: int, memory: int | None):  # noqa: ANN202
        if memory is None:
            return whole(clip)
        self.network(stage.name)  # its weights count as used memory
        budget = activation_budget(memory, 4 * batch * stage.unet.channels * clip.frames * clip.height * clip.width)
        # guidance doubles the batch
        guided = 2 if stage.sampling.guidance_weight else 1
        return plan_for_memory(f"stage {stage.name!r}", stage.unet, clip, budget, batch=batch * guided)

    def _encode(self, request: Request) -> tuple[TextEmbedding | None, TextEmbedding | None]:
        if not any(stage.unet.text_width for stage in self.spec.stages):
            return None, None
        if self._encoder is None:
            from imagen_video.text.registry import build_text_encoder

            if self.spec.text_encoder is None:
                raise InputError("text encoder", "none in the bundle", "text_encoder.json", "pass an encoder")
            self._encoder = build_text_encoder(dict(self.spec.text_encoder))
        text = self._encoder.encode(request.prompts)
        negative = self._encoder.encode(request.negative_prompts) if request.negative_prompts else None
        return text, negative


def _seeds(seed: int | Sequence[int], count: int) -> tuple[int, ...]:
    seeds = tuple(seed + i for i in range(count)) if isinstance(seed, int) else tuple(seed)
    if len(seeds) != count or not all(isinstance(s, int) and 0 <= s < 2**63 for s in seeds):
        raise InputError("seed", repr(seed)[:80], f"one number, or {count}, from 0 to 2^63 - 1", "correct it")
    return seeds


def _broadcast(text: str | Sequence[str] | None, count: int) -> tuple[str, ...] | None:
    if text is None:
        return None
    texts = (text,) * count if isinstance(text, str) else tuple(text)
    if len(texts) != count:
        raise InputError("negative_prompt", f"{len(texts)} texts", f"one, or {count}", "give one a prompt")
    return texts


def _with_defaults(
    spec: CascadeSpec, options: Mapping[str, StageOptions], steps: int | None, weight: float | None
) -> dict[str, StageOptions]:
    """Spread `num_inference_steps` over all stages and `guidance_weight` to the base; stage options win."""
    merged = dict(options)
    for stage in spec.stages:
        own = merged.get(stage.name, StageOptions())
        merged[stage.name] = dataclasses.replace(
            own,
            steps=steps if own.steps is None else own.steps,
            guidance_weight=weight if own.guidance_weight is None and stage.kind == "base" else own.guidance_weight,
        )
    return merged


def _source_clip(request: Request, spec: CascadeSpec, first: StageSpec) -> Clip | None:
    """Check the given video against the first stage and return its clip."""
    if (request.video is None) != (first.kind == "base"):
        raise InputError(
            f"stage {first.name!r}",
            "no video" if request.video is None else "a video",
            "a video exactly when the first stage is not the base",
            "give --from-video together with --start-stage",
        )
    if request.video is None:
        return None
    _, frames, channels, height, width = request.video.shape
    if channels != first.unet.channels:
        raise InputError("video", f"{channels} channels", f"{first.unet.channels}", "convert it")
    before = spec.input_of(first.name)
    assert before is not None
    return Clip(frames=frames, height=height, width=width, fps=request.video_fps or before.fps)


def _given(frames: Tensor | None, clip: Clip) -> dict[str, Tensor]:
    """Pad given first frames to the clip and make their mask."""
    if frames is None:
        return {}
    batch, count, channels, height, width = frames.shape
    if (height, width) != (clip.height, clip.width) or count > clip.frames:
        raise InputError("given frames", f"{count}x{height}x{width}", f"at most {clip}", "resize them")
    padded = frames.new_zeros(batch, clip.frames, channels, height, width)
    padded[:, :count] = frames
    mask = torch.arange(clip.frames).expand(batch, -1) < count
    return {"given_frames": padded, "given_mask": mask}


def _progress(
    on_progress: Callable[[Progress], None] | None, name: str, index: int, count: int, started: float
) -> Callable[[int, int], None] | None:
    if on_progress is None:
        return None
    return lambda done, total: on_progress(
        Progress(
            stage=name, index=index, num_stages=count, done=done, total=total, seconds=time.monotonic() - started
        )
    )


def _frames(on_frames: Callable[[int, np.ndarray], None] | None) -> Callable[[int, Tensor], None]:
    def forward(first: int, video: Tensor) -> None:
        if on_frames is not None:
            on_frames(first, to_uint8(video.float().cpu()))

    return forward


def _output(video: Tensor, output_type: str) -> Any:
    if output_type == "none":
        return None
    if output_type == "pt":
        return video.cpu()
    frames = list(to_uint8(video.cpu()))
    if output_type == "np":
        return frames
    from imagen_video.media.frames import to_images

    return [to_images(clip) for clip in frames]


def fit_video(frames: np.ndarray, clip: Clip, fps: float) -> Tensor:
    """Bring a user's clip to the input of a stage: frames by time, centre crop to the aspect, antialiased resize.

    Args:
        frames: uint8 `(f, h, w, 3)`.
        clip: the stage's input.
        fps: frame rate of `frames`.

    Returns:
        `(1, f', 3, h', w')` in [-1, 1]: `clip.frames` frames, or as many as the clip is long.

    Raises:
        InputError: for a clip without frames.
    """
    from imagen_video.cascade.resample import resize

    if len(frames) == 0:
        raise InputError("video", "no frames", "at least one", "choose another file")
    times = np.arange(clip.frames) / clip.fps
    index = np.floor(times * fps + 1e-6).astype(int)
    index = index[index < len(frames)]
    _, height, width, _ = frames.shape
    scale = min(height / clip.height, width / clip.width)
    rows, columns = max(1, round(clip.height * scale)), max(1, round(clip.width * scale))
    top, left = (height - rows) // 2, (width - columns) // 2
    video = to_float(frames[index, top : top + rows, left : left + columns])[None]
    return resize(video, clip.height, clip.width)
