"""Checkpoints: everything a run needs to go on, written atomically, checked when read.

    RUN/checkpoints/step-00001200/
        network.safetensors  ema.safetensors  optimizer.safetensors
        state.json           step, settings, SHA-256 of each

A folder is written under another name and renamed when complete, so a killed run leaves either a
whole checkpoint or none; a damaged one is passed over for the one before it.

The files are the same however many processes trained: split tensors are gathered one by one and
the main process writes them, so it never holds more than one whole tensor and any number of
processes can go on. (Parts written by every process would be faster, but need that number again or
a second format; a checkpoint of torch.distributed is pickled.) There is nothing to store of random
numbers, data order, learning rate and mixed precision: all are functions of the step, and bf16 has
no scaler.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from imagen_video.errors import DataError
from imagen_video.media.atomic import flush_to_disk, writing_error
from imagen_video.training.optim import create_state, state_tensors
from imagen_video.training.processes import Processes
from imagen_video.training.sharding import whole
from imagen_video.training.tensor_file import TensorWriter, fill_tensors, stored_shapes

PARTS = ("network", "ema", "optimizer")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A whole checkpoint on disk; its tensors are read when asked for."""

    path: Path
    step: int
    meta: dict[str, Any]

    @property
    def network(self) -> dict[str, Tensor]:
        """The trained weights."""
        return load_file(self.file("network"))

    @property
    def ema(self) -> dict[str, Tensor]:
        """The averaged weights."""
        return load_file(self.file("ema"))

    @property
    def optimizer(self) -> dict[str, Tensor]:
        """The optimiser's tensors, `exp_avg/input.weight` and so on."""
        return load_file(self.file("optimizer"))

    def about(self) -> dict[str, Any]:
        """Return JSON values, to tell another process of it."""
        return {"path": str(self.path), "step": self.step, "meta": self.meta}

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Checkpoint:
        """Rebuild what `about` told."""
        return cls(path=Path(about["path"]), step=about["step"], meta=about["meta"])

    def file(self, part: str) -> Path:
        """Where a part lies."""
        return self.path / f"{part}.safetensors"


def save_checkpoint(  # noqa: PLR0913 - what a checkpoint is made of
    run_dir: Path,
    *,
    step: int,
    network: nn.Module,
    ema: nn.Module,
    optimizer: torch.optim.Optimizer,
    meta: dict[str, Any],
    keep: int,
    processes: Processes | None = None,
) -> Path:
    """Write a checkpoint after `step` updates and delete all but the newest `keep`.

    Those of later updates are deleted too: a run goes on from the newest whole one, so they are
    damaged. Every process must call it.

    Raises:
        ResourceError: if the disk is full, in every process; earlier checkpoints stay.
        InputError: if the folder cannot be written to.
    """
    processes = processes or Processes()
    final = run_dir / "checkpoints" / f"step-{step:08d}"
    temporary = final.with_name(f".{final.name}.{os.getpid()}")
    processes.on_main(lambda: _begin(temporary))
    tensors = {
        "network": network.state_dict(),
        "ema": ema.state_dict(),
        "optimizer": state_tensors(network, optimizer),
    }
    writers = {}
    for part in PARTS:
        if processes.is_main:
            writers[part] = TensorWriter(temporary / f"{part}.safetensors", tensors[part])
        for tensor in tensors[part].values():
            gathered = whole(tensor)
            if processes.is_main:
                writers[part].add(gathered)
            del gathered
        if processes.is_main:
            writers[part].close()
    state = {"step": step, "meta": meta}
    processes.on_main(lambda: _finish(temporary, final, writers, state))
    processes.on_main(lambda: _delete_others(final, keep))
    return final


def newest_checkpoint(run_dir: Path) -> Checkpoint | None:
    """Find the newest checkpoint that is whole; None if there is none.

    Raises:
        DataError: if there are checkpoints but every one of them is damaged.
    """
    folders = sorted((run_dir / "checkpoints").glob("step-*"), reverse=True)
    for folder in folders:
        checkpoint = _checked(folder)
        if checkpoint is not None:
            return checkpoint
    if folders:
        raise DataError(
            str(run_dir),
            f"{len(folders)} damaged checkpoints",
            "a whole one",
            "start again in an empty run folder",
        )
    return None


def restore(
    checkpoint: Checkpoint,
    network: nn.Module,
    ema: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    other_optimizer: bool = False,
) -> None:
    """Put a checkpoint's state back; each of several processes reads its own part.

    Args:
        checkpoint: what was saved.
        network: gets the trained weights.
        ema: gets the averaged weights.
        optimizer: gets its tensors.
        other_optimizer: the run's optimiser was another; the state of a parameter is kept where
            all of it is there.

    Raises:
        DataError: if its tensors are not the network's, or not all of the optimiser's.
    """
    fill_tensors(checkpoint.file("network"), network.state_dict())
    fill_tensors(checkpoint.file("ema"), ema.state_dict())
    create_state(optimizer)
    file = checkpoint.file("optimizer")
    stored = stored_shapes(file)
    for name, parameter in network.named_parameters():
        if not _is_kept(name, optimizer.state[parameter], stored, other_optimizer=other_optimizer):
            del optimizer.state[parameter]
    fill_tensors(file, state_tensors(network, optimizer), others_too=other_optimizer)


def _is_kept(
    name: str,
    state: Mapping[str, Tensor],
    stored: Mapping[str, tuple[int, ...]],
    *,
    other_optimizer: bool,
) -> bool:
    """Whether a parameter's state is read from a file; else the optimiser begins it anew.

    Another optimiser's is read whole or not at all: Muon's momentum without AdamW's second moments,
    which would be those of a single step, makes updates a thousand times too large.
    """
    if other_optimizer:
        return all(stored.get(f"{key}/{name}") == tuple(t.shape) for key, t in state.items())
    # a layer that no batch has used yet has no state; what is missing otherwise is told
    return any(f"{key}/{name}" in stored for key in state)


def _begin(temporary: Path) -> None:
    """Make the folder, and clear what a run that was killed while writing left."""
    try:
        for left in temporary.parent.glob(".step-*"):
            shutil.rmtree(left, ignore_errors=True)
        temporary.mkdir(parents=True)
    except OSError as error:
        raise writing_error(temporary, error) from error


def _finish(
    temporary: Path, final: Path, writers: Mapping[str, TensorWriter], state: dict[str, Any]
) -> None:
    """Put the folder in its place, if all was written."""
    try:
        state = {**state, "sha256": {part: writer.digest() for part, writer in writers.items()}}
        (temporary / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        # before older checkpoints go
        flush_to_disk(temporary / "state.json")
        flush_to_disk(temporary)
        if final.exists():
            shutil.rmtree(final)
        temporary.replace(final)
        flush_to_disk(final.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise writing_error(final, error) from error


def _delete_others(newest: Path, keep: int) -> None:
    """Delete the checkpoints of later updates, then all but `keep` of the others."""
    folders = sorted(newest.parent.glob("step-*"))
    # counted among the newest, a damaged one would take the place of a good one
    later = [folder for folder in folders if folder.name > newest.name]
    for folder in [*later, *folders[: len(folders) - len(later)][:-keep]]:
        shutil.rmtree(folder, ignore_errors=True)


def _checked(folder: Path) -> Checkpoint | None:
    """Return the checkpoint in a folder if every file is as it was written."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if not isinstance(state["meta"], dict):
            return None
        for part in PARTS:
            if _sha256(folder / f"{part}.safetensors") != state["sha256"][part]:
                return None
        return Checkpoint(path=folder, step=int(state["step"]), meta=state["meta"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
