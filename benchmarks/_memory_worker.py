"""Trains a stage for two updates in processes of their own and says how much their memory grew."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import sys
from typing import Any

import torch

from imagen_video.cascade.memory import give_back_freed, peak_bytes, resident_bytes
from imagen_video.cascade.spec import StageSpec
from imagen_video.data.batches.batch import Batch
from imagen_video.models.unet import VideoUNet
from imagen_video.planning.step import TrainedShape
from imagen_video.presets import preset
from imagen_video.text.base import TextEmbedding
from imagen_video.training.config import TrainConfig
from imagen_video.training.objective import StageObjective
from imagen_video.training.processes import Processes
from imagen_video.training.state import TrainState

M_MMAP_THRESHOLD = -3
"""glibc's number of the size from which memory is mapped by itself, and given back when freed."""
CONFIG = {field.name for field in dataclasses.fields(TrainConfig)}


def main() -> None:
    """Read the settings, train, print bytes as JSON."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 16)
    torch.set_num_threads(1)
    processes = Processes.join(_config(given))
    _train(given | {"preset": "tiny", "stage": "base", "clips": 1}, processes)  # loads libraries
    give_back_freed()
    before = resident_bytes()
    _train(given, processes)
    # One write for line and end: two processes share the pipe, and must not cut each other's lines.
    print(json.dumps({"grown": peak_bytes() - before}) + "\n", end="", flush=True)
    processes.leave()


def _config(given: dict[str, Any]) -> TrainConfig:
    return TrainConfig(**{name: given[name] for name in given.keys() & CONFIG})


def _train(given: dict[str, Any], processes: Processes) -> None:
    """Take two steps; `clips` are those of every process."""
    cascade, config = preset(given["preset"]), _config(given)
    stage = cascade.stage(given["stage"])
    torch.manual_seed(0)
    network = VideoUNet(stage.unet)
    network.gradient_checkpointing = config.gradient_checkpointing
    state = TrainState.start(network, config, processes)
    del network
    objective = StageObjective(stage=stage, source=cascade.input_of(stage.name), encoder=None)
    batch = _batch(stage, config.clips, given["tokens"])
    batch = dataclasses.replace(
        batch, offset=len(batch) * processes.rank, total=len(batch) * processes.ranks
    )
    for _ in range(2):
        state.backward(objective, batch)
        state.clip()
        state.update()


def _batch(stage: StageSpec, rows: int, tokens: int) -> Batch:
    shape = TrainedShape.of(stage, rows)
    video = torch.rand(rows, shape.frames, stage.unet.channels, shape.height, shape.width) * 2 - 1
    text = None
    if stage.unet.text_width is not None:
        mask = torch.ones(rows, tokens, dtype=torch.bool)
        text = TextEmbedding(states=torch.randn(rows, tokens, stage.unet.text_width), mask=mask)
    return Batch(video=video, text=text)


if __name__ == "__main__":
    main()
