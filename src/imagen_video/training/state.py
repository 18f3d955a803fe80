"""What an update changes: weights, their average, the optimiser's tensors."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from imagen_video.data.batches.batch import Batch, rows_of_rank
from imagen_video.training.config import TrainConfig
from imagen_video.training.draws import keyed_generator
from imagen_video.training.ema import Ema
from imagen_video.training.objective import Objective
from imagen_video.training.optim import clip_gradients, make_optimizer
from imagen_video.training.processes import Processes
from imagen_video.training.sharding import callable_of, empty_copy, equalise, settle


@dataclasses.dataclass(kw_only=True)
class TrainState:
    """A network in training."""

    network: nn.Module
    """On its device, split over the processes or whole."""
    forward: nn.Module
    """What a step calls: the network, or a wrapper that sums gradients over the processes."""
    ema: Ema
    """Its average, placed in the same way."""
    optimizer: torch.optim.Optimizer
    config: TrainConfig
    processes: Processes
    step: int = 0
    """Updates so far."""
    saved_step: int | None = None
    """Updates in the newest checkpoint."""

    @staticmethod
    def start(network: nn.Module, config: TrainConfig, processes: Processes) -> TrainState:
        """Place a network with its initial weights, its average and its optimiser.

        A process alone leaves the network on the device where it is.
        """
        if processes.ranks == 1:
            device = next(network.parameters()).device
            processes = dataclasses.replace(processes, device=device)
        equalise(network, processes)
        # without weights until it is split: two whole copies may be more than fits
        average = empty_copy(network) if processes.sharded else None
        settle(network, processes)
        if average is not None:
            settle(average, processes)
            average.to_empty(device=processes.device)
        ema = Ema(network, average)
        return TrainState(
            network=network.train(),
            forward=callable_of(network, config, processes),
            ema=ema,
            optimizer=make_optimizer(network, config, processes),
            config=config,
            processes=processes,
        )

    def backward(self, objective: Objective, batch: Batch) -> Tensor:
        """Add up the gradients of a batch, part by part; return our share of its loss.

        Every part and every process draws from the same generator, keyed by (seed, step), and takes
        what belongs to its rows (`training.draws`). Global generators are set as well: nothing of
        ours draws from them, but somebody's objective may, and would resume exactly.
        """
        key = (self.config.seed, self.step)
        torch.manual_seed(keyed_generator(*key, self.processes.rank).initial_seed())
        # the same number in every process: split networks are gathered together
        parts = max(1, min(self.config.accumulate, batch.whole // self.processes.ranks))
        total = torch.zeros((), device=self.processes.device)
        for index in range(parts):
            rows = batch.rows(rows_of_rank(len(batch), index, parts)) if parts > 1 else batch
            with self._sums_later(index < parts - 1), self._autocast():
                loss = objective(self.forward, rows, keyed_generator(*key))
                share = loss * (len(rows) / batch.whole)
                # gradients are averaged over processes, and ours are shares of a sum
                (share * self.processes.ranks).backward()
            total += share.detach()
        return total

    def clip(self) -> Tensor:
        """Limit the norm of the gradient; return it as it was, the same in every process."""
        return clip_gradients(self.network, self.config.gradient_clip)

    def update(self) -> float:
        """Apply the gradient; return the learning rate."""
        rate = self.config.learning_rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.network, self.config.ema_decay_at(self.step))
        self.step += 1
        return rate

    def _sums_later(self, later: bool) -> contextlib.AbstractContextManager[Any]:
        """Keep copies from summing gradients before the last part; split networks always do.

        A split network would have to keep whole gradients otherwise.
        """
        if later and isinstance(self.forward, nn.parallel.DistributedDataParallel):
            return self.forward.no_sync()
        return contextlib.nullcontext()

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.config.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.processes.device.type, dtype=torch.bfloat16)
