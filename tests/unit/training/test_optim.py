"""Optimisers: their state is saved with everything in it, and comes back bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from imagen_video.errors import InputError
from imagen_video.training.checkpoint import newest_checkpoint, restore
from imagen_video.training.config import OptimizerName
from imagen_video.training.optim import (
    GatheredAdafactor,
    create_state,
    make_optimizer,
    state_tensors,
)
from unit.training.small_runs import assert_equal, config_of, network_of, run, weights

OPTIMIZERS: list[OptimizerName] = ["adamw", "muon", "adafactor"]


@pytest.fixture(autouse=True)
def small_matrices_are_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks of these tests have no others."""
    monkeypatch.setattr("imagen_video.training.muon.SMALLEST_SIDE", 8)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_optimizer_takes_the_steps_it_would_have_taken(
    tmp_path: Path, optimizer: OptimizerName
) -> None:
    """Without its state a resumed run would start its averages anew."""
    changes = {"optimizer": optimizer, "learning_rate": 1e-2, "cooldown_fraction": 0.0}
    whole = network_of()
    run(tmp_path / "whole", config_of(**changes, steps=8), network=whole)
    run(tmp_path / "cut", config_of(**changes, steps=4))
    resumed = network_of(seed=5)
    run(tmp_path / "cut", config_of(**changes, steps=8), network=resumed)
    assert_equal(weights(resumed), weights(whole))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_everything_an_optimizer_holds_is_in_the_checkpoint(
    tmp_path: Path, optimizer: OptimizerName
) -> None:
    network = network_of()
    run(tmp_path, config_of(steps=2, optimizer=optimizer), network=network)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    kinds = {name.split("/")[0] for name in found.optimizer}
    wanted = {
        "adamw": {"step", "exp_avg", "exp_avg_sq"},
        "muon": {"step", "exp_avg", "exp_avg_sq"},
        "adafactor": {"step", "row_var", "col_var", "variance"},
    }
    assert kinds == wanted[optimizer]
    other = network_of(seed=3)
    fresh = make_optimizer(other, config_of(optimizer=optimizer))
    restore(found, other, network_of(), fresh)
    assert_equal(
        {name: value.clone() for name, value in state_tensors(other, fresh).items()},
        found.optimizer,
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_making_room_for_state_changes_no_weight(optimizer: OptimizerName) -> None:
    network = network_of()
    before = weights(network)
    made = make_optimizer(network, config_of(optimizer=optimizer, weight_decay=0.1))
    create_state(made)
    assert_equal(weights(network), before)
    assert made.param_groups[0]["lr"] == config_of().learning_rate
    assert all(parameter.grad is None for parameter in network.parameters())


def test_adafactor_part_by_part_takes_the_steps_of_adafactor() -> None:
    config = config_of(optimizer="adafactor", weight_decay=0.01)
    networks = [network_of(), network_of()]
    ours = GatheredAdafactor(networks[0].parameters(), lr=1e-2, weight_decay=0.01)
    theirs = torch.optim.Adafactor(networks[1].parameters(), lr=1e-2, weight_decay=0.01)
    assert type(make_optimizer(networks[0], config)) is torch.optim.Adafactor
    for step in range(3):
        for network in networks:
            generator = torch.Generator().manual_seed(step)
            for parameter in network.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        ours.step()
        theirs.step()
    assert_equal(weights(networks[0]), weights(networks[1]))


def test_adafactor_keeps_little() -> None:
    network = network_of()
    sizes = {}
    for name in OPTIMIZERS:
        made = make_optimizer(network, config_of(optimizer=name))
        create_state(made)
        sizes[name] = sum(value.numel() for value in state_tensors(network, made).values())
    # 3x3 kernels are factored over the kernel: 6 numbers instead of 9, and one set, not two
    assert sizes["adafactor"] < 0.5 * sizes["adamw"]


def test_a_run_does_not_go_on_with_another_optimizer(tmp_path: Path) -> None:
    run(tmp_path, config_of(steps=1))
    with pytest.raises(InputError, match=r"adamw.*adafactor.*--change-optimizer"):
        run(tmp_path, config_of(steps=2, optimizer="adafactor"))


def test_a_change_of_optimizer_that_is_asked_for_keeps_what_both_know(tmp_path: Path) -> None:
    run(tmp_path, config_of(steps=2))
    before = newest_checkpoint(tmp_path)
    assert before is not None
    muon = make_optimizer(network := network_of(seed=5), config_of(optimizer="muon"))
    restore(before, network, network_of(), muon, other_optimizer=True)
    kept = state_tensors(network, muon)
    assert set(kept) < set(before.optimizer)
    assert all(torch.equal(kept[name], before.optimizer[name]) for name in kept)
    changes = config_of(steps=3, optimizer="muon", change_optimizer=True)
    with pytest.warns(UserWarning, match="optimizer adamw -> muon"):
        run(tmp_path, changes)
    run(tmp_path, config_of(steps=4, optimizer="muon"))  # from now on it is its own


def test_muons_momentum_alone_is_not_taken_for_the_state_of_adamw(tmp_path: Path) -> None:
    """With second moments of zero, the first update would be a thousand times too large."""
    run(tmp_path, config_of(steps=6, optimizer="muon"))
    before = newest_checkpoint(tmp_path)
    assert before is not None
    network, ema = network_of(seed=1), network_of(seed=2)
    adamw = make_optimizer(network, config_of(learning_rate=1e-3))
    restore(before, network, ema, adamw, other_optimizer=True)
    whole = {name for name in before.optimizer if name.startswith("exp_avg_sq/")}
    kept = {name for name in state_tensors(network, adamw) if name.startswith("exp_avg_sq/")}
    assert kept == whole  # what Muon left to AdamW goes on
    start = weights(network)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
        parameter.grad = 1e-3 * noise
    adamw.step()
    for name, parameter in network.named_parameters():
        change = (parameter.detach() - start[name]).square().mean().sqrt()
        assert change < 3e-3, name
