"""How a network is split, without any other process: what is split, and what a copy costs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from imagen_video import models
from imagen_video.cascade.spec import StageSpec
from imagen_video.models.blocks import SpaceTimeBlock
from imagen_video.models.unet import VideoUNet
from imagen_video.presets.paper import paper
from imagen_video.training.ema import Ema
from imagen_video.training.sharding import empty_copy, held, is_sharded, local, units, whole
from unit.training.small_runs import SPEC, assert_equal, network_of, weights


@pytest.mark.parametrize("stage", paper().stages, ids=lambda stage: stage.name)
def test_no_process_ever_gathers_more_than_a_small_part_of_the_weights(stage: StageSpec) -> None:
    """What is gathered together is a block, or what lies outside of the blocks."""
    with torch.device("meta"):
        network = VideoUNet(stage.unet)
    found = units(network)
    assert all(isinstance(module, SpaceTimeBlock) for module in found)
    total = sum(parameter.numel() for parameter in network.parameters())
    sizes = [sum(parameter.numel() for parameter in module.parameters()) for module in found]
    assert max(*sizes, total - sum(sizes)) < 0.11 * total


def test_an_empty_copy_has_the_same_modules_and_no_memory() -> None:
    network = network_of()
    network.gradient_checkpointing = True
    copied = empty_copy(network)
    assert isinstance(copied, VideoUNet)
    assert copied.gradient_checkpointing
    assert [n for n, _ in copied.named_parameters()] == [n for n, _ in network.named_parameters()]
    for ours, theirs in zip(copied.parameters(), network.parameters(), strict=True):
        assert ours.device.type == "meta"
        assert ours.shape == theirs.shape
    assert {p.device.type for p in network.parameters()} == {"cpu"}


def test_an_average_in_an_empty_copy_starts_at_the_weights() -> None:
    network = network_of()
    ema = Ema(network, empty_copy(network).to_empty(device="cpu"))
    assert_equal(weights(ema.network), weights(network))
    assert not any(parameter.requires_grad for parameter in ema.network.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_whole_tensor_is_its_own_part() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    assert not is_sharded(tensor)
    assert local(tensor) is tensor
    assert whole(tensor) is tensor
    assert held(tensor) == (slice(0, 2), slice(0, 3))


def test_networks_import_nothing_that_splits_them() -> None:
    for file in Path(models.__path__[0]).glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "torch.distributed" not in text
        assert "accelerate" not in text
    assert isinstance(VideoUNet(SPEC.stages[0].unet), nn.Module)
