"""Sampling one stage: noise in, video out, whole or in tiles (paper, sections 2.3 and 2.5).

Step-major: every step visits all tiles and updates z in place, so memory is z plus one window. The
whole clip is the special case of one tile; there is no second code path.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from imagen_video.cascade.distilled import check_request
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import Clip, StageSpec
from imagen_video.cascade.tiling import Span, TilePlan, whole
from imagen_video.cascade.window_conditions import WindowConditions
from imagen_video.diffusion.guidance import (
    ConstantGuidance,
    GuidanceSchedule,
    OscillatingGuidance,
    guided_prediction,
)
from imagen_video.diffusion.noise import Purpose, video_noise
from imagen_video.diffusion.parameterization import diffuse, x_from_v
from imagen_video.diffusion.samplers import (
    AncestralSampler,
    DDIMSampler,
    FewStepSampler,
    Sampler,
    logsnr_at,
)
from imagen_video.diffusion.thresholding import (
    DynamicThreshold,
    StaticThreshold,
    StreamedPercentile,
    Threshold,
)
from imagen_video.errors import InputError
from imagen_video.models.conditions import Conditions
from imagen_video.text.base import TextEmbedding

OnStep = Callable[[int, int], None]
"""Called with the number of finished parts of a stage and of all its parts (steps times tiles)."""
OnFrames = Callable[[int, Tensor], None]
"""Called in order, in the last step, with the first index and finished frames `(b, n, c, h, w)`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageInput:
    """What a stage is asked to make."""

    seeds: Sequence[int]
    """One a sample: the sample's noise depends on nothing else."""
    clip: Clip
    """Output shape."""
    text: TextEmbedding | None = None
    """Prompts."""
    negative: TextEmbedding | None = None
    """What guidance pushes away from; None = the null text."""
    low_res: Tensor | None = None
    """Video of the stage before, `(b, f', c, h', w')` in [-1, 1]."""
    given_frames: Tensor | None = None
    """Clean frames, `(b, f, c, h, w)`."""
    given_mask: Tensor | None = None
    """True at given frames, `(b, f)`."""
    class_id: Tensor | None = None
    """Class ids, `(b,)`."""
    vector: Tensor | None = None
    """Numeric conditions, `(b, d)`."""
    first_frame: int = 0
    """Where the clip begins in a longer one: its noise is that of the longer one there."""
    begun: Tensor | None = None
    """Clean video to go on from, noised as it would be at `first_step` (SDEdit, 2108.01073)."""
    first_step: int = 0
    """The steps before it are left out; without `begun` none are."""


@torch.no_grad()
def sample_stage(  # noqa: PLR0913 - how it is done, each part optional
    stage: StageSpec,
    network: nn.Module,
    request: StageInput,
    sampling: SamplingSpec | None = None,
    *,
    tiles: TilePlan | None = None,
    bf16: bool = False,
    on_step: OnStep | None = None,
    on_frames: OnFrames | None = None,
) -> Tensor:
    """Sample a stage.

    Args:
        stage: its spec.
        network: its network, in eval mode, on the device to use.
        request: what to make.
        sampling: settings; the stage's own if None.
        tiles: how to cut the output; whole if None.
        bf16: run the network under bf16 autocast.
        on_step: progress.
        on_frames: receives finished frames while the last step goes on.

    Returns:
        Video `(b, f, c, h, w)` in [-1, 1], float32, on the network's device.
    """
    run = _StageRun(
        stage, network, request, sampling or stage.sampling, tiles or whole(request.clip), bf16
    )
    return run.sample(on_step, on_frames)


class _StageRun:
    """The state of one sampling: z and the rules that update it."""

    def __init__(
        self,
        stage: StageSpec,
        network: nn.Module,
        request: StageInput,
        sampling: SamplingSpec,
        tiles: TilePlan,
        bf16: bool,
    ) -> None:
        if (request.low_res is None) != (stage.kind == "base"):
            raise InputError(
                f"stage {stage.name!r}",
                "no low-resolution video" if request.low_res is None else "a low-resolution video",
                "one exactly for super-resolution stages",
                "give the previous stage's output",
            )
        check_request(stage, sampling, negative=request.negative is not None)
        _check_begun(stage, request, sampling)
        self.stage, self.network, self.request, self.sampling, self.tiles = (
            stage,
            network,
            request,
            sampling,
            tiles,
        )
        self.device = next(network.parameters()).device
        self.bf16 = bf16
        self.sampler = make_sampler(sampling)
        self.weights = guidance_weights(sampling)
        self.threshold = make_threshold(sampling)
        self.num_steps = sampling.steps
        clip = request.clip
        self.frame_shape = (stage.unet.channels, clip.height, clip.width)
        self.conditions = WindowConditions(
            stage,
            request,
            sampling,
            self.device,
            lambda frames: self._noise("augmentation", 0, frames),
        )

    def sample(self, on_step: OnStep | None, on_frames: OnFrames | None) -> Tensor:
        """Run all steps."""
        steps = list(enumerate(self.sampler.times(self.num_steps)))[self.request.first_step :]
        z = self._begin(steps[0][1])
        total, done = len(steps) * len(self.tiles), 0
        for step, t in steps:
            weight = self.weights[step]
            scale = self._scale(z, t, weight)
            for frames, window, conditions in self._frame_windows(z):
                noise = self._step_noise(step, frames)
                for rows, columns in self._plane():
                    tile = window[..., rows.window, columns.window]
                    x_hat = self._denoise(tile, t, weight, _cut(conditions, rows, columns))
                    inner = (slice(None), frames.inner, slice(None), rows.inner, columns.inner)
                    made = (slice(None), frames.made, slice(None), rows.made, columns.made)
                    place = (frames.made, rows.made, columns.made)
                    # given frames have no part in a percentile, and are not scaled by it
                    x_hat = self.conditions.keep_given(x_hat[inner], *place)
                    x_hat = self.threshold.apply(x_hat, scale)
                    z[made] = self.sampler.update(
                        tile[inner],
                        self.conditions.keep_given(x_hat, *place),
                        step,
                        self.num_steps,
                        None if noise is None else noise[..., rows.made, columns.made],
                    )
                    done += 1
                    if on_step is not None:
                        on_step(done, total)
                if on_frames is not None and step == self.num_steps - 1:
                    on_frames(frames.start, z[:, frames.made])
        return z

    def _begin(self, t: float) -> Tensor:
        """Noise, or a video with as much of it as there is at t."""
        noise = self._drawn("initial", 0, range(self.request.clip.frames))
        if self.request.begun is None:
            return noise
        return diffuse(self.request.begun.to(noise), noise, logsnr_at(t, noise))

    def _frame_windows(self, z: Tensor) -> Iterator[tuple[Span, Tensor, Conditions]]:
        """Yield each span of frames with z as it was before this step, and its conditions.

        z is updated in place, so the frames that the next window looks back on are kept.
        """
        kept: Tensor | None = None
        spans = self.tiles.frames
        for index, frames in enumerate(spans):
            window = z[:, frames.window]
            if len(self.tiles) > 1:
                window = window.clone()
                if kept is not None:
                    window[:, : kept.shape[1]] = kept
                if index + 1 < len(spans):
                    kept = window[
                        :, spans[index + 1].low - frames.low : frames.stop - frames.low
                    ].clone()
            yield frames, window, self.conditions.of(frames)

    def _plane(self) -> list[tuple[Span, Span]]:
        return [(rows, columns) for rows in self.tiles.rows for columns in self.tiles.columns]

    def _denoise(self, z: Tensor, t: float, weight: float, conditions: Conditions) -> Tensor:
        """Predict x from z; one call a step: guidance doubles its batch or is an input of it."""
        if self.stage.takes_weight:
            told = self.conditions.each(weight)
            conditions, weight = conditions.replace(guidance_weight=told), 0.0

        def predict(z: Tensor, logsnr: Tensor, conditional: Tensor) -> Tensor:
            guided = conditional.shape[0] > len(self.request.seeds)
            told = self.conditions.merged(conditions) if guided else conditions
            with (
                torch.autocast(self.device.type, dtype=torch.bfloat16)
                if self.bf16
                else contextlib.nullcontext()
            ):
                return self.network(z, logsnr, told)

        logsnr = logsnr_at(t, z)
        v = guided_prediction(predict, weight)(z, logsnr)
        return x_from_v(z, v.to(z.dtype), logsnr)

    def _scale(self, z: Tensor, t: float, weight: float) -> Tensor | None:
        """The whole video's dynamic threshold, from a pass over the tiles.

        None where a tile knows it alone.
        """
        if not isinstance(self.threshold, DynamicThreshold) or len(self.tiles) == 1:
            return None
        seen = StreamedPercentile(z.shape[0], device=z.device)
        for frames, window, conditions in self._frame_windows(z):
            for rows, columns in self._plane():
                tile = window[..., rows.window, columns.window]
                x_hat = self._denoise(tile, t, weight, _cut(conditions, rows, columns))
                inner = x_hat[:, frames.inner, :, rows.inner, columns.inner]
                seen.add(self.conditions.keep_given(inner, frames.made, rows.made, columns.made))
        return seen.value(self.threshold.percentile).clamp(min=1)

    def _noise(self, purpose: Purpose, step: int, frames: range) -> Tensor:
        first = self.request.first_frame
        where = range(first + frames.start, first + frames.stop)
        noise = video_noise(
            self.request.seeds, self.stage.name, purpose, step, where, self.frame_shape
        )
        return noise.to(self.device)

    def _step_noise(self, step: int, frames: Span) -> Tensor | None:
        """Noise of the frames a span makes, over the whole plane."""
        if not self.sampler.needs_noise(step, self.num_steps):
            return None
        return self._drawn("step", step, range(frames.start, frames.stop))

    def _drawn(self, purpose: Purpose, step: int, frames: range) -> Tensor:
        """Noise of the sampler itself; at temperature 0 a stage makes one video for all seeds."""
        if self.sampling.temperature == 0:  # spare the drawing
            size = (len(self.request.seeds), len(frames), *self.frame_shape)
            return torch.zeros(size, device=self.device)
        return self._noise(purpose, step, frames).mul_(self.sampling.temperature)


def _check_begun(stage: StageSpec, request: StageInput, sampling: SamplingSpec) -> None:
    """Refuse a video to go on from that is none, or steps that leave nothing to do."""
    clip = request.clip
    shape = (len(request.seeds), clip.frames, stage.unet.channels, clip.height, clip.width)
    begun = None if request.begun is None else tuple(request.begun.shape)
    last = sampling.steps - 1 if begun else 0
    if begun not in (None, shape) or not 0 <= request.first_step <= last:
        raise InputError(
            f"stage {stage.name!r} going on from a video",
            f"shape {begun} at step {request.first_step}",
            f"shape {shape} at a step of 0 to {last}",
            "give the clip that the stage makes, and an earlier step",
        )


def make_sampler(sampling: SamplingSpec) -> Sampler:
    """Build the step rule that a spec names."""
    if sampling.sampler == "ancestral":
        return AncestralSampler(gamma=sampling.gamma)
    return DDIMSampler() if sampling.sampler == "ddim" else FewStepSampler()


def make_guidance(sampling: SamplingSpec) -> GuidanceSchedule:
    """Build the guidance schedule that a spec names."""
    if sampling.guidance == "oscillating":
        return OscillatingGuidance(high=sampling.guidance_weight, low=sampling.guidance_low)
    return ConstantGuidance(sampling.guidance_weight)


def guidance_weights(sampling: SamplingSpec) -> list[float]:
    """Return w of every step; 0 where t has come down to `guidance_stop`."""
    schedule, steps = make_guidance(sampling), sampling.steps
    return [
        schedule.weight(step, steps) if t > sampling.guidance_stop else 0.0
        for step, t in enumerate(make_sampler(sampling).times(steps))
    ]


def make_threshold(sampling: SamplingSpec) -> Threshold:
    """Build the threshold that a spec names."""
    return (
        StaticThreshold()
        if sampling.threshold == "static"
        else DynamicThreshold(percentile=sampling.percentile)
    )


def _cut(conditions: Conditions, rows: Span, columns: Span) -> Conditions:
    """Cut the videos among the conditions to a part of the plane."""

    def cut(video: Tensor | None) -> Tensor | None:
        return None if video is None else video[..., rows.window, columns.window]

    return conditions.replace(
        low_res=cut(conditions.low_res), given_frames=cut(conditions.given_frames)
    )
