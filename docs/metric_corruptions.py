"""What every metric that needs no download sees: real clips with known faults.

python docs/metric_corruptions.py [--corpus build/corpus] [--clips 20] [--work runs/corruptions]

Writes docs/images/metric_corruptions.png and prints the table of docs/evaluation.md. Scores lie in
WORK and are not computed again. A metric sees a fault if it moves the wrong way with every step of
strength (of `as real` metrics: away from the real score), and by three standard errors at the
strongest; `late` if only the latter; `no` if not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imagen_video.corpus.digest import corpus_digest
from imagen_video.corpus.scene import Scene
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.evaluation.features.files import kept
from imagen_video.evaluation.features.lite0 import Lite0
from imagen_video.evaluation.material.clips import Clip
from imagen_video.evaluation.material.corruptions import CORRUPTIONS, STRENGTHS
from imagen_video.evaluation.material.prompt_sets import PromptSet
from imagen_video.evaluation.material.real_renders import real_clip
from imagen_video.evaluation.measures.content import Features, Probes
from imagen_video.evaluation.measures.styles import StyleJudge
from imagen_video.evaluation.measures.two_subjects import PairJudge
from imagen_video.evaluation.measures.words import WordReader
from imagen_video.evaluation.scoring.judge import Judge, record_key
from imagen_video.evaluation.scoring.metrics import METRICS, PROTOCOL_VERSION, Better
from imagen_video.evaluation.scoring.results import Records, rows_of

TIMES = tuple(range(0, 128, 8))
SIZE = (48, 80)
REFERENCE = 96
SETS: dict[str, tuple[str, ...]] = {
    "subject": ("concept", "ground", "motion", "lite0", "time"),
    "word": ("words",),
    "solid": ("views",),
    "solid pair": ("pairs",),
}
"""Kind of scene -> metrics that are tried on it."""
FAR = 3.0
"""Standard errors from which on a change counts."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#222222")
DASHES = ("-", "--", ":", "-.")
"""Colours that most eyes tell apart (Okabe and Ito), each in every kind of line."""
UNSEEN: dict[str, Any] = {"color": "#cccccc", "ls": "-", "lw": 1}
"""Line of a column that does not see the fault."""

Series = dict[str, list[tuple[float, float]]]
"""Column -> value and standard error at strengths 0 to 4."""


def remembered(features: Features) -> Features:
    """Compute each frame once: shuffled and frozen clips hold no new ones."""
    known: dict[bytes, Tensor] = {}

    def found(frames: np.ndarray) -> Tensor:
        keys = [frame.tobytes() for frame in frames]
        new = {key: frame for key, frame in zip(keys, frames, strict=True) if key not in known}
        if new:
            known.update(zip(new, features(np.stack(list(new.values()))), strict=True))
        return torch.stack([known[key] for key in keys])

    return found


def judge_for(kind: str, store: SpriteStore, features: Any, args: Any) -> tuple[Judge, list[Any]]:
    """Return the judge of one kind and its scenes."""
    prompts = PromptSet.load("held-out")
    scenes = prompts.scenes(store, prompts.first(args.clips, (kind,)))
    metrics = SETS[kind]
    probes = None
    if "concept" in metrics:
        like = Clip(frames=np.zeros((len(TIMES), *SIZE, 3), np.uint8), times=TIMES)
        probes = Probes.fit(
            features, store, scenes, like, names=args.names, renders=6, cache=args.work
        )
    return (
        Judge(
            metrics=metrics,
            features=features if "lite0" in metrics else None,
            probes=probes,
            styles=StyleJudge(features, store) if probes is not None else None,
            pairs=PairJudge(features, store) if "pairs" in metrics else None,
            reader=WordReader() if "words" in metrics else None,
            extractors={},
        ),
        scenes,
    )


def reference(kind: str, store: SpriteStore, judge: Judge, work: Path) -> list[dict[str, Tensor]]:
    """Return features of other real clips."""
    prompts = PromptSet.load("held-out")
    scenes = prompts.reference_scenes(store, prompts.first(1, (kind,)), REFERENCE)

    def record(scene: Scene) -> dict[str, Tensor]:
        clip = Clip(frames=real_clip(scene, store, TIMES, *SIZE), times=TIMES)
        return judge.record(clip, scene, features_only=True)

    return [
        kept(record_path(work, store, judge, scene, "reference"), lambda scene=scene: record(scene))
        for scene in scenes
    ]


def record_path(work: Path, store: SpriteStore, judge: Judge, scene: Scene, name: str) -> Path:
    """Return where a record lies: by all that it depends on, the corpus and `--names` too.

    Args:
        work: folder of records.
        store: the corpus.
        judge: who judges.
        scene: what is shown.
        name: what was done to it.
    """
    about = [corpus_digest(store.folder), name, list(TIMES), list(SIZE)]
    return work / f"{name}-{record_key(judge, scene, about)}.safetensors"


def measured(kind: str, store: SpriteStore, features: Any, args: Any) -> dict[str, Series]:
    """Return fault -> column -> series, of one kind of scene."""
    judge, scenes = judge_for(kind, store, features, args)
    real = [Clip(frames=real_clip(s, store, TIMES, *SIZE), times=TIMES) for s in scenes]
    known = reference(kind, store, judge, args.work) if judge.features is not None else []

    def records(name: str, change: Callable[[np.ndarray], np.ndarray]) -> list[dict[str, Tensor]]:
        print(f"{kind}: {name}", file=sys.stderr, flush=True)
        return [
            kept(
                record_path(args.work, store, judge, scene, name),
                lambda clip=clip, scene=scene: judge.record(
                    Clip(frames=change(clip.frames), times=TIMES), scene
                ),
            )
            for clip, scene in zip(real, scenes, strict=True)
        ]

    clean = records("clean", lambda frames: frames)
    found: dict[str, Series] = {}
    for fault, spoil in CORRUPTIONS.items():
        series: Series = {}
        for strength in (0, *STRENGTHS):
            made = clean
            if strength:
                made = records(f"{fault}-{strength}", lambda f, s=strength, c=spoil: c(f, s))
            for metric in SETS[kind]:
                judged = Records(made=made, real=clean, reference=known, scenes=scenes)
                for row in rows_of(metric, judged)[0]:
                    value = (row.made.value, row.made.error or 0.0)
                    series.setdefault(row.column.key, []).append(value)
        found[fault] = {key: some for key, some in series.items() if len(some) == 5}
    return found


def harm(series: Sequence[tuple[float, float]], better: Better) -> list[float]:
    """Return how much worse every strength is than the clean clips."""
    clean = series[0][0]
    if better == "as real":
        return [abs(value - clean) for value, _ in series]
    return [(clean - value if better == "higher" else value - clean) for value, _ in series]


def verdict(series: Sequence[tuple[float, float]], better: Better) -> str:
    """Say whether a metric sees a fault: yes, late or no."""
    worse = harm(series, better)
    error = max(np.hypot(series[0][1], series[-1][1]), 1e-9)
    if worse[-1] < FAR * error:
        return "no"
    return "yes" if all(b >= a for a, b in itertools.pairwise(worse)) else "late"


def columns_of(found: dict[str, Series]) -> list[str]:
    """Return the columns that were measured at every strength of some fault, in order."""
    return list(dict.fromkeys(key for series in found.values() for key in series))


def markdown(found: dict[str, Series]) -> str:
    """Write one row a column: its clean value, and verdict and strongest value of each fault."""
    columns = {c.key: c for metric in METRICS.values() for c in metric.columns}
    lines = ["| metric (clean value) | " + " | ".join(found) + " |"]
    lines.append("| --- |" + " --- |" * len(found))
    for key in columns_of(found):
        cells, clean = [], 0.0
        for series in found.values():
            if key not in series:  # at some strength no clip was left to which it applies
                cells.append("no clip left")
                continue
            clean, last = series[key][0][0], series[key][-1][0]
            cells.append(f"{verdict(series[key], columns[key].better)} ({round(last, 9):.3g})")
        lines.append(f"| {columns[key].title} ({clean:.3g}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def looks_of(keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return a line for each column that no other has, none of them grey: grey sees nothing."""
    looks = [(colour, dashes) for dashes in DASHES for colour in COLOURS]
    if len(keys) > len(looks):
        raise ValueError(
            f"the plot got {len(keys)} columns; expected at most {len(looks)}; add to DASHES"
        )
    pairs = zip(keys, looks, strict=False)
    return {key: {"color": colour, "ls": dashes, "lw": 1.8} for key, (colour, dashes) in pairs}


def plot(found: dict[str, Series], path: Path) -> None:
    """Draw one panel a fault: harm over the standard error, by strength."""
    from matplotlib.figure import Figure

    columns = {c.key: c for metric in METRICS.values() for c in metric.columns}
    figure = Figure(figsize=(13, 8.5), layout="constrained")
    panels = figure.subplots(2, 3).flat
    keys = columns_of(found)
    looks = looks_of(keys)
    for axes, (fault, series) in zip(panels, found.items(), strict=False):
        for key, some in series.items():
            seen = verdict(some, columns[key].better) != "no"
            error = [max(np.hypot(some[0][1], e), 1e-3) for _, e in some]
            height = [h / e for h, e in zip(harm(some, columns[key].better), error, strict=True)]
            look = looks[key] if seen else UNSEEN
            axes.plot(range(5), height, marker="o", ms=3, zorder=2 if seen else 1, **look)
        axes.axhline(FAR, color="k", ls=":", lw=1)
        axes.set_yscale("symlog", linthresh=FAR)
        axes.set_title(fault)
        axes.set_xticks(range(5))
        axes.set_xlabel("strength")
        axes.set_ylabel("harm / standard error")
    last = figure.axes[-1]
    last.axis("off")
    for key in keys:
        last.plot([], [], label=columns[key].title, **looks[key])
    last.plot([], [], label="does not see it", **UNSEEN)
    last.legend(loc="center", fontsize=8, ncols=1, frameon=False)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"))
    parser.add_argument("--clips", type=int, default=20, help="of each kind")
    parser.add_argument("--names", type=int, default=40, help="subjects to tell apart")
    parser.add_argument("--work", type=Path, default=Path("runs/corruptions"))
    args = parser.parse_args()
    store, features = SpriteStore.open(args.corpus), remembered(Lite0().frames)
    torch.set_num_threads(1)
    found: dict[str, Series] = {fault: {} for fault in CORRUPTIONS}
    for kind in SETS:
        for fault, series in measured(kind, store, features, args).items():
            found[fault] |= series
    print(f"protocol {PROTOCOL_VERSION}\n\n{markdown(found)}")
    out = Path(__file__).parent / "images" / "metric_corruptions.png"
    plot(found, out)
    (args.work / "corruptions.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
