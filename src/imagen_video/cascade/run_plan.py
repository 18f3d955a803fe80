"""What a request comes to, settled before anything is computed: stages, settings, sizes, memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from imagen_video.cascade.distilled import check_request
from imagen_video.cascade.inputs import check_overlap, given_first_frames, source_clip
from imagen_video.cascade.labels import check_labels
from imagen_video.cascade.memory import PROCESS, beside_activations
from imagen_video.cascade.options import clips_for, resolve, selected
from imagen_video.cascade.request import Request
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.cascade.stage import make_sampler
from imagen_video.cascade.tiling import TilePlan, least_bytes, plan_for_memory, whole
from imagen_video.errors import InputError, ResourceError
from imagen_video.models.cost import num_parameters
from imagen_video.text.base import checked_prompts

FLOAT_BYTES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The stages of a run, with the settings and the output shape of each."""

    stages: tuple[StageSpec, ...]
    """In the order in which they run."""
    sampling: Mapping[str, SamplingSpec]
    """By stage name."""
    clips: Mapping[str, Clip]
    """By stage name."""
    batch: int
    """Videos made at once."""
    source: Clip | None
    """The given video; None where the base makes the first."""
    windowed: bool = False
    """Whether the base makes its clip in windows of its own length."""

    def tiles(self, stage: StageSpec, memory: int | None, resident: int = 0) -> TilePlan:
        """Choose the tiles of a stage.

        What the stage needs besides activations is estimated from the specs alone, so that a run
        and its repetition are cut alike, unless the process holds more than that.

        Args:
            stage: one of `stages`.
            memory: bytes that the process may use; None = no bound.
            resident: what the process holds now, this stage's weights and input included.

        Raises:
            ResourceError: if the memory does not suffice.
        """
        clip = self.at_once(stage)
        if memory is None:
            return whole(clip)
        rows, noisy = self._call(stage)
        return plan_for_memory(
            f"stage {stage.name!r}",
            stage.unet,
            clip,
            memory,
            batch=rows,
            noisy=noisy,
            besides=self._besides(stage, resident),
        )

    def least_memory(self, stage: StageSpec) -> int:
        """Return the smallest bound on the process, in bytes, under which a stage can run."""
        rows, noisy = self._call(stage)
        least = least_bytes(stage.unet, self.at_once(stage), rows, noisy=noisy)
        return least + self._besides(stage)

    def at_once(self, stage: StageSpec) -> Clip:
        """Return what a call of the stage makes: its clip, or a window of it."""
        clip = self.clips[stage.name]
        if self.windowed and stage.kind == "base":
            return dataclasses.replace(clip, frames=stage.output.frames)
        return clip

    def check_memory(self, memory: int | None) -> None:
        """Find out before the first stage whether the last one can run.

        Raises:
            ResourceError: if the memory does not suffice, for the stage that needs the most.
        """
        try:
            for stage in self.stages:
                self.tiles(stage, memory)
        except ResourceError:
            # a bound that is enough for the first that does not fit may be too small for the next
            self.tiles(max(self.stages, key=self.least_memory), memory)
            raise

    def _call(self, stage: StageSpec) -> tuple[int, bool]:
        """Return the rows of a network call, and whether its steps draw noise."""
        sampling = self.sampling[stage.name]
        noisy = make_sampler(sampling).needs_noise(0, sampling.steps)
        return self.batch * stage.rows_a_sample(sampling), noisy

    def _besides(self, stage: StageSpec, resident: int = 0) -> int:
        """Return the bytes that a stage takes beside the activations of a step."""
        index = self.stages.index(stage)
        before = self.clips[self.stages[index - 1].name] if index else self.source
        held = PROCESS + FLOAT_BYTES * num_parameters(stage.unet)
        if before is not None:
            held += self._bytes(stage, before)
        return beside_activations(max(held, resident), self._bytes(stage, self.clips[stage.name]))

    def _bytes(self, stage: StageSpec, clip: Clip) -> int:
        pixels = clip.frames * clip.height * clip.width
        return FLOAT_BYTES * self.batch * stage.unet.channels * pixels


def plan_run(spec: CascadeSpec, request: Request) -> RunPlan:
    """Settle a request.

    Raises:
        InputError: for anything in it that cannot be used.
    """
    if any(stage.unet.text_width for stage in spec.stages):
        told = [text for text in request.prompts if text or request.video is None]
        if told or request.video is None:
            checked_prompts(told)
        if request.negative_prompts is not None:
            _check_negative(request.negative_prompts)
    if len(request.seeds) != len(request.prompts):
        raise InputError(
            "seeds",
            f"{len(request.seeds)} for {len(request.prompts)} prompts",
            "one a prompt",
            "correct them",
        )
    chosen = chosen_stages(spec, request)
    check_labels(request, chosen)
    source = source_clip(request, spec, chosen[0])
    clips = clips_for(
        spec,
        chosen,
        source=source,
        num_frames=request.num_frames,
        height=request.height,
        width=request.width,
    )
    first = chosen[0]
    check_overlap(request.overlap, first)
    given_first_frames(request.given_frames, first, clips[first.name])
    sampling = resolve(spec, chosen, request.options)
    for stage in chosen:
        settings = sampling[stage.name]
        check_request(stage, settings, negative=request.negative_prompts is not None)
        make_sampler(settings).times(settings.steps)  # refuses what the sampler cannot do
    return RunPlan(
        stages=chosen,
        sampling=sampling,
        clips=clips,
        batch=len(request.seeds),
        source=source,
        windowed=request.overlap is not None,
    )


def _check_negative(texts: Sequence[str]) -> None:
    """Check the negative prompts, and call them that: the caller knows no "prompt 0".

    Raises:
        InputError: for an empty text, or one that cannot be read.
    """
    try:
        checked_prompts(texts)
    except InputError as error:
        where = "negative prompt" if len(texts) == 1 else f"negative {error.where}"
        fix = "correct the negative prompt, or leave it out"
        raise InputError(where, error.got, error.expected, fix) from error


def chosen_stages(spec: CascadeSpec, request: Request) -> tuple[StageSpec, ...]:
    """Return the stages that a request runs: an image passes no temporal ones.

    Raises:
        InputError: for unknown stages, or an image that is to end at a temporal one.
    """
    chosen = selected(spec, request.start, request.until, request.only)
    if request.num_frames != 1 or request.video is not None or spec.stages[0].output.frames == 1:
        return chosen
    if chosen[-1].kind == "tsr":
        spatial = [stage.name for stage in chosen if stage.kind != "tsr"]
        raise InputError(
            "until",
            f"{chosen[-1].name!r}, a temporal stage, for one frame",
            f"one of {spatial}, which an image passes",
            "stop at one of them, or ask for more frames",
        )
    return tuple(stage for stage in chosen if stage.kind != "tsr")
