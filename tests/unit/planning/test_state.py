from __future__ import annotations

from typing import get_args

import pytest
import torch

from imagen_video.models.unet import VideoUNet
from imagen_video.planning.state import (
    OPTIMIZER_NUMBERS,
    gathered_bytes,
    optimizer_bytes,
    parameter_bytes,
)
from imagen_video.presets.paper import paper
from imagen_video.presets.tiny import tiny
from imagen_video.training.config import OptimizerName, TrainConfig
from imagen_video.training.optim import create_state, make_optimizer, state_tensors
from imagen_video.training.sharding import is_sharded, local, shard
from unit.planning.fake_processes import one_of

BASE = tiny().stage("base")
PAPER_BASE = paper().stage("base")


def test_every_optimiser_of_the_engine_is_known() -> None:
    assert set(OPTIMIZER_NUMBERS) == set(get_args(OptimizerName))


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_the_optimiser_takes_what_it_then_takes(name: OptimizerName) -> None:
    network = VideoUNet(BASE.unet)
    optimizer = make_optimizer(network, TrainConfig(optimizer=name))
    create_state(optimizer)
    taken = sum(t.numel() * t.element_size() for t in state_tensors(network, optimizer).values())
    assert optimizer_bytes(BASE, name) == taken


def test_all_parts_of_a_split_network_make_the_whole() -> None:
    whole = parameter_bytes(BASE)
    assert whole == 4 * sum(parameter.numel() for parameter in VideoUNet(BASE.unet).parameters())
    for ranks in (2, 3, 64):
        assert sum(parameter_bytes(BASE, ranks, rank) for rank in range(ranks)) == whole


@pytest.mark.parametrize("rank", [0, 7, 63])
def test_the_papers_base_is_split_over_64_processes_as_planned(rank: int) -> None:
    """FSDP2 itself splits the 5.6 billion parameters, on the meta device."""
    with torch.device("meta"):
        network = VideoUNet(PAPER_BASE.unet)
    total = sum(parameter.numel() for parameter in network.parameters())
    assert 5.5e9 < total < 5.7e9
    with one_of(64, rank) as mesh:
        shard(network, mesh)
        assert all(is_sharded(parameter) for parameter in network.parameters())
        parts = [local(parameter.detach()) for parameter in network.parameters()]
        held = sum(part.numel() * part.element_size() for part in parts)
    assert held == parameter_bytes(PAPER_BASE, 64, rank)
    assert held < 1.01 * 4 * total / 64


def test_a_process_of_a_split_network_gathers_little_at_a_time() -> None:
    assert gathered_bytes(PAPER_BASE) < 0.13 * parameter_bytes(PAPER_BASE)
