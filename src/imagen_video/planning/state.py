"""What a training process holds between steps: its part of weights and optimiser, in bytes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from imagen_video.cascade.spec import StageSpec
from imagen_video.models.unet import VideoUNet
from imagen_video.training.config import OptimizerName
from imagen_video.training.muon import is_matrix
from imagen_video.training.sharding import units

FLOAT_BYTES = 4
"""Weights, gradients, averages and optimisers are fp32, whatever the network computes in."""


@functools.lru_cache(maxsize=64)
def meta_network(stage: StageSpec) -> VideoUNet:
    """Build a stage's network without weights."""
    with torch.device("meta"):
        return VideoUNet(stage.unet)


def parameter_bytes(stage: StageSpec, ranks: int = 1, rank: int = 0) -> int:
    """Bytes of the parameters that process `rank` of `ranks` holds of a split network."""
    return FLOAT_BYTES * sum(
        _held(parameter, ranks, rank) for parameter in meta_network(stage).parameters()
    )


def optimizer_bytes(stage: StageSpec, optimizer: OptimizerName, ranks: int = 1) -> int:
    """Bytes of an optimiser's tensors on the first of `ranks` processes of a split network."""
    return FLOAT_BYTES * sum(
        OPTIMIZER_NUMBERS[optimizer](parameter, ranks)
        for parameter in meta_network(stage).parameters()
    )


def gathered_bytes(stage: StageSpec) -> int:
    """Bytes of whole weights that a process of a split network holds at the worst moment.

    What is outside the blocks stays gathered for the whole step; beside it lie the block that runs
    and the one that is gathered next, or the gradients of the one before.
    """
    blocks = [_bytes_of(block) for block in units(meta_network(stage))]
    return _bytes_of(meta_network(stage)) - sum(blocks) + 2 * max(blocks)


def _bytes_of(module: torch.nn.Module) -> int:
    return FLOAT_BYTES * sum(parameter.numel() for parameter in module.parameters())


def _held(tensor: Tensor, ranks: int, rank: int = 0) -> int:
    """Numbers of a tensor that a process holds; FSDP2 cuts the first axis like `torch.chunk`."""
    chunk = -(-tensor.shape[0] // ranks)
    rows = max(0, min(chunk, tensor.shape[0] - rank * chunk))
    return rows * math.prod(tensor.shape[1:])


def _adamw(parameter: Tensor, ranks: int) -> int:
    """Two averages and a count of steps."""
    return 2 * _held(parameter, ranks) + 1


def _muon(parameter: Tensor, ranks: int) -> int:
    """One average for matrices, AdamW's for the rest."""
    return _held(parameter, ranks) if is_matrix(parameter) else _adamw(parameter, ranks)


def _adafactor(parameter: Tensor, ranks: int) -> int:
    """One number a row and one a column of the last two axes, whole on every process.

    Little for matrices; for a 3x3 convolution two thirds of its size, for a 1x1 twice its size.
    """
    size, shape = parameter.numel(), parameter.shape
    return 1 + (size // shape[-1] + size // shape[-2] if parameter.ndim > 1 else size)


OPTIMIZER_NUMBERS: dict[OptimizerName, Callable[[Tensor, int], int]] = {
    "adamw": _adamw,
    "muon": _muon,
    "adafactor": _adafactor,
}
