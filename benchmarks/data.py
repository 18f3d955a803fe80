"""Data: how fast clips become shards, and how fast shards feed the training of a stage.

    python benchmarks/data.py [--clips 6] [--preset emoji] [--feed base]

Preparing is timed on one core, in processor time, because that is what a machine with more cores
divides. Feeding and training are timed in turn (train, feed, train, feed, ...) in one process, on
all cores, so that a machine that slows down slows both, and the medians count.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import headline, machine, parser, table, write

from imagen_video.cascade.spec import CascadeSpec
from imagen_video.data.batches.batch import Batch
from imagen_video.data.batches.shard_batches import ShardBatches
from imagen_video.data.clips.records import Record
from imagen_video.data.decoding.probe import probe
from imagen_video.data.decoding.read import read_at_times
from imagen_video.data.finding.discover import discover
from imagen_video.data.preparing.plan import StageTask, stage_tasks
from imagen_video.data.preparing.prepare import PrepareOptions, prepare
from imagen_video.data.shards.framing import Timing, largest_box, resize_frames
from imagen_video.data.shards.manifest import Manifest
from imagen_video.media.picture_bytes import PictureEncoding
from imagen_video.media.video_io import write_video
from imagen_video.models.unet import VideoUNet
from imagen_video.presets import preset
from imagen_video.text.registry import build_text_encoder
from imagen_video.training.config import TrainConfig
from imagen_video.training.objective import StageObjective

HEIGHT, WIDTH, FPS, SECONDS = 360, 640, 30, 6.0
WORDS = ("red", "blue", "slow", "fast", "bright", "dark")


def make_clips(folder: Path, count: int) -> None:
    """Write moving waves with grain, 640x360 at 30 fps, as H.264."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    grain = rng.normal(0, 5, (HEIGHT, WIDTH, 3)).astype(np.float32)
    for number in range(count):
        frames = np.empty((round(FPS * SECONDS), HEIGHT, WIDTH, 3), np.uint8)
        for index in range(len(frames)):
            t = index / FPS + number
            waves = (np.sin(x / 40 + 3 * t), np.sin(y / 30 - 2 * t), np.cos((x + y) / 50 + t))
            frames[index] = np.clip(127 + 90 * np.stack(waves, axis=-1) + grain, 0, 255)
        write_video(folder / f"clip{number}.mp4", frames, fps=FPS)
        caption = f"{WORDS[number % 6]} waves number {number} drifting over a grainy background"
        (folder / f"clip{number}.txt").write_text(caption, encoding="utf-8")


def decoded_and_resized(
    records: list[Record], tasks: tuple[StageTask, ...], grid_fps: float
) -> tuple[float, float]:
    """Return processor seconds a clip: decoded, and decoded and resized to every stage."""
    decoding = resizing = 0.0
    for record in records:
        shape = probe(record)
        assert shape.seconds is not None
        timing = Timing(seconds=shape.seconds, period=1 / shape.fps)
        grid = range(0, max(t.frames * t.every for t in tasks), min(t.every for t in tasks))
        began = time.process_time()
        frames = read_at_times(record, timing.moments(0.0, grid, grid_fps), channels=3)
        decoding += time.process_time() - began
        box = largest_box((shape.height, shape.width), (tasks[-1].height, tasks[-1].width))
        began = time.process_time()
        for task in tasks:
            chosen = frames[:: task.every // grid.step]
            resize_frames(box.cut(chosen), task.height, task.width)
        resizing += time.process_time() - began
    count = len(records)
    return decoding / count, (decoding + resizing) / count


def preparing(clips: Path, cascade: CascadeSpec, work: Path) -> list[dict[str, Any]]:
    """Time `data prepare` on one core, for more and more stages; captions are timed elsewhere."""
    records = [found for found in discover(clips) if isinstance(found, Record)]
    names = tuple(stage.name for stage in cascade.stages)
    assert cascade.text_encoder is not None
    encoder = build_text_encoder(dict(cascade.text_encoder))
    encoder.encode(["warm"])
    rows = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    all_but_last, every = len(names) - 1, len(names)
    cases: tuple[tuple[int, PictureEncoding], ...] = (
        (1, "webp"),
        (all_but_last, "webp"),
        (every, "webp"),
        (every, "jpeg"),
    )
    for last, encoding in cases:
        options = PrepareOptions(
            out=work / f"{encoding}{last}",
            stages=names[:last],
            workers=0,
            upscale=True,
            encoding=encoding,
        )
        tasks = stage_tasks(cascade, options)
        decoded, resized = decoded_and_resized(records, tasks, cascade.stages[-1].output.fps)
        began = time.process_time()
        report = prepare(clips, cascade, options, encoder=encoder)
        whole = (time.process_time() - began) / len(records)
        stages = report.manifest.stages.values()
        size = sum(entry.bytes for stage in stages for entry in stage.files)
        raw = sum(s.clips * s.frames * s.height * s.width * s.channels for s in stages)
        rows.append(
            {
                "stages": f"{names[0]} to {names[last - 1]}",
                "encoding": encoding,
                "decoded clips/s": 1 / decoded,
                "and resized": 1 / resized,
                "and written": 1 / whole,
                "MB a clip": size / len(records) / 1e6,
                "of raw": size / raw,
            }
        )
    torch.set_num_threads(threads)
    return rows


def trainer(cascade: CascadeSpec, name: str) -> Callable[[Batch], None]:
    """Return a training step of a stage: forward, backward, update."""
    stage = cascade.stage(name)
    torch.manual_seed(0)
    network = VideoUNet(stage.unet)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    objective = StageObjective(stage=stage, source=cascade.input_of(name), encoder=None)
    generator = torch.Generator().manual_seed(0)

    def update(batch: Batch) -> None:
        objective(network, batch, generator).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return update


def feeding(shards: Path, cascade: CascadeSpec, name: str, runs: int) -> dict[str, Any]:
    """Time training steps and batches out of shards in turn, half of them of images."""
    config = TrainConfig()
    source = ShardBatches.open(
        shards, cascade, name, clips=config.clips, images=config.images, image_fraction=0.5
    )
    update = trainer(cascade, name)
    clocks = (time.perf_counter, time.process_time)
    fed: list[list[float]] = []
    trained: list[list[float]] = []
    for step in range(-2, 2 * runs):
        began = [clock() for clock in clocks]
        batch = source.batch(max(0, step + 2))
        between = [clock() for clock in clocks]
        update(batch)
        ended = [clock() for clock in clocks]
        if step >= 0:
            fed.append([b - a for a, b in zip(began, between, strict=True)])
            trained.append([b - a for a, b in zip(between, ended, strict=True)])
    row: dict[str, Any] = {"stage": name}
    for kind, first, size in (("clips", 0, config.clips), ("images", 1, config.images)):
        feed = [statistics.median(column) for column in zip(*fed[first::2], strict=True)]
        train = [statistics.median(column) for column in zip(*trained[first::2], strict=True)]
        row[f"{size} {kind}: batches/s"] = 1 / feed[0]
        row[f"{size} {kind}: steps/s"] = 1 / train[0]
        row[f"{kind} ratio"] = train[0] / feed[0]
        row[f"{kind} ratio, core time"] = train[1] / feed[1]
    row["wall and core seconds"] = {"fed": fed, "trained": trained}
    return row


def main() -> None:
    """Measure, print and write."""
    options = parser(__doc__, "data")
    options.add_argument("--clips", type=int, default=6, help="clips that are made and prepared")
    options.add_argument("--preset", default="emoji")
    options.add_argument("--feed", nargs="*", default=["base"], help="stages that are fed")
    options.add_argument("--runs", type=int, default=8, help="steps of clips and of images")
    run = options.parse_args()
    if run.quick:
        run.clips, run.runs, run.preset = 1, 1, "tiny"
    cascade = preset(run.preset)
    with tempfile.TemporaryDirectory(prefix="imagen-video-data-") as folder:
        clips, work = Path(folder) / "clips", Path(folder)
        print(f"making {run.clips} clips", file=sys.stderr)
        make_clips(clips, run.clips)
        print("preparing", file=sys.stderr)
        prepared = preparing(clips, cascade, work)
        shards = work / f"webp{len(cascade.stages)}"
        text = Manifest.read(shards).text
        print("feeding", file=sys.stderr)
        fed = [feeding(shards, cascade, name, run.runs) for name in run.feed]
    print(f"on one core, {WIDTH}x{HEIGHT}, {FPS} fps, {SECONDS:g} s, H.264:")
    print(table(prepared))
    print("\nin turn, on all cores:")
    print(table([{k: v for k, v in row.items() if "seconds" not in k} for row in fed]))
    found = [
        headline(f"clips prepared, {row['stages']}, {row['encoding']}", row["and written"], "1/s")
        for row in prepared
    ]
    for row in fed:
        ratios = {key: value for key, value in row.items() if key.endswith(" ratio")}
        for kind, ratio in ratios.items():
            what = f"{row['stage']}: shards of {kind.removesuffix(' ratio')} are fed"
            found.append(headline(what, None, "", ratio, "its training steps"))
    result: dict[str, Any] = {
        "headline": found,
        "machine": machine(),
        "prepare": prepared,
        "feed": fed,
    }
    if text is not None:
        ideal = 2 * text.tokens * text.width / text.captions
        result["captions"] = {"bytes each": text.bytes_per_caption, "tokens x width x 2": ideal}
        print(f"\n{text.bytes_per_caption:.0f} bytes a caption; tokens x width x 2: {ideal:.0f}")
    write(run.out, result)


if __name__ == "__main__":
    main()
