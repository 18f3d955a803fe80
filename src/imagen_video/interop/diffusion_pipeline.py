"""Our cascade as a `DiffusionPipeline` of diffusers.

    from imagen_video.interop.diffusion_pipeline import ImagenVideoDiffusionPipeline

    pipe = ImagenVideoDiffusionPipeline(ImagenVideoPipeline.from_pretrained("emoji"))
    pipe.save_pretrained("folder")
    pipe = DiffusionPipeline.from_pretrained("folder")

    folder/model_index.json    the class below, and the module of its one component
           cascade/            a bundle, as `ImagenVideoPipeline.save_pretrained` writes it

diffusers finds a pipeline class among its own names and a component in a module that the caller has
imported; it runs nothing because a folder says so. Importing this module gives it both, so
`DiffusionPipeline.from_pretrained` needs neither `trust_remote_code` nor code in the folder.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, cast

import torch

from imagen_video.cascade.calls import text_request
from imagen_video.cascade.model_card import CARD_FILE, model_card
from imagen_video.cascade.options import StageOptions
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.request import PipelineOutput, Progress, Request, Stopped
from imagen_video.cascade.run_plan import RunPlan, plan_run
from imagen_video.cascade.stage import make_sampler
from imagen_video.errors import InputError, MissingExtraError
from imagen_video.interop.frames import to_diffusers
from imagen_video.media.atomic import replacing

try:
    import diffusers
    import diffusers.pipelines
    from diffusers.models.modeling_utils import ModelMixin
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from diffusers.utils.outputs import BaseOutput
except ImportError as error:
    raise MissingExtraError(
        "diffusers", str(error), "the extra `diffusers`", 'pip install "imagen-video[diffusers]"'
    ) from error

OUTPUT_TYPES = ("np", "pil", "pt")


class CascadeModel(ModelMixin):
    """The cascade as one component: networks and text encoder, each loaded at its first use."""

    def __init__(self, pipeline: ImagenVideoPipeline) -> None:
        """Wrap a pipeline of ours."""
        super().__init__()
        self.pipeline = pipeline

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self.pipeline.device

    @property
    def dtype(self) -> torch.dtype:
        """float32, or bfloat16 where the networks run under autocast."""
        return torch.bfloat16 if self.pipeline.bf16 else torch.float32

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Self:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Choose the device, and float32 or bfloat16.

        Raises:
            InputError: for another dtype.
        """
        self.pipeline.to(device, dtype)
        return self

    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        save_directory: str | Path,
        safe_serialization: bool = True,
        variant: str | None = None,
    ) -> None:
        """Write the cascade as a bundle.

        Raises:
            InputError: for pickled weights or a variant, or if the folder cannot be written.
        """
        if not safe_serialization or variant is not None:
            raise InputError(
                "save_pretrained",
                f"safe_serialization={safe_serialization}, variant={variant!r}",
                "safetensors without a variant",
                "leave both out",
            )
        self.pipeline.save_pretrained(save_directory)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None, **kwargs: Any
    ) -> Self:
        """Open a bundle; called by `DiffusionPipeline.from_pretrained`.

        Args:
            pretrained_model_name_or_path: folder of the bundle.
            **kwargs: `torch_dtype` is taken, a `device_map` or quantisation refused; the other
                settings are about how diffusers reads its own files.

        Raises:
            BundleError: if it is damaged.
            InputError: for a dtype, device map or quantisation that the cascade does not have.
        """
        for name in ("device_map", "quantization_config"):
            if kwargs.get(name) is not None:
                raise InputError(
                    name, repr(kwargs[name])[:80], "none", "leave it out and call pipe.to(device)"
                )
        pipeline = ImagenVideoPipeline.from_pretrained(str(pretrained_model_name_or_path))
        return cls(pipeline.to(dtype=kwargs.get("torch_dtype")))


@dataclasses.dataclass
class ImagenVideoDiffusionOutput(BaseOutput):
    """What a call returns."""

    frames: Any
    """`np`: float `(b, f, h, w, c)` in [0, 1]; `pt`: `(b, f, c, h, w)` in [0, 1]; `pil`: a list of
    PIL images a clip."""
    fps: float
    """Frames per second."""


class ImagenVideoDiffusionPipeline(DiffusionPipeline):
    """A cascade with the manners of a text-to-video pipeline of diffusers."""

    cascade: CascadeModel

    def __init__(self, cascade: CascadeModel | ImagenVideoPipeline) -> None:
        """Wrap a cascade.

        Args:
            cascade: a pipeline of ours, or the component that holds one.
        """
        super().__init__()
        if not isinstance(cascade, CascadeModel):
            cascade = CascadeModel(cascade)
        self.register_modules(cascade=cascade)
        self._interrupt = False
        self._num_timesteps = 0

    @property
    def interrupt(self) -> bool:
        """Whether a callback has set `pipe._interrupt = True`."""
        return self._interrupt

    @property
    def num_timesteps(self) -> int:
        """Steps of the last call, over all stages."""
        return self._num_timesteps

    def enable_model_cpu_offload(
        self, gpu_id: int | None = None, device: torch.device | str | None = None
    ) -> None:
        """Hold one stage at a time, on the device: weights are read again at each stage.

        Args:
            gpu_id: number of the device; the current one if None.
            device: kind of device, `cuda` if None.
        """
        self.cascade.pipeline.one_stage_resident = True
        place = torch.device(device or "cuda")
        self.to(place if gpu_id is None else torch.device(place.type, gpu_id))

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Write a folder that `DiffusionPipeline.from_pretrained` loads, with a model card.

        Args:
            save_directory: where it goes.
            *args: as in diffusers.
            **kwargs: as in diffusers; weights are always safetensors.

        Raises:
            InputError: if the folder cannot be written.
        """
        folder = Path(save_directory)
        super().save_pretrained(folder, *args, **kwargs)
        pipeline = self.cascade.pipeline
        names = [stage.name for stage in pipeline.spec.stages]
        card = model_card(
            pipeline.spec, pipeline.provenance, names, usage=_USAGE, library="diffusers"
        )
        with replacing(folder / CARD_FILE) as file:
            file.write_text(card, encoding="utf-8")

    def __call__(  # noqa: PLR0913 - diffusers' argument names
        self,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., Any] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = (),
        *,
        guidance_weight: float | None = None,
        until: str | None = None,
        stages: dict[str, StageOptions] | None = None,
        memory: int | None = None,
    ) -> ImagenVideoDiffusionOutput | tuple[Any]:
        """Make one video a prompt.

        Args:
            prompt: one or several sentences; None for a cascade without text.
            negative_prompt: what guidance pushes away from; None = the null text.
            height: pixels of the output; the cascade's if None.
            width: pixels of the output; the cascade's if None.
            num_frames: frames of the output; the cascade's if None.
            num_inference_steps: steps of every stage but those that were distilled for other
                steps; each stage's own if None.
            guidance_scale: refused: `guidance_weight` is one less.
            generator: one, or one a prompt; its initial seed is taken and its state left alone,
                so the same generator gives the same video again. None = torch's own generator
                chooses a seed.
            output_type: `np`, `pt` or `pil`, in the ranges of diffusers.
            return_dict: False returns a tuple of the frames.
            callback_on_step_end: called as `(pipe, step, timestep, kwargs)` after every step of
                every stage. `step` counts over all stages, `timestep` falls from 1000 (noise)
                within each, `kwargs["stage"]` is the stage's name. The latents are not handed out.
                `pipe._interrupt = True` ends the call with the last finished stage.
            callback_on_step_end_tensor_inputs: must be empty, for that reason.
            guidance_weight: w of the base, 0 = off.
            until: last stage to run.
            stages: further settings by stage name.
            memory: bytes that the process may use; None = no bound.

        Raises:
            InputError: for anything that cannot be used.
            Stopped: if the call is interrupted before the first stage is finished.
        """
        _check_forms(output_type, callback_on_step_end_tensor_inputs)
        spec = self.cascade.pipeline.spec
        request = text_request(
            spec,
            prompt,
            negative_prompt,
            height=height,
            width=width,
            num_frames=num_frames,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            guidance_weight=guidance_weight,
            until=until,
            stages=stages,
            seed=_seeds(generator),
        )
        result = self._run(request, plan_run(spec, request), memory, callback_on_step_end)
        frames = to_diffusers(result.frames, output_type)
        self.maybe_free_model_hooks()
        if not return_dict:
            return (frames,)
        return ImagenVideoDiffusionOutput(frames=frames, fps=result.fps)

    def _run(
        self,
        request: Request,
        plan: RunPlan,
        memory: int | None,
        callback: Callable[..., Any] | None,
    ) -> PipelineOutput:
        """Run a request under diffusers' progress bar and callback."""
        times = {
            name: make_sampler(sampling).times(sampling.steps)
            for name, sampling in plan.sampling.items()
        }
        self._interrupt = False
        self._num_timesteps = sum(map(len, times.values()))
        count = itertools.count()
        with cast(Any, self).progress_bar(total=self._num_timesteps) as bar:

            def on_progress(progress: Progress) -> None:
                own = times[progress.stage]
                tiles = progress.total // len(own)
                if progress.done % tiles:
                    return
                step = next(count)
                bar.update()
                if callback is not None:
                    time = own[progress.done // tiles - 1]
                    told = callback(self, step, 1000 * time, {"stage": progress.stage})
                    _check_unchanged(told)
                if self._interrupt:
                    raise Stopped

            try:
                return self.cascade.pipeline.run(
                    request, memory=memory, output_type="pt", on_progress=on_progress
                )
            except Stopped as stop:
                if stop.output is None or stop.output.frames is None:
                    raise
                return stop.output


_USAGE = """from diffusers import DiffusionPipeline
from diffusers.utils import export_to_video
import imagen_video.interop.diffusion_pipeline  # makes the class known to diffusers

pipe = DiffusionPipeline.from_pretrained("path/to/this/folder")
video = pipe("what the video shall show")
export_to_video(video.frames[0], "video.mp4", fps=video.fps)"""


def _check_forms(output_type: str, tensor_inputs: Sequence[str]) -> None:
    """Refuse outputs and callback inputs that a cascade does not have.

    Raises:
        InputError: for those.
    """
    if output_type not in OUTPUT_TYPES:
        raise InputError(
            "output_type", repr(output_type), f"one of {OUTPUT_TYPES}", "choose one of them"
        )
    if tuple(tensor_inputs):
        raise InputError(
            "callback_on_step_end_tensor_inputs",
            f"{list(tensor_inputs)}",
            "nothing: a stage keeps its latents to itself",
            "leave it out",
        )


def _check_unchanged(told: Any) -> None:
    """Refuse changes that a callback asks for.

    Raises:
        InputError: if it returns anything but what it was given.
    """
    changed = sorted(set(told) - {"stage"}) if isinstance(told, dict) else []
    if changed:
        raise InputError(
            "callback_on_step_end",
            f"new values of {changed}",
            "none: a stage keeps its latents to itself",
            "return {} or nothing",
        )


def _seeds(generator: torch.Generator | Sequence[torch.Generator] | None) -> int | list[int]:
    """Turn diffusers' generators into seeds: one, or one a prompt."""
    if generator is None:
        return int(torch.randint(2**62, (1,)).item())
    if isinstance(generator, torch.Generator):
        return generator.initial_seed() % 2**63
    return [one.initial_seed() % 2**63 for one in generator]


# diffusers looks for the class of a pipeline among its own names only, and for the module of a
# component that comes from a hub among its own pipelines.
setattr(diffusers, ImagenVideoDiffusionPipeline.__name__, ImagenVideoDiffusionPipeline)
setattr(diffusers.pipelines, __name__, sys.modules[__name__])
