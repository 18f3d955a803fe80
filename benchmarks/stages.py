"""Every stage by itself on held-out renders, and inside the cascade, beside simple baselines.

    python benchmarks/stages.py --bundle emoji --corpus build/corpus --clips 64 [--inside 64]

Super-resolution stages against bilinear, frame repeat and linear blend: Lite0 Frechet distance to
real renders (lower is better), gradient energy over that of real renders (1 is right). Distances
have standard errors, and so has their difference to a baseline, paired by scene: `ours is` better
or worse where it exceeds two of them (`_distances.py`). Every stage: the loss with the right
caption against a wrong one, same clips, noise and noise levels.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from _distances import Distances
from _report import headline, machine, parser, table, write

from imagen_video.cascade.conditioning import low_res_of
from imagen_video.cascade.pipeline import ImagenVideoPipeline, Request, StageReport
from imagen_video.cascade.spec import Clip, StageSpec
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.cli.generation import choose_precision
from imagen_video.corpus.scenes import Scene, SceneSource, held_out_prompts
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.data.batches.batch import Batch
from imagen_video.data.batches.scene_clips import SceneBatches
from imagen_video.evaluation.features.lite0 import Lite0
from imagen_video.evaluation.material.real_renders import real_video
from imagen_video.evaluation.measures.baselines import baselines, gradient_energy, step_energy
from imagen_video.media.frames import to_uint8
from imagen_video.text.registry import build_text_encoder
from imagen_video.training.objective import StageObjective

WINDOW = 8
"""Output frames of a clip that are looked at, in the middle of the clip."""


class Sets:
    """Features and energies of real clips, made clips and baselines, by name."""

    def __init__(self, lite0: Lite0) -> None:
        """Start empty."""
        self._lite0 = lite0
        self.features: dict[str, list[torch.Tensor]] = {}
        self.energies: dict[str, list[tuple[float, float]]] = {}

    def add(self, name: str, video: torch.Tensor) -> None:
        """Take in one clip `(1, f, 3, h, w)`."""
        self.features.setdefault(name, []).append(self._lite0.clip(to_uint8(video)[0]))
        energies = (gradient_energy(video), step_energy(video))
        self.energies.setdefault(name, []).append(energies)

    def rows(self, stage: str, where: str) -> list[dict[str, Any]]:
        """Compare everything with `real`, and the baselines with the stage."""
        distances = Distances({name: torch.stack(each) for name, each in self.features.items()})
        space, still = (sum(e[i] for e in self.energies["real"]) for i in (0, 1))
        lines = []
        for name, energies in self.energies.items():
            if name == "real":
                continue
            line: dict[str, Any] = {"stage": stage, "where": where, "output": name}
            line |= distances.row(name, ours=stage)
            line["gradient energy / real"] = sum(e[0] for e in energies) / space
            line["frame change / real"] = sum(e[1] for e in energies) / still if still else None
            lines.append(line)
        return lines


def window(clip: Clip) -> range:
    """Return the frames that are looked at: from an even frame, as given frames are."""
    count = min(WINDOW, clip.frames)
    start = (clip.frames - count) // 2 // WINDOW * WINDOW
    return range(start, start + count)


def alone(
    pipeline: ImagenVideoPipeline, stage: StageSpec, scenes: Sequence[Scene], run: Any
) -> Sets:
    """Run one stage on the shrunk real renders of every scene."""
    spec, sets, output = pipeline.spec, Sets(run.lite0), stage.output
    source = spec.input_of(stage.name)
    assert source is not None
    frames, stride = window(output), spec.frame_stride(stage.name)
    clip = Clip(frames=len(frames), height=output.height, width=output.width, fps=output.fps)
    text = run.encoder.encode([s.caption for s in scenes]) if run.encoder else None
    for index, scene in enumerate(scenes):
        times = [stride * frame for frame in frames]
        real = real_video(scene, run.store, times, output.height, output.width)
        low_res = low_res_of(real, source, output)
        told = None if text is None else text.select([index])
        request = StageInput(seeds=[index], clip=clip, text=told, low_res=low_res)
        made = sample_stage(stage, pipeline.network(stage.name), request, bf16=pipeline.bf16)
        sets.add("real", real)
        sets.add(stage.name, made)
        for name, video in baselines(low_res, clip.frames, clip.height, clip.width).items():
            sets.add(name, video)
        say(f"{stage.name} alone: {index + 1}/{len(scenes)}")
    return sets


def inside(pipeline: ImagenVideoPipeline, scenes: Sequence[Scene], run: Any) -> dict[str, Sets]:
    """Run the cascade, and judge every stage against baselines from what it was given."""
    spec, sets = pipeline.spec, {}
    for index, scene in enumerate(scenes):
        before: list[torch.Tensor] = []

        def judge(
            report: StageReport,
            video: torch.Tensor,
            scene: Scene = scene,
            before: list[torch.Tensor] = before,
        ) -> None:
            frames, clip = window(report.clip), report.clip
            mine = sets.setdefault(report.name, Sets(run.lite0))
            times = [spec.frame_stride(report.name) * frame for frame in frames]
            mine.add("real", real_video(scene, run.store, times, clip.height, clip.width))
            mine.add(report.name, video[:, frames.start : frames.stop])
            if before:
                factor = clip.frames // before[0].shape[1]
                given = before[0][:, frames.start // factor : frames.stop // factor]
                others = baselines(given, len(frames), clip.height, clip.width)
                for name, other in others.items():
                    mine.add(name, other)
            before[:] = [video]

        request = Request(prompts=(scene.caption,), seeds=(index,), until=run.until)
        pipeline.run(request, memory=run.memory, output_type="none", on_stage=judge)
        say(f"cascade: {index + 1}/{len(scenes)}")
    return sets


@torch.no_grad()
def caption_losses(
    pipeline: ImagenVideoPipeline, stage: StageSpec, run: Any, batches: int
) -> dict[str, Any]:
    """Return the paired losses with right and wrong captions on held-out clips."""
    source = SceneSource(run.store, seed=1, split="held_out", complete_captions=True)
    clips = SceneBatches.of(
        pipeline.spec, stage.name, source, clips=8, images=8, image_fraction=0.0
    )
    objective = StageObjective(
        stage=stage,
        source=pipeline.spec.input_of(stage.name),
        encoder=run.encoder,
        text_dropout=0.0,
    )
    network, pairs = pipeline.network(stage.name), []
    for step in range(batches):
        batch = clips.batch(step)
        wrong = Batch(video=batch.video, captions=batch.captions[1:] + batch.captions[:1])
        seeds = [torch.Generator().manual_seed(step) for _ in range(2)]
        losses = zip((batch, wrong), seeds, strict=True)
        pairs.append([float(objective(network, b, seed)) for b, seed in losses])
        say(f"{stage.name} captions: {step + 1}/{batches}")
    losses = torch.tensor(pairs, dtype=torch.float64)
    gain = losses[:, 1] - losses[:, 0]
    return {
        "stage": stage.name,
        "batches of 8": batches,
        "loss, right caption": float(losses[:, 0].mean()),
        "loss, wrong caption": float(losses[:, 1].mean()),
        "wrong - right": float(gain.mean()),
        "standard error": float(gain.std() / len(gain) ** 0.5) if len(gain) > 1 else None,
        "right is lower in": f"{int((gain > 0).sum())}/{len(gain)}",
    }


def headlines(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a line an output: its distance with the error, and whether ours beats it."""
    return [
        headline(
            f"{row['stage']} {row['where']}, {row['output']}",
            row["Lite0 Frechet"],
            "distance",
            against=f"ours: {row['ours is']}" if row["ours is"] else "",
            error=row["+-"],
        )
        for row in rows
    ]


def say(text: str) -> None:
    """Show how far it is."""
    print(text, file=sys.stderr)


def main() -> None:
    """Measure, print and write."""
    options = parser(__doc__, "stages")
    options.add_argument("--bundle", default="emoji")
    options.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    options.add_argument("--clips", type=int, default=64, help="of every stage alone")
    options.add_argument("--inside", type=int, default=64, help="runs of the cascade")
    options.add_argument("--until", default="tsr3", help="last stage inside the cascade")
    options.add_argument("--stages", nargs="*", help="only these alone and for captions")
    options.add_argument("--batches", type=int, default=32, help="of paired losses; 0 = none")
    options.add_argument("--memory-gb", type=float, default=4.0)
    options.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    run = options.parse_args()
    if run.quick:
        run.clips, run.inside, run.batches, run.stages = 4, 0, 1, ["ssr1"]
    run.store, run.lite0 = SpriteStore.open(run.corpus), Lite0()
    run.memory = int(run.memory_gb * 1e9)
    pipeline = ImagenVideoPipeline.from_pretrained(run.bundle)
    precision = choose_precision(run.precision, torch.device("cpu"))
    pipeline.to(dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    encoder = pipeline.spec.text_encoder
    run.encoder = build_text_encoder(dict(encoder)) if encoder else None
    scenes = held_out_prompts(run.store, max(run.clips, run.inside), kinds={"subject": 1.0})
    chosen = [s for s in pipeline.spec.stages if not run.stages or s.name in run.stages]
    rows: list[dict[str, Any]] = []
    for stage in chosen if run.clips else []:
        if stage.kind != "base":
            sets = alone(pipeline, stage, scenes[: run.clips], run)
            rows += sets.rows(stage.name, "alone")
    if run.inside:
        for name, sets in inside(pipeline, scenes[: run.inside], run).items():
            rows += sets.rows(name, "cascade")
    captions = [caption_losses(pipeline, s, run, run.batches) for s in chosen if run.batches]
    print(table(rows), table(captions), sep="\n\n")
    about = {"machine": machine(), "bundle": pipeline.digest, "precision": precision}
    write(run.out, {**about, "outputs": rows, "captions": captions, "headline": headlines(rows)})


if __name__ == "__main__":
    main()
