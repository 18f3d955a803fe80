"""The loss per noise level: on held-out clips with fixed noise and times, and as training goes.

A mean over all noise levels hides which of them improve, and drawn times make it jump. Here every
held-out clip is seen at the middle of every bin of t, always with the same noise, so the curve
moves only when the network does. t = 0 is clean, 1 is noise.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from imagen_video.data.batches.batch import Batch, BatchSource, shard_source
from imagen_video.diffusion.schedule import t_from_logsnr
from imagen_video.training.draws import keyed_generator
from imagen_video.training.objective import StageObjective
from imagen_video.training.processes import Processes

BINS = 8
"""Equal parts of t in [0, 1]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
    """Measures a network on held-out clips."""

    objective: StageObjective
    """Only its errors count: labels are never dropped."""
    batches: BatchSource
    """Clips that training does not show; the same ones every time."""
    num_batches: int = 2
    """How many of them."""
    bf16: bool = False
    """Run the network under bf16 autocast."""
    _kept: dict[int, Batch] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def __call__(self, network: nn.Module, processes: Processes) -> dict[str, float]:
        """Return the loss of every bin and their mean.

        Every process must call it, and runs the network equally often on its own rows.
        """
        objective = dataclasses.replace(self.objective, text_dropout=0.0, record=None)
        source = shard_source(self.batches, processes.rank, processes.ranks)
        sums, rows = torch.zeros(BINS, dtype=torch.float64), 0
        autocast = torch.autocast(processes.device.type, torch.bfloat16, enabled=self.bf16)
        with torch.no_grad(), autocast:
            for index in range(self.num_batches):
                if index not in self._kept:
                    self._kept[index] = source.batch(index)
                batch = self._kept[index]
                rows += batch.whole
                for bin_ in range(BINS):
                    times = torch.full((len(batch),), (bin_ + 0.5) / BINS)
                    generator = keyed_generator(index, bin_)
                    errors = objective.row_errors(
                        *objective.predict(network, batch, generator, times)
                    )
                    sums[bin_] += errors.sum().cpu()
        losses = [value / rows for value in processes.sum(*sums)]
        return {"validation": sum(losses) / BINS, **named("validation", losses)}


class LossByNoise:
    """Collects the training loss per bin of t, between two lines of the log."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._seen: list[tuple[Tensor, Tensor]] = []

    def add(self, logsnr: Tensor, loss: Tensor) -> None:
        """Take noise levels and their losses; nothing waits for the device."""
        self._seen.append((logsnr.flatten(), loss.flatten()))  # packed images: one a frame

    def take(self) -> dict[str, float]:
        """Return the mean loss of every bin that was seen, of this process's rows; start anew."""
        if not self._seen:
            return {}
        times = t_from_logsnr(torch.cat([logsnr for logsnr, _ in self._seen]).float().cpu())
        loss = torch.cat([loss for _, loss in self._seen]).float().cpu()
        self._seen = []
        bins = (times * BINS).long().clamp(0, BINS - 1)
        count = torch.bincount(bins, minlength=BINS)
        means = torch.bincount(bins, weights=loss, minlength=BINS) / count.clamp(min=1)
        values = named("loss", means.tolist())
        return {
            name: values[name] for name, seen in zip(values, count.tolist(), strict=True) if seen
        }


def named(prefix: str, losses: list[float]) -> dict[str, float]:
    """Name the losses of all bins by the middle of their t."""
    return {f"{prefix}_by_t/{(i + 0.5) / BINS:.2f}": loss for i, loss in enumerate(losses)}
