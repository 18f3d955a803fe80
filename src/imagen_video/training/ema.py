"""An exponential moving average of the weights: what is sampled, shipped and distilled."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from imagen_video.training.sharding import local


class Ema:
    """Averaged fp32 copies of a network's parameters; of a split network, split in the same way."""

    def __init__(self, network: nn.Module, network_copy: nn.Module | None = None) -> None:
        """Start at the network's present weights.

        Args:
            network: what is averaged.
            network_copy: what holds the average, split like it; a copy is made if None.
        """
        copied = copy.deepcopy(network) if network_copy is None else network_copy
        self.network = copied.eval().requires_grad_(False)
        self.update(network, 0.0)

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float) -> None:
        """Average <- decay * average + (1 - decay) * weights."""
        for ours, theirs in zip(self.network.parameters(), network.parameters(), strict=True):
            if decay:
                local(ours).lerp_(local(theirs.detach()), 1.0 - decay)
            else:
                local(ours).copy_(local(theirs.detach()))

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """Give the averaged network for sampling; the trained one is never swapped or touched."""
        with torch.no_grad():
            yield self.network
