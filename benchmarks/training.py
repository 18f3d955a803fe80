"""What share of the machine's arithmetic a training step uses.

    python benchmarks/training.py [--stage base tsr1] [--precision bf16] [--runs 5] [--threads 2]

A step is the real one: noise, loss, backward, clipping, AdamW and the average, on clips that are in
memory. Its work is three times the forward pass of models/cost.py (forward, and the gradients of
inputs and of weights); recomputed activations do not count. The peaks of a matrix product and of a
3x3 convolution are measured in the same run, in turn with the steps, so that a machine that slows
down slows all of them; medians count.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from _report import headline, machine, parser, table, write
from torch.nn import functional

from imagen_video.cascade.spec import CascadeSpec, StageSpec
from imagen_video.data.batches.batch import Batch
from imagen_video.models.cost import flops
from imagen_video.models.unet import VideoUNet
from imagen_video.presets.user import load_preset
from imagen_video.text.base import TextEmbedding
from imagen_video.training.config import TrainConfig
from imagen_video.training.objective import StageObjective
from imagen_video.training.processes import Processes
from imagen_video.training.state import TrainState

SIDE = 1536
"""Of the square matrices."""
CHANNELS, FRAMES, HEIGHT, WIDTH = 128, 16, 24, 40
"""Of the convolution: like the widest of the emoji base's finest levels."""
BACKWARD = 3
"""Forward and backward cost about three forward passes."""
TOKENS = 16


def batch_of(stage: StageSpec, clips: int) -> Batch:
    """Clips of noise with text, at the shape that the stage trains on."""
    height, width = stage.crop or (stage.output.height, stage.output.width)
    frames = stage.train_frames or stage.output.frames
    text = None
    if stage.unet.text_width is not None:
        text = TextEmbedding(
            states=torch.randn(clips, TOKENS, stage.unet.text_width),
            mask=torch.ones(clips, TOKENS, dtype=torch.bool),
        )
    video = torch.rand(clips, frames, stage.unet.channels, height, width) * 2 - 1
    return Batch(video=video, text=text)


def training_step(
    cascade: CascadeSpec, stage: StageSpec, clips: int, config: TrainConfig, device: torch.device
) -> tuple[Callable[[], None], float]:
    """Return a step and its floating-point operations."""
    network = VideoUNet(stage.unet).to(device)
    network.gradient_checkpointing = config.gradient_checkpointing
    state = TrainState.start(network, config, Processes(device=device))
    source = cascade.input_of(stage.name)
    objective = StageObjective(stage=stage, source=source, encoder=None, device=device)
    batch = batch_of(stage, clips)

    def step() -> None:
        state.backward(objective, batch)
        state.clip()
        state.update()

    _, frames, _, height, width = batch.video.shape
    return step, BACKWARD * flops(stage.unet, clips, frames, height, width)


def matrix_product(dtype: torch.dtype, device: torch.device) -> tuple[Callable[[], None], float]:
    """Return a large matrix product and its operations."""
    a, b = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    return lambda: (a @ b, None)[1], 2.0 * SIDE**3


def convolution(dtype: torch.dtype, device: torch.device) -> tuple[Callable[[], None], float]:
    """Return a 3x3 convolution in channels-last memory and its operations."""
    x = torch.randn(FRAMES, CHANNELS, HEIGHT, WIDTH, device=device).to(dtype)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, device=device).to(dtype)
    x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    work = 2.0 * FRAMES * HEIGHT * WIDTH * CHANNELS**2 * 9
    return lambda: (functional.conv2d(x, weight, padding=1), None)[1], work


def seconds(work: Callable[[], None], device: torch.device) -> float:
    """Time one call."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure(
    work: dict[str, tuple[Callable[[], None], float]], runs: int, device: torch.device
) -> dict[str, dict[str, float]]:
    """Time everything in turn; return median seconds and GFLOP/s."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for run in range(runs + 1):
        for name, (call, _) in work.items():
            spent = seconds(call, device)
            if run:  # the first one prepares kernels and the optimiser's state
                times[name].append(spent)
    return {
        name: {
            "seconds": statistics.median(values),
            "GFLOP": work[name][1] / 1e9,
            "GFLOP/s": work[name][1] / 1e9 / statistics.median(values),
        }
        for name, values in times.items()
    }


def rows(result: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """One line a measurement, with its share of the two peaks."""
    peaks = {name: result[name]["GFLOP/s"] for name in ("matmul", "conv")}
    return [
        {"what": name, **numbers}
        | {f"of {peak}": numbers["GFLOP/s"] / value for peak, value in peaks.items()}
        for name, numbers in result.items()
    ]


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, "training")
    arguments.add_argument("--preset", default="emoji")
    arguments.add_argument("--stage", nargs="+", default=["base", "tsr1"])
    arguments.add_argument("--clips", type=int, default=1, help="clips in a batch")
    arguments.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    arguments.add_argument("--gradient-checkpointing", action="store_true")
    arguments.add_argument("--compile", action="store_true", help="minutes of warm-up on a CPU")
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options = arguments.parse_args()
    if options.quick:
        options.preset, options.runs = "tiny", 1
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    config = TrainConfig(
        precision=options.precision,
        compile=options.compile,
        gradient_checkpointing=options.gradient_checkpointing,
    )
    cascade = load_preset(options.preset)
    work = {"matmul": matrix_product(dtype, device), "conv": convolution(dtype, device)}
    for name in options.stage:
        stage = cascade.stage(name)
        work[name] = training_step(cascade, stage, options.clips, config, device)
    result = measure(work, options.runs, device)
    lines = rows(result)
    print(table(lines))
    about = {
        name: getattr(options, name)
        for name in ("preset", "clips", "precision", "threads", "runs", "compile")
    }
    found = [
        headline(
            f"training of {line['what']}, {options.precision}",
            line["GFLOP/s"],
            "GFLOP/s",
            line["of matmul"],
            "share of the measured peak of matmul",
        )
        for line in lines
        if line["what"] in options.stage
    ]
    write(options.out, {"machine": machine(), **about, "table": lines, "headline": found})


if __name__ == "__main__":
    main()
