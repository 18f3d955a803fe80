"""Quality for the same minutes of training: our network and imagen-pytorch's on the same clips.

    python benchmarks/quality_per_minute.py [--minutes 10] [--size M] [--threads 2]

Both are trained on the same rendered clips of the demo corpus with the same captions (MiniLM), the
same v-error, batch and AdamW, in processes of their own that take turns: 30 seconds each. After
every turn the v-error on held-out clips is measured, at eight noise levels with fixed noise; that
time does not count. What differs is the network. imagen-pytorch's own trainer, losses and schedule
are not what is compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from _peers import peers_python
from _report import BENCH, ROOT, headline, machine, parser, table, write
from safetensors.torch import save_file

from imagen_video.corpus.scenes import SceneSource
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.evaluation.material.real_renders import real_clip
from imagen_video.presets.emoji import TEXT_ENCODER
from imagen_video.text.registry import build_text_encoder

WORKER = Path(__file__).with_name("_quality_worker.py")
OURS, PEER = "imagen-video", "imagen-pytorch"
STRIDE = 8
"""Source frames between two frames."""


def prepared(args: Any, counts: dict[str, int]) -> Path:
    """Render the clips and encode their captions once."""
    shape = tuple(map(int, args.shape.split("x")))
    path = BENCH / f"clips-{args.shape}-{counts['train']}-{counts['held_out']}.safetensors"
    if path.exists():
        return path
    store, encoder = SpriteStore.open(args.corpus), build_text_encoder(dict(TEXT_ENCODER))
    tensors = {}
    for split in ("train", "held_out"):
        source = SceneSource(store, seed=0, split=split, kinds={"subject": 1.0})
        scenes = [source.scene(index) for index in range(counts[split])]
        times = [float(STRIDE * frame) for frame in range(shape[0])]
        clips = [torch.from_numpy(real_clip(s, store, times, shape[1], shape[2])) for s in scenes]
        text = encoder.encode([scene.caption for scene in scenes]).pad_to(encoder.max_tokens)
        tensors[f"{split}_video"] = torch.stack(clips).movedim(-1, 2).contiguous()
        tensors[f"{split}_text"] = text.states.half()
        tensors[f"{split}_mask"] = text.mask.to(torch.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    save_file(tensors, beside)
    beside.replace(path)
    return path


class Contender:
    """A process that trains when it is told to."""

    def __init__(self, name: str, python: Path, data: Path, settings: dict[str, Any]) -> None:
        """Start it."""
        self.name = name
        self.curve: list[dict[str, float]] = []
        self._process = subprocess.Popen(
            [str(python), str(WORKER), name, str(data), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": str(settings["threads"]),
                "HF_HUB_OFFLINE": "1",
                "PYTHONPATH": str(ROOT / "src"),
            },
        )
        self.about = self._answer()

    def turn(self, seconds: float) -> None:
        """Train for some seconds, then measure."""
        trained = self._ask(f"train {seconds}")
        seen = self._ask("evaluate")
        self.curve.append(
            {**trained, "loss": sum(seen["losses"]) / len(seen["losses"]), "losses": seen["losses"]}
        )
        self.about["peak_bytes"] = seen["peak_bytes"]

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait(timeout=60)

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended early; see its message above")
        return json.loads(line)


def seconds_to(curve: list[dict[str, float]], loss: float) -> float | None:
    """Training time after which a curve is at a loss; None if it never is."""
    return next((point["seconds"] for point in curve if point["loss"] <= loss), None)


def headlines(curves: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Return our last error beside the peer's, and when we had reached that; ours alone if none."""
    ours, theirs = curves[OURS], curves.get(PEER)
    what = f"held-out v-error after {ours[-1]['seconds'] / 60:.3g} minutes"
    if theirs is None:
        return [headline(what, ours[-1]["loss"], "")]
    found = [headline(what, ours[-1]["loss"], "", theirs[-1]["loss"] / ours[-1]["loss"], PEER)]
    reached = seconds_to(ours, theirs[-1]["loss"])
    if reached is not None:
        faster = theirs[-1]["seconds"] / reached
        found.append(headline(f"time to {PEER}'s last error", reached, "s", faster, PEER))
    return found


def main() -> None:
    """Train in turn and print."""
    options = parser(__doc__, "quality_per_minute")
    options.add_argument("--minutes", type=float, default=10.0, help="of training, each")
    options.add_argument("--turn", type=float, default=30.0, help="seconds")
    options.add_argument("--size", choices=("S", "M", "L"), default="M")
    options.add_argument("--shape", default="8x24x40")
    options.add_argument("--clips", type=int, default=4, help="in a batch")
    options.add_argument("--held-out", type=int, default=16, help="clips; 64 take minutes")
    options.add_argument("--learning-rate", type=float, default=4e-4)
    options.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options.add_argument("--corpus", type=Path, default=ROOT / "build" / "corpus")
    args = options.parse_args()
    counts = {"train": 4096, "held_out": args.held_out}
    turns = max(1, round(60 * args.minutes / args.turn))
    if args.quick:
        turns, args.turn, args.size = 1, 2.0, "S"
        args.shape, counts = "2x8x16", {"train": 8, "held_out": 4}
    settings = {
        "size": args.size,
        "clips": args.clips,
        "learning_rate": args.learning_rate,
        "warmup": 50,
        "threads": args.threads,
        "seed": 0,
    }
    data = prepared(args, counts)
    pythons = {OURS: Path(sys.executable)}
    if not args.without_peers:
        pythons[PEER] = peers_python(args.peers, args.pip_arg)
    running = [Contender(name, python, data, settings) for name, python in pythons.items()]
    try:
        for number in range(turns):
            for contender in running:
                contender.turn(args.turn)
                point = contender.curve[-1]
                print(
                    f"{number + 1}/{turns} {contender.name}: {point['loss']:.4f}", file=sys.stderr
                )
    finally:
        for contender in running:
            contender.stop()
    rows = [
        {
            "network": contender.name,
            "parameters": f"{contender.about['parameters'] / 1e6:.2f}M",
            "updates": contender.curve[-1]["updates"],
            "minutes": contender.curve[-1]["seconds"] / 60,
            "held-out v-error": contender.curve[-1]["loss"],
            "peak MiB": round(contender.about["peak_bytes"] / 2**20),
        }
        for contender in running
    ]
    print(table(rows))
    curves = {contender.name: contender.curve for contender in running}
    about = {"machine": machine(), "settings": settings, "shape": args.shape}
    write(args.out, {**about, "curves": curves, "table": rows, "headline": headlines(curves)})


if __name__ == "__main__":
    main()
