"""An exponential moving average of the weights: what is sampled, shipped and distilled."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Ema:
    """Averaged fp32 copies of a network's parameters."""

    def __init__(self, network: nn.Module) -> None:
        """Start at the network's present weights."""
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float) -> None:
        """Average <- decay * average + (1 - decay) * weights."""
        for ours, theirs in zip(self.network.parameters(), network.parameters(), strict=True):
            ours.lerp_(theirs.detach(), 1.0 - decay)

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """Give the averaged network for sampling; the trained one is never swapped or touched."""
        with torch.no_grad():
            yield self.network
