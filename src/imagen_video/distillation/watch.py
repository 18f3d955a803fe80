"""Is the round still getting better? Probing, the best weights so far, and stopping in time.

The loss of single batches is too noisy to tell. So a few targets are fixed at the start of a round,
and the student's loss on them is taken every eighth of it:

    ROUND/probe.jsonl             update and loss, one line a probe
          best-00000025.safetensors, best.json     the weights with the lowest loss

A round has diverged when a loss is not finite; when, after the warm-up, the probe's loss is more
than twice that of the start of the round twice in a row; or when it ends above its start by more
than 5 %. The training loop knows nothing of this: the watch stands between it and the objective.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from imagen_video.cascade.weights_file import write_tensors
from imagen_video.data.batches.batch import Batch, BatchSource
from imagen_video.distillation.objective import DistillationObjective, Target
from imagen_video.errors import InputError
from imagen_video.media.atomic import replacing

PROBES_A_ROUND = 8
"""Probes between the start of a round and its end."""
DIVERGENCE = 2.0
"""Times the loss of the start of the round, on the way: what rises may still fall."""
END = 1.05
"""Times the same, at the end. Assumption: for less a student need not be thrown away."""
NEGLIGIBLE = 1e-5
"""Error of v that is none, for starts near 0: less than half a level of 8 bits, (1 / 255)^2."""


class RoundDiverged(InputError):
    """A round got worse than it began. The best weights are kept."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Best:
    """The lowest loss of a round so far."""

    step: int
    """Updates before it."""
    loss: float
    """On the probe."""
    start: float
    """The probe's loss before the first update."""

    @classmethod
    def read(cls, folder: Path) -> Best | None:
        """Read what a round's folder says; None if it says nothing."""
        try:
            data = json.loads((folder / "best.json").read_text(encoding="utf-8"))
            found = cls(step=int(data["step"]), loss=float(data["loss"]), start=data["start"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if found.path(folder).is_file() else None

    def path(self, folder: Path) -> Path:
        """Where its weights are."""
        return folder / f"best-{self.step:08d}.safetensors"

    def write(self, folder: Path, network: nn.Module) -> None:
        """Write the weights, then what is said of them, then delete those before."""
        with replacing(self.path(folder)) as temporary:
            write_weights(network, temporary)
        with replacing(folder / "best.json") as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")
        for old in folder.glob("best-*.safetensors"):
            if old != self.path(folder):
                old.unlink(missing_ok=True)


class RoundWatch:
    """A batch source and an objective in one, so that it sees the number of every update."""

    def __init__(
        self,
        objective: DistillationObjective,
        batches: BatchSource,
        folder: Path,
        *,
        probes: Sequence[Target],
        updates: int,
        warmup: int,
    ) -> None:
        """Stand between the loop and a round.

        Args:
            objective: of the round.
            batches: its data.
            folder: of the round; created.
            probes: fixed targets, from `probe_targets`.
            updates: length of the round.
            warmup: updates before which nothing counts as divergence.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.objective, self.folder, self.probes = objective, folder, probes
        self._batches, self._warmup = batches, warmup
        self._every = max(1, updates // PROBES_A_ROUND)
        self._step, self._looked = 0, -1
        self.best = Best.read(folder)
        self._risen_at = self._last_risen()

    def batch(self, step: int) -> Batch:
        """Return the batch of an update, and note its number."""
        self._step = step
        return self._batches.batch(step)

    def __call__(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch; probe first where it is time.

        Raises:
            RoundDiverged: if the loss is not finite or has risen.
        """
        # a batch may come in several parts
        if self._step % self._every == 0 and self._looked != self._step:
            self._looked = self._step
            self.look(network, self._step)
        loss = self.objective(network, batch, generator)
        if not bool(loss.detach().isfinite()):
            raise self.diverged(self._step, loss.item())
        return loss

    def look(self, network: nn.Module, step: int, *, last: bool = False) -> float:
        """Take the probe's loss of a student after `step` updates; keep the weights if it is best.

        Args:
            network: the student.
            step: updates so far.
            last: whether the round is over.

        Raises:
            RoundDiverged: as above.
        """
        loss = self.probe(network)
        with (self.folder / "probe.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps({"step": step, "loss": loss}) + "\n")
        if not math.isfinite(loss):
            raise self.diverged(step, loss)
        if self.best is None or loss < self.best.loss:
            start = loss if self.best is None else self.best.start
            self.best = Best(step=step, loss=loss, start=start)
            self.best.write(self.folder, network)
        if last and self._above(END, loss):
            raise self.diverged(step, loss, END)
        if not self._risen(step, loss):
            self._risen_at = None
            return loss
        # a first jump, as of an optimiser that begins, may pass
        if self._risen_at is not None and self._risen_at < step:
            raise self.diverged(step, loss)
        self._risen_at = step
        return loss

    def _risen(self, step: int, loss: float) -> bool:
        return step >= self._warmup and self._above(DIVERGENCE, loss)

    def _above(self, times: float, loss: float) -> bool:
        """Whether a loss exceeds so many times that of the start of the round."""
        start = loss if self.best is None else self.best.start
        return loss > times * start + NEGLIGIBLE

    def _last_risen(self) -> int | None:
        """When the last probe before a restart was too high; None if it was not."""
        try:
            lines = (self.folder / "probe.jsonl").read_text(encoding="utf-8").splitlines()
            told = json.loads(lines[-1])
            return int(told["step"]) if self._risen(told["step"], told["loss"]) else None
        except (OSError, ValueError, LookupError, TypeError):
            return None

    @torch.no_grad()
    def probe(self, network: nn.Module) -> float:
        """Return the mean loss on the fixed targets."""
        losses = [self.objective.loss(network, target).item() for target in self.probes]
        return math.fsum(losses) / len(losses)

    def diverged(self, step: int, loss: float, times: float = DIVERGENCE) -> RoundDiverged:
        """Return the error that names both losses."""
        start = "not measured" if self.best is None else f"{self.best.start:.5f}"
        kept = "nothing was kept" if self.best is None else str(self.best.path(self.folder))
        return RoundDiverged(
            f"distillation round {self.folder}",
            f"loss {loss:.5f} after {step} updates",
            f"at most {times:g} times that of the start of the round ({start})",
            f"the best weights are kept in {kept}: go on with them by --accept-best, or begin the "
            "round again in another folder with a lower --learning-rate",
        )


def probe_targets(
    objective: DistillationObjective, batches: Sequence[Batch], seed: int
) -> list[Target]:
    """Draw fixed targets for a round, one a batch; the same after every resume."""
    return [
        objective.target(batch, torch.Generator().manual_seed((seed << 16) + number))
        for number, batch in enumerate(batches)
    ]


def write_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights as fp32.

    Raises:
        OSError: if the file cannot be written.
    """
    tensors = {
        name: tensor.detach().to("cpu", torch.float32).contiguous().clone()
        for name, tensor in network.state_dict().items()
    }
    write_tensors(tensors, path)
