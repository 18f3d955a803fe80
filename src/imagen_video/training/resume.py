"""May a run go on with these settings? What differs is said field by field.

Another stage spec is refused: the weights would not be that stage's. Settings that change what is
learned (batch, learning rate, seed, ...) may change between two phases of a run, as recipes do, so
they are named in a warning and kept in the checkpoint's `history`. Another optimiser is refused
unless asked for: its state would be lost. How often to save, or on how many processes, is nobody's
concern.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imagen_video.cascade.spec import StageSpec
from imagen_video.errors import InputError
from imagen_video.models.spec import LevelSpec, UNetSpec
from imagen_video.training.checkpoint import Checkpoint
from imagen_video.training.config import HARMLESS, TrainConfig

NOT_TRAINED = ("sampling", "distilled")
"""Parts of a stage's spec that say how it may be sampled."""

_ABSENT = "(nothing)"
_DEFAULTS = {
    field.name: field.default
    for spec in (StageSpec, UNetSpec, LevelSpec)
    for field in dataclasses.fields(spec)
    if field.default is not dataclasses.MISSING
}
"""What a field means that a checkpoint does not have because it is older than the field."""


def check_resumable(run_dir: Path, found: Checkpoint, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Compare a run with what it is asked to go on as.

    Args:
        run_dir: the run's folder, for messages.
        found: its newest checkpoint.
        meta: what this process was asked to train, and how.

    Returns:
        The meta data of the checkpoints to come: `meta` and what was changed so far.

    Raises:
        InputError: if it is another stage or needs another optimiser, with every difference.
    """
    wanted = json.loads(json.dumps(dict(meta)))
    different = list(differences(_trained(found.meta), _trained(wanted)))
    if different:
        raise InputError(
            str(run_dir),
            "a run of another stage spec:\n  " + "\n  ".join(different) + "\n",
            "the same spec",
            "use another run folder, or the run's own spec",
        )
    changed = _changed_settings(found.meta.get("config"), wanted["config"])
    data, other_data = found.meta.get("data"), wanted.get("data")
    if data is not None and other_data is not None and data != other_data:
        changed["data"] = [data, other_data]
    if "optimizer" in changed and not wanted["config"].get("change_optimizer"):
        raise InputError(
            str(run_dir),
            f"a run with optimizer {changed['optimizer'][0]}",
            f"one with {changed['optimizer'][1]}, as asked for",
            "give the run's own --optimizer, or --change-optimizer to lose most of its state",
        )
    history = list(found.meta.get("history", []))
    said = "; ".join(
        f"{name} {old} -> {new}" for name, (old, new) in changed.items() if name != "steps"
    )
    if said:  # more steps alone are the ordinary reason to go on
        warnings.warn(
            f"{run_dir} goes on from update {found.step} with other settings: {said}", stacklevel=2
        )
    if changed:
        history.append({"from_step": found.step, "changed": changed})
    return {**wanted, "history": history} if history else wanted


def other_optimizer(found: Checkpoint, config: TrainConfig) -> bool:
    """Whether a run had another optimiser."""
    before = found.meta.get("config")
    known = before if isinstance(before, dict) else {}
    return known.get("optimizer", TrainConfig().optimizer) != config.optimizer


def differences(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """Yield every field in which two JSON values differ, as `unet.levels[1].channels: 32 -> 64`."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            old = before[key] if key in before else _DEFAULTS.get(key, _ABSENT)
            new = after[key] if key in after else _DEFAULTS.get(key, _ABSENT)
            yield from differences(old, new, f"{where}.{key}" if where else key)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{where}[{index}]")
    elif before != after:
        yield f"{where}: {_short(before)} -> {_short(after)}"


def _trained(meta: Mapping[str, Any]) -> Any:
    """What a run trains; how the stage is sampled may change between resumes."""
    stage = meta.get("stage")
    if isinstance(stage, dict):
        return {key: value for key, value in stage.items() if key not in NOT_TRAINED}
    return stage


def _changed_settings(before: Any, after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Settings that change what is learned, with their old and new value."""
    if not isinstance(before, dict):
        return {}
    before = {**TrainConfig().to_json(), **before}
    return {
        name: [before[name], value]
        for name, value in after.items()
        if name not in HARMLESS and before.get(name) != value
    }


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
