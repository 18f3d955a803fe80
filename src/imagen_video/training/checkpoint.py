"""Checkpoints: everything a run needs to go on, written atomically, checked when read.

    RUN/checkpoints/step-00001200/
        network.safetensors  ema.safetensors  optimizer.safetensors
        state.json           step, settings, SHA-256 of each

A folder is written under another name and renamed when complete, so a killed run leaves either a
whole checkpoint or none; a damaged one is passed over for the one before it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from imagen_video.cascade.weights_file import write_tensors
from imagen_video.errors import DataError
from imagen_video.media.atomic import writing_error

PARTS = ("network", "ema", "optimizer")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint as read from disk."""

    path: Path
    step: int
    meta: dict[str, Any]
    network: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Tensor]


def save_checkpoint(
    run_dir: Path,
    *,
    step: int,
    network: nn.Module,
    ema: nn.Module,
    optimizer: torch.optim.Optimizer,
    meta: dict[str, Any],
    keep: int,
) -> Path:
    """Write a checkpoint after `step` updates and delete all but the newest `keep`.

    Raises:
        ResourceError: if the disk is full; earlier checkpoints stay.
        InputError: if the folder cannot be written to.
    """
    folder = run_dir / "checkpoints"
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}.{os.getpid()}"
    try:
        for left in folder.glob(".step-*"):  # by a run that was killed while writing
            shutil.rmtree(left, ignore_errors=True)
        temporary.mkdir(parents=True, exist_ok=True)
        tensors = {
            "network": _contiguous(network.state_dict()),
            "ema": _contiguous(ema.state_dict()),
            "optimizer": _optimizer_tensors(network, optimizer),
        }
        digests = {}
        for part in PARTS:
            write_tensors(tensors[part], temporary / f"{part}.safetensors")
            digests[part] = _sha256(temporary / f"{part}.safetensors")
        state = {"step": step, "sha256": digests, "meta": meta}
        (temporary / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        if final.exists():
            shutil.rmtree(final)
        temporary.replace(final)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise writing_error(final, error) from error
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def newest_checkpoint(run_dir: Path) -> Checkpoint | None:
    """Read the newest checkpoint that is whole; None if there is none.

    Raises:
        DataError: if there are checkpoints but every one of them is damaged.
    """
    folders = sorted((run_dir / "checkpoints").glob("step-*"), reverse=True)
    for folder in folders:
        checkpoint = _read(folder)
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
    checkpoint: Checkpoint, network: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Put a checkpoint's state back.

    Raises:
        DataError: if its tensors are not the network's.
    """
    try:
        network.load_state_dict(checkpoint.network)
        ema.load_state_dict(checkpoint.ema)
    except RuntimeError as error:
        raise DataError(
            str(checkpoint.path),
            "weights of another network",
            "those of this stage's spec",
            "resume with the spec of the run, or use another run folder",
        ) from error
    for name, parameter in network.named_parameters():
        state = {
            key: checkpoint.optimizer[f"{key}/{name}"]
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"{key}/{name}" in checkpoint.optimizer
        }
        if state:
            for key, value in state.items():
                # keep the parameter's memory format: it decides the order of sums
                if key != "step":
                    state[key] = torch.empty_like(parameter).copy_(value)
            optimizer.state[parameter] = state


def _read(folder: Path) -> Checkpoint | None:
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        for part in PARTS:
            if _sha256(folder / f"{part}.safetensors") != state["sha256"][part]:
                return None
        if not isinstance(state["meta"], dict):
            return None
        tensors = {part: load_file(folder / f"{part}.safetensors") for part in PARTS}
        return Checkpoint(path=folder, step=int(state["step"]), meta=state["meta"], **tensors)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def _optimizer_tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{key}/{name}": value.contiguous()
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
