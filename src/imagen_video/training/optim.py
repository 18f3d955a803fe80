"""The optimisers of a run: fused AdamW, Muon or Adafactor, on whole tensors or on parts of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from imagen_video.training.config import TrainConfig
from imagen_video.training.muon import Muon
from imagen_video.training.processes import Processes
from imagen_video.training.sharding import held, is_sharded, local, whole


def make_optimizer(
    network: nn.Module, config: TrainConfig, processes: Processes | None = None
) -> torch.optim.Optimizer:
    """Build the optimiser of a network that is on its device, split or not.

    Args:
        network: what it updates.
        config: which optimiser, and how.
        processes: those that update the network together; None for one alone.
    """
    parameters = list(network.parameters())
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters,
            lr=config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=config.weight_decay,
            fused=True,
        )
    if config.optimizer == "muon":
        return Muon(network, config.learning_rate, config.weight_decay, processes)
    kind = GatheredAdafactor if is_sharded(parameters[0]) else torch.optim.Adafactor
    return kind(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)


class GatheredAdafactor(torch.optim.Adafactor):
    """Adafactor for tensors that are split over processes.

    Its statistics are sums over whole rows and columns and its step is scaled by norms of whole
    tensors, so each tensor is gathered, updated by every process alike, and its part kept. One
    tensor is whole at a time. The statistics are small and whole everywhere, so the result is that
    of one process, whatever the number of processes.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Update every parameter that has a gradient; a closure is not taken."""
        assert closure is None
        assert len(self.param_groups) == 1
        group = self.param_groups[0]
        parts = group["params"]
        try:
            for part in parts:
                if part.grad is None:
                    continue
                gathered = nn.Parameter(whole(part.detach()))
                gathered.grad = whole(part.grad)
                group["params"] = [gathered]
                self.state[gathered] = self.state.pop(part, {})
                super().step()
                self.state[part] = self.state.pop(gathered)
                local(part).copy_(gathered[held(part)])
        finally:
            group["params"] = parts


def clip_gradients(network: nn.Module, largest: float) -> Tensor:
    """Scale gradients down to a largest norm; return the norm before, the same everywhere."""
    return whole(nn.utils.clip_grad_norm_(network.parameters(), largest))


@torch.no_grad()
def create_state(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimiser make its tensors, by a step of size zero, for a checkpoint to fill."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def state_tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's tensors as `exp_avg/input.weight` and so on."""
    return {
        f"{key}/{name}": value
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
