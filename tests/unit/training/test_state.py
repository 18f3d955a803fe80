"""An update is the same however its batch is worked through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from imagen_video.data.batches.batch import Batch
from imagen_video.training.processes import Processes
from imagen_video.training.state import TrainState
from unit.training.small_runs import (
    ColourClips,
    assert_equal,
    config_of,
    network_of,
    objective_of,
    run,
    weights,
)

STAGES = ["base", "tsr1", "ssr1"]
SIZES = {"base": (4, 4, 6), "tsr1": (4, 4, 6), "ssr1": (8, 4, 8)}


def gradients(stage: str, step: int, **changes: Any) -> tuple[Tensor, dict[str, Tensor]]:
    network = network_of(stage)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            # residual branches start at zero, and so would many gradients
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    network.gradient_checkpointing = changes.get("gradient_checkpointing", False)
    state = TrainState.start(network, config_of(**changes), Processes())
    loss = state.backward(objective_of(stage), ColourClips(sizes=SIZES[stage]).batch(step))
    found = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    return loss, found


@pytest.mark.parametrize("parts", [2, 3, 4, 100])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("step", [0, 2])
def test_accumulated_gradients_are_those_of_the_whole_batch(
    stage: str, step: int, parts: int
) -> None:
    loss, whole = gradients(stage, step)
    loss_of_parts, sums = gradients(stage, step, accumulate=parts)
    assert loss_of_parts.item() == pytest.approx(loss.item(), rel=1e-5)
    assert sums.keys() == whole.keys()
    largest = max(gradient.abs().max() for gradient in whole.values())
    for name, gradient in whole.items():
        # float32 sums of another order
        assert torch.allclose(sums[name], gradient, atol=5e-6 * float(largest), rtol=1e-4), name


@pytest.mark.parametrize("stage", STAGES)
def test_recomputed_activations_give_bit_equal_gradients(stage: str) -> None:
    loss, whole = gradients(stage, 0)
    loss_again, again = gradients(stage, 0, gradient_checkpointing=True)
    assert torch.equal(loss, loss_again)
    assert_equal(whole, again)


def test_recomputing_keeps_fewer_activations(tmp_path: Path) -> None:
    """A switch that is never on would give equal results as well."""

    def kept(recompute: bool) -> int:
        total = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        network = network_of("ssr1")
        network.gradient_checkpointing = recompute
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            batch = ColourClips(sizes=(8, 4, 8)).batch(0)
            objective_of("ssr1")(network, batch, torch.Generator().manual_seed(0)).backward()
        return total

    assert kept(True) < 0.7 * kept(False)


def test_a_process_alone_leaves_the_network_where_it_is() -> None:
    network = network_of()
    state = TrainState.start(network, config_of(), Processes(device=torch.device("meta")))
    assert state.network is network
    assert state.forward is network
    assert {p.device.type for p in network.parameters()} == {"cpu"}


def test_the_average_starts_at_the_weights_and_follows_every_update() -> None:
    network = network_of()
    state = TrainState.start(network, config_of(ema_decay=0.5), Processes())
    assert_equal(weights(state.ema.network), weights(network))
    wanted = {name: value.clone() for name, value in network.state_dict().items()}
    for step in range(4):
        state.backward(objective_of(), ColourClips().batch(step))
        decay = state.config.ema_decay_at(step)
        state.update()
        for name, value in network.state_dict().items():
            wanted[name] = decay * wanted[name] + (1 - decay) * value
    for name, value in state.ema.network.state_dict().items():
        assert torch.allclose(value, wanted[name], atol=1e-6)


def test_an_error_while_sampling_leaves_the_trained_weights_as_they_were(tmp_path: Path) -> None:
    """The average is a network of its own: nothing is swapped that must be swapped back."""
    network, seen = network_of(), {}

    def out_of_memory(averaged: nn.Module, step: int) -> None:
        seen.update(weights(network))
        with torch.no_grad():
            next(averaged.parameters()).add_(1.0)
        raise MemoryError

    with pytest.raises(MemoryError):
        run(
            tmp_path,
            config_of(steps=3, sample_minutes=60.0),
            network=network,
            on_sample=out_of_memory,
        )
    assert_equal(weights(network), seen)


def test_uneven_rows_are_weighed_by_their_number() -> None:
    """Two parts of three rows: 1 and 2. Each row counts for a third."""

    def objective(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        first = next(network.parameters()).sum()
        return (first * 0 + 1) * float(batch.video[:, 0, 0, 0, 0].mean())

    state = TrainState.start(network_of(), config_of(accumulate=2), Processes())
    video = torch.tensor([1.0, 2.0, 6.0])[:, None, None, None, None].expand(3, 4, 3, 4, 6)
    assert state.backward(objective, Batch(video=video)).item() == pytest.approx(3.0)
