"""Which of how many processes this is, where it computes, and what all of them agree on.

Started by `torchrun`, `accelerate launch`, Slurm with one of them, or Ray Train: accelerate reads
the environment, joins the processes and chooses device and backend. A process that was started
alone needs none of this.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from imagen_video import errors
from imagen_video.errors import InputError, MissingExtraError
from imagen_video.training.config import TrainConfig

_YES = frozenset({"1", "true", "yes"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processes:
    """The place of this process among those that train one network."""

    rank: int = 0
    """Which process this is."""
    ranks: int = 1
    """How many there are."""
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    """Where it computes."""
    sharded: bool = False
    """Whether each holds a part of every tensor (FSDP) instead of a copy (DDP)."""

    @staticmethod
    def join(config: TrainConfig) -> Processes:
        """Find the other processes, if there are any; calling it twice is harmless.

        Raises:
            InputError: if the launcher was told something else than our options.
            MissingExtraError: if there are others but accelerate is not installed.
        """
        _check_launcher(os.environ, config)
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return Processes(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise MissingExtraError(
                "training on several processes",
                "no accelerate",
                "the extra `train`",
                'pip install "imagen-video[train]"',
            ) from error
        accelerator = torch.accelerator.current_accelerator()
        cpu = accelerator is None or accelerator.type == "mps"  # which knows no other process
        # without cpu=True such a machine would start strangers, not a group
        state = PartialState(cpu=cpu)
        return Processes(
            rank=state.process_index,
            ranks=state.num_processes,
            device=torch.device("cpu" if cpu else str(state.device)),
            sharded=config.parallel == "fsdp" and state.num_processes > 1,
        )

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0

    def sum(self, *values: Tensor | float) -> list[float]:
        """Add numbers up over the processes; every process gets the sums.

        They are added in double precision, so that the result is the same on every process.
        """
        numbers = [value if isinstance(value, Tensor) else torch.tensor(value) for value in values]
        local = torch.stack([number.detach().to(self.device, torch.float64) for number in numbers])
        if self.ranks > 1:
            torch.distributed.all_reduce(local)
        return local.tolist()

    def send_from(self, source: int, tensor: Tensor) -> None:
        """Overwrite a contiguous tensor with the one that the process `source` holds."""
        if self.ranks > 1:
            torch.distributed.broadcast(tensor, src=source)

    def from_main(self, value: Any) -> Any:
        """Give every process the main one's JSON value; what the others pass is ignored."""
        if self.ranks == 1:
            return value
        text = json.dumps(value).encode() if self.is_main else b""
        (length,) = self.sum(float(len(text)))
        data = torch.zeros(int(length), dtype=torch.uint8)
        if text:
            data = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        data = data.to(self.device)
        torch.distributed.broadcast(data, src=0)
        return json.loads(bytes(data.tolist()))

    def on_main(self, work: Callable[[], Any]) -> Any:
        """Let the main process do something; every process gets its JSON value, or its error.

        Raises:
            InputError: what `work` raised, of the same class.
        """
        if self.ranks == 1:
            return work()
        answer: dict[str, Any] = {}
        if self.is_main:
            try:
                answer["value"] = work()
            except InputError as error:
                parts = (error.where, error.got, error.expected, error.fix)
                answer = {"error": type(error).__name__, "parts": parts}
        answer = self.from_main(answer)
        if "error" in answer:
            raise getattr(errors, answer["error"], InputError)(*answer["parts"])
        return answer["value"]

    def leave(self) -> None:
        """End the group; the process can still do what needs no other."""
        if self.ranks > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _check_launcher(environment: Mapping[str, str], config: TrainConfig) -> None:
    """Refuse to ignore what `accelerate launch` was told.

    Raises:
        InputError: naming the option of ours that says it.
    """
    if environment.get("ACCELERATE_USE_FSDP", "").lower() in _YES and config.parallel != "fsdp":
        raise InputError(
            "accelerate launch", "FSDP", "--parallel ddp as given", "give train --parallel fsdp"
        )
    precision = environment.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if precision not in ("no", "", config.precision):
        raise InputError(
            "accelerate launch",
            f"mixed precision {precision}",
            f"--precision {config.precision} as given",
            f"give train --precision {precision}, or launch without --mixed_precision",
        )
