"""Quality on held-out combinations: is the ground right, the subject known, the motion right?

    python benchmarks/quality.py --bundle emoji --corpus build/corpus --prompts 100 --until tsr3

Subject, ground and motion were each seen in training, but never this pair of them. Every number
stands beside that of real renders of the same scenes, measured in the same way, and has its
standard error over clips; `-` where all clips agree, which tells no spread. Clips are kept
under build/bench/quality/ as they are made, so a stopped run goes on where it was.

With --real-base the stages after the base are given real renders at its size: what they would
reach if it were perfect.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import BENCH, headline, machine, parser, table, write
from safetensors.torch import load_file, save_file

from imagen_video.cascade.pipeline import ImagenVideoPipeline, Request
from imagen_video.cascade.resample import resize
from imagen_video.cli.generation import choose_precision
from imagen_video.corpus.digest import corpus_digest
from imagen_video.corpus.scenes import Scene, held_out_prompts
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.evaluation.features.lite0 import Lite0
from imagen_video.evaluation.material.real_renders import (
    candidates,
    probe_scenes,
    real_clip,
    real_video,
)
from imagen_video.evaluation.measures.backgrounds import nearest_ground
from imagen_video.evaluation.measures.motion import classify_motion
from imagen_video.evaluation.measures.retrieval import SubjectProbe
from imagen_video.evaluation.scoring.statistics import mean_estimate
from imagen_video.media.frames import to_float, to_uint8
from imagen_video.media.video_writer import write_video

STRIDE = 8
"""Source frames between two frames that are judged: those of the base model."""
SHOWN = 4
"""Frames whose features are averaged to recognise a subject."""
LARGEST = (192, 320)
"""Larger clips are judged at this size."""


def judged_times(frames: int, stride: int) -> list[int]:
    """Return the source frames that are judged."""
    step = max(1, STRIDE // stride)
    return [stride * i for i in range(0, frames, step)]


def request_of(
    pipeline: ImagenVideoPipeline, scenes: Sequence[Scene], seeds: Sequence[int], args: Any
) -> Request:
    """Ask for clips of some scenes, from noise or from real renders at the base's size."""
    wanted = Request(
        prompts=tuple(scene.caption for scene in scenes), seeds=tuple(seeds), until=args.until
    )
    if not args.real_base:
        return wanted
    base, following = pipeline.spec.stages[:2]
    size, stride = (base.output.height, base.output.width), pipeline.spec.frame_stride(base.name)
    times = [stride * frame for frame in range(base.output.frames)]
    video = torch.cat([real_video(scene, args.store, times, *size) for scene in scenes])
    return dataclasses.replace(wanted, start=following.name, video=video)


def generate(pipeline: ImagenVideoPipeline, scenes: Sequence[Scene], args: Any) -> list[Path]:
    """Make the clips that are not there yet; return the files of the judged frames."""
    until = args.until
    clip, stride = pipeline.spec.stage(until).output, pipeline.spec.frame_stride(until)
    made_with = f"{until}-seed{args.seed}-{'bf16' if pipeline.bf16 else 'fp32'}"
    made_with += "-real-base" if args.real_base else ""
    folder = args.work / f"{pipeline.digest[:12] or 'unsaved'}-{made_with}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:03d}.safetensors" for index in range(len(scenes))]
    missing = [index for index, path in enumerate(paths) if not path.exists()]
    started = time.monotonic()
    for start in range(0, len(missing), args.batch):
        chosen = missing[start : start + args.batch]
        seeds = [args.seed + i for i in chosen]
        request = request_of(pipeline, [scenes[i] for i in chosen], seeds, args)
        made = pipeline.run(request, memory=int(args.memory_gb * 1e9), output_type="np").frames
        for index, frames in zip(chosen, made, strict=True):
            about = {
                "prompt": scenes[index].caption,
                "seed": args.seed + index,
                "model": "imagen-video",
            }
            write_video(paths[index].with_suffix(".mp4"), frames, clip.fps, about)
            judged = frames[[t // stride for t in judged_times(clip.frames, stride)]]
            beside = paths[index].with_suffix(".tmp")
            save_file({"frames": torch.from_numpy(reduced(judged))}, beside)
            beside.replace(paths[index])
        done, seconds = start + len(chosen), time.monotonic() - started
        left = seconds / done * (len(missing) - done)
        print(f"{done}/{len(missing)} clips, {left / 60:.1f} min left", file=sys.stderr)
    return paths


def reduced(frames: np.ndarray) -> np.ndarray:
    """Shrink frames above `LARGEST`."""
    if frames.shape[1] <= LARGEST[0]:
        return np.ascontiguousarray(frames)
    return to_uint8(resize(to_float(frames)[None], *LARGEST))[0]


def look(lite0: Lite0, frames: np.ndarray) -> torch.Tensor:
    """Return the mean features of a few frames, `(1280,)`."""
    shown = np.linspace(0, len(frames) - 1, SHOWN).round().astype(int)
    return lite0.frames(frames[shown]).mean(0)


def fitted_probe(
    store: SpriteStore,
    names: Sequence[str],
    times: Sequence[float],
    size: tuple[int, int],
    args: Any,
) -> SubjectProbe:
    """Fit the probe on real renders of the judged size, or load the features of an earlier run."""
    about = (corpus_digest(store.folder), tuple(names), tuple(times), size, args.renders)
    key = hashlib.sha256(repr(about).encode()).hexdigest()
    path = args.work / f"probe-{size[0]}x{size[1]}-{key[:12]}.safetensors"
    scenes = probe_scenes(store, names, args.renders)
    labels = [name for name in names for _ in scenes[name]]
    if not path.exists():
        lite0, parts = Lite0(), []
        few = [times[round(i * (len(times) - 1) / (SHOWN - 1))] for i in range(SHOWN)]
        for number, name in enumerate(names):
            parts += [look(lite0, real_clip(s, store, few, *size)) for s in scenes[name]]
            print(f"probe: {number + 1}/{len(names)} subjects", end="\r", file=sys.stderr)
        print(file=sys.stderr)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"features": torch.stack(parts)}, path)
    return SubjectProbe.fit(load_file(path)["features"], labels)


@dataclasses.dataclass(frozen=True)
class Share:
    """A share of clips."""

    value: float
    """0 to 1."""
    error: float | None
    """Its standard error over clips; None where all of them agree, or there is but one."""

    @classmethod
    def of(cls, answers: Sequence[bool]) -> Share:
        """Return the share of True."""
        found = mean_estimate([float(answer) for answer in answers])
        return cls(found.value, found.error or None)


def compared(made: dict[str, Share], real: dict[str, Share]) -> list[dict[str, Any]]:
    """Return a line a share, beside that of real renders."""
    return [
        {
            "right": name,
            "made": share.value,
            "+-": share.error,
            "real renders": real[name].value,
            "+- of it": real[name].error,
            "made / real": share.value / (real[name].value or 1),
        }
        for name, share in made.items()
    ]


def judge(
    clips: Sequence[np.ndarray],
    scenes: Sequence[Scene],
    times: Sequence[float],
    probe: SubjectProbe,
) -> tuple[dict[str, Share], list[dict[str, Any]]]:
    """Measure some clips of the scenes; return shares, and what was seen in every clip.

    A share of no clips (motion, where all are still) is left out.
    """
    ranked = probe.ranked(torch.stack([look(feature_network(), clip) for clip in clips]))
    seen = [
        {
            "caption": scene.caption,
            "wanted": [scene.ground, scene.subjects[0], scene.motion],
            "ground": nearest_ground(clip),
            "subjects": names[:5],
            "motion": classify_motion(clip, times),
        }
        for clip, scene, names in zip(clips, scenes, ranked, strict=True)
    ]
    pairs = list(zip(seen, scenes, strict=True))
    moving = [(s, scene) for s, scene in pairs if scene.motion != "still"]
    right = {
        "ground": [s["ground"] == scene.ground for s, scene in pairs],
        "subject top-1": [scene.subjects[0] == s["subjects"][0] for s, scene in pairs],
        "subject top-5": [scene.subjects[0] in s["subjects"] for s, scene in pairs],
        "motion": [s["motion"] == scene.motion for s, scene in pairs],
        "motion, without still": [s["motion"] == scene.motion for s, scene in moving],
    }
    return {name: Share.of(answers) for name, answers in right.items() if answers}, seen


_loaded: list[Lite0] = []


def feature_network() -> Lite0:
    """Load the feature network once."""
    if not _loaded:
        _loaded.append(Lite0())
    return _loaded[0]


def main() -> None:
    """Generate, judge and print."""
    options = parser(__doc__, "quality")
    options.add_argument("--bundle", default="emoji")
    options.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    options.add_argument("--prompts", type=int, default=100)
    options.add_argument("--until", default="tsr3", help="last stage; base and ssr1 are quick")
    options.add_argument("--real-base", action="store_true", help="begin with real renders")
    options.add_argument("--names", type=int, default=100, help="subjects to tell apart")
    options.add_argument("--renders", type=int, default=10, help="probe renders of each subject")
    options.add_argument("--batch", type=int, default=1, help="prompts at a time")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--memory-gb", type=float, default=4.0)
    options.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    options.add_argument("--work", type=Path, default=BENCH / "quality")
    args = options.parse_args()
    if args.quick:
        args.prompts, args.names, args.renders = 2, 4, 3
        args.until = "tsr1" if args.real_base else "base"
    args.store = store = SpriteStore.open(args.corpus)
    scenes = held_out_prompts(store, args.prompts, kinds={"subject": 1.0})
    precision = choose_precision(args.precision, torch.device("cpu"))
    pipeline = ImagenVideoPipeline.from_pretrained(args.bundle)
    pipeline.to(dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    paths = generate(pipeline, scenes, args)
    stage = pipeline.spec.stage(args.until)
    times = judged_times(stage.output.frames, pipeline.spec.frame_stride(args.until))
    clips = [load_file(path)["frames"].numpy() for path in paths]
    size = (clips[0].shape[1], clips[0].shape[2])
    names = candidates(store, scenes, args.names)
    probe = fitted_probe(store, names, times, size, args)
    made, seen = judge(clips, scenes, times, probe)
    real, real_seen = judge(
        [real_clip(s, store, times, *size) for s in scenes], scenes, times, probe
    )
    rows = compared(made, real)
    print(f"{len(clips)} held-out clips, {stage.output} ({stage.name}), {len(names)} names\n")
    print(table(rows))
    about = {
        "machine": machine(),
        "bundle": pipeline.digest,
        "until": args.until,
        "real base": args.real_base,
        "precision": precision,
    }
    where = f"{stage.name} of a real base" if args.real_base else stage.name
    found = [
        headline(
            f"{row['right']} right, {where}",
            100 * row["made"],
            "%",
            row["made / real"],
            "real renders (1 is right)",
            error=None if row["+-"] is None else 100 * row["+-"],
        )
        for row in rows
    ]
    seen_all = {"made": seen, "real": real_seen}
    write(args.out, {**about, "names": len(names), "table": rows, **seen_all, "headline": found})


if __name__ == "__main__":
    main()
