"""The run behind `evaluate`: settle everything, make or find the videos, judge them, report.

OUT/videos/NNN.png    the clip, lossless (animated PNG), no larger than it is judged
          /NNN.json   every setting that made it; written last, so that it marks a finished video
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imagen_video import __version__
from imagen_video.cascade.options import selected
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.spec import Clip as Shape
from imagen_video.cli.evaluate import EvaluateOptions
from imagen_video.cli.evaluation_videos import found_videos, of_file
from imagen_video.cli.generation import choose_device, choose_precision
from imagen_video.cli.main import say
from imagen_video.cli.outputs import write_report
from imagen_video.cli.progress import ProgressDisplay, warnings_as_lines
from imagen_video.cli.requests import build_request
from imagen_video.cli.settings import Settings, parse_memory, parse_steps
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.errors import InputError
from imagen_video.evaluation.features.extractors import PINNED, load_extractor
from imagen_video.evaluation.material.clips import clip_times, judged_of, reduced
from imagen_video.evaluation.material.prompt_sets import Prompt, PromptSet
from imagen_video.evaluation.scoring import report
from imagen_video.evaluation.scoring.evaluator import Evaluator, MadeClip, Networks
from imagen_video.evaluation.scoring.evaluator import Settings as Measured
from imagen_video.evaluation.scoring.machine import machine
from imagen_video.evaluation.scoring.metrics import check_names
from imagen_video.media.digest import file_sha256
from imagen_video.media.pictures import write_animation


def print_prompts(options: EvaluateOptions) -> int:
    """Print the chosen prompts, one a line."""
    for prompt in _prompts(options)[1]:
        print(prompt.prompt)
    return 0


def evaluate(options: EvaluateOptions, command: str) -> int:
    """Measure what the options ask for.

    Args:
        options: as typed.
        command: as typed, for the report.

    Returns:
        The exit code.

    Raises:
        InputError: for anything that cannot be used.
    """
    assert options.out is not None
    memory = parse_memory(options.memory)
    check_names(options.metrics)
    report.check_plots()
    prompt_set, prompts = _prompts(options)
    device = choose_device(options.device)
    with warnings_as_lines():
        # What the clips are is known before anything is made: it decides what can be measured.
        if options.videos is not None:
            source = None
            clips, about = found_videos(options.videos, [prompt.prompt for prompt in prompts])
            judged = len(clips[0].load().judged)
        else:
            source = _Source.of(options, prompts, device)
            clips, about = [], {}
            judged = len(judged_of(clip_times(source.clip.frames, source.clip.fps)))
        evaluator = Evaluator(
            prompt_set=prompt_set,
            prompts=prompts,
            store=SpriteStore.open(options.corpus),
            networks=_networks(options, device),
            settings=Measured(
                metrics=options.metrics,
                reference=options.reference,
                names=options.names,
                renders=options.renders,
                judged_frames=judged,
            ),
            work=options.work,
            say=say,
        )
        if source is not None:
            clips, about = source.make(memory), source.about()
        result = evaluator.run(clips)
    about = {
        "command": command,
        "program": __version__,
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "machine": machine(),
        **about,
    }
    paths = report.write(result, about, options.out)
    print(report.table(result))
    for path in paths:
        print(f"wrote {path}")
    return 0


def _prompts(options: EvaluateOptions) -> tuple[PromptSet, tuple[Prompt, ...]]:
    prompt_set = PromptSet.load(options.prompts)
    return prompt_set, prompt_set.first(options.count, options.kinds)


def _networks(options: EvaluateOptions, device: torch.device) -> Networks:
    def lite0() -> Any:
        from imagen_video.evaluation.features.lite0 import Lite0

        return Lite0(device=device).frames

    given = {name: getattr(options, name) for name in PINNED}
    extractors = {
        name: load_extractor(name, source, device=device)
        for name, source in given.items()
        if source is not None
    }
    return Networks(lite0=lite0, extractors=extractors)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Source:
    """Videos that are generated, each once."""

    folder: Path
    pipeline: ImagenVideoPipeline
    settings: tuple[Settings, ...]
    """One a video."""
    clip: Shape
    """What each will be."""

    @classmethod
    def of(
        cls, options: EvaluateOptions, prompts: Sequence[Prompt], device: torch.device
    ) -> _Source:
        """Open the bundle and settle every video.

        Raises:
            InputError: for a bundle or settings that cannot be used, or a folder that holds videos
                of other settings.
        """
        assert options.out is not None
        pipeline = ImagenVideoPipeline.from_pretrained(options.bundle)
        pipeline.one_stage_resident = True
        precision = choose_precision(options.precision, device)
        pipeline.to(device, torch.bfloat16 if precision == "bf16" else torch.float32)
        if not any(stage.unet.text_width for stage in pipeline.spec.stages):
            raise InputError("--bundle", "a cascade that hears no text", "one that does", "choose")
        folder = Path(options.bundle)
        shared = Settings(
            prompt="",
            seed=options.seed,
            bundle=str(folder.resolve()) if folder.is_dir() else options.bundle,
            bundle_sha256=pipeline.digest,
            precision=precision,
            until=options.until,
            steps=parse_steps(
                options.steps,
                [stage.name for stage in pipeline.spec.stages],
                chosen=selected(pipeline.spec, None, options.until),
            ),
            guidance_weight=options.guidance_weight,
        )
        settings = tuple(
            dataclasses.replace(shared, prompt=one.prompt, seed=options.seed + one.number)
            for one in prompts
        )
        request = build_request(pipeline.spec, settings[0])
        plan = pipeline.check(request, parse_memory(options.memory))
        source = cls(
            folder=options.out / "videos",
            pipeline=pipeline,
            settings=settings,
            clip=plan.clips[plan.stages[-1].name],
        )
        for index in range(len(settings)):
            source.finished(index)
        return source

    def path(self, index: int) -> Path:
        """Where a video is, without suffix."""
        return self.folder / f"{index:04d}"

    def finished(self, index: int) -> bool:
        """Return whether a video is there.

        Raises:
            InputError: if it was made with other settings.
        """
        path = self.path(index).with_suffix(".json")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            raise InputError(str(path), f"{error}"[:120], "readable JSON", "remove it") from error
        wanted = json.loads(json.dumps(_determining(self.settings[index])))
        request = found.get("request") if isinstance(found, dict) else None
        if request != wanted:
            known = request if isinstance(request, dict) else {}
            differing = sorted(key for key in wanted if known.get(key) != wanted[key])
            raise InputError(
                str(path),
                f"a video of other settings (differs in {', '.join(differing)})",
                "videos of this command",
                "choose another --out, or remove the folder",
            )
        return path.with_suffix(".png").is_file()

    def make(self, memory: int | None) -> list[MadeClip]:
        """Generate what is not there yet."""
        left = [index for index in range(len(self.settings)) if not self.finished(index)]
        if left:
            say(f"generating {len(left)} of {len(self.settings)} videos into {self.folder}")
        for index in left:
            self._make(index, memory)
        return [of_file(self.path(i).with_suffix(".png")) for i in range(len(self.settings))]

    def _make(self, index: int, memory: int | None) -> None:
        settings, path = self.settings[index], self.path(index)
        parts: list[np.ndarray] = []
        with ProgressDisplay() as display:
            output = self.pipeline.run(
                build_request(self.pipeline.spec, settings),
                memory=memory,
                output_type="none",
                on_progress=display.on_progress,
                on_frames=lambda _first, frames: parts.append(reduced(frames[0])),
            )
        frames, clip = np.concatenate(parts), output.reports[-1].clip
        description = {"prompt": settings.prompt, "description": "made by a generative model"}
        write_animation(path.with_suffix(".png"), frames, clip.fps, description)
        write_report(
            path.with_suffix(".json"),
            {
                "prompt": settings.prompt,
                "seed": settings.seed,
                "frames": clip.frames,
                "fps": clip.fps,
                "height": clip.height,
                "width": clip.width,
                "stages": [
                    dataclasses.asdict(one.sampling) | {"name": one.name} for one in output.reports
                ],
                "bundle_sha256": settings.bundle_sha256,
                "request": _determining(settings),
                "version": __version__,
            },
        )
        say(f"video {index + 1} of {len(self.settings)}: {settings.prompt}")

    def about(self) -> dict[str, Any]:
        """What the report says about the videos."""
        shared = self.settings[0]
        digest = hashlib.sha256()
        for index in range(len(self.settings)):
            digest.update(file_sha256(self.path(index).with_suffix(".png")).encode())
        return {
            "videos": "generated",
            "bundle": Path(shared.bundle).name,
            "bundle_sha256": shared.bundle_sha256,
            "until": shared.until or self.pipeline.spec.stages[-1].name,
            "precision": shared.precision,
            "seeds": [settings.seed for settings in self.settings],
            "steps": shared.steps,
            "guidance_weight": shared.guidance_weight,
            "videos_sha256": digest.hexdigest(),
        }


def _determining(settings: Settings) -> dict[str, Any]:
    """What determines a video: a bundle is known by its digest, wherever it lies."""
    return {key: value for key, value in settings.to_json().items() if key != "bundle"}
