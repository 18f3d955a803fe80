"""Seconds of every stage, from what has been run: manifests, and the JSON files of `generate`."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imagen_video.distributed.manifest import NAME, read_entries
from imagen_video.distributed.sample import TEXT
from imagen_video.errors import InputError

MAX_FILE = 16 << 20
Seconds = dict[str, list[float]]
"""Of each sample, by stage in the order in which they run."""


def read_seconds(paths: Sequence[Path]) -> Seconds:
    """Read files and folders.

    Args:
        paths: a manifest.jsonl, a .json of `generate`, or folders of them.

    Raises:
        InputError: if one cannot be read, or they tell of different stages or none.
    """
    runs = [run for path in paths for run in _runs(path)]
    if not runs:
        raise InputError(
            "--from " + " ".join(map(str, paths)),
            "no finished run",
            "a manifest.jsonl of batch, or JSON files of generate",
            "make a few samples first, or use --measure",
        )
    return gathered(runs)


def gathered(runs: Iterable[Sequence[Mapping[str, Any]]]) -> Seconds:
    """Collect what some runs say about their steps.

    Raises:
        InputError: if they tell of different stages.
    """
    seconds: Seconds = {}
    stages: list[str] | None = None
    for run in runs:
        names = [step["name"] for step in run if step["name"] != TEXT]
        if stages is not None and names != stages:
            raise InputError(
                "the runs",
                f"stages {', '.join(names)} beside {', '.join(stages)}",
                "the same stages",
                "give runs of one --until, whole and not resumed",
            )
        stages = names
        for step in run:
            seconds.setdefault(step["name"], []).append(float(step["seconds"]))
    return seconds


def typical(values: Sequence[float]) -> float:
    """Return the median: the first samples of an actor are slower."""
    return statistics.median(values)


def spread_of(values: Sequence[float], otherwise: float) -> float:
    """Return deviation over mean, robustly: half the middle two thirds over the median.

    Args:
        values: measured seconds.
        otherwise: taken where they are too few to tell.
    """
    if len(values) < 6:
        return otherwise
    low, high = (_quantile(values, share) for share in (1 / 6, 5 / 6))
    return (high - low) / 2 / typical(values)


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _runs(path: Path) -> Iterator[list[Mapping[str, Any]]]:
    if path.is_dir():
        yield from _runs_of_manifest(path / NAME)
        for file in sorted(path.glob("*.json")):
            yield from _run_of_json(file, strict=False)
    elif not path.is_file():
        raise InputError(f"--from {path}", "nothing there", "a file or a folder", "check the path")
    elif path.suffix == ".jsonl":
        yield from _runs_of_manifest(path)
    else:
        yield from _run_of_json(path, strict=True)


def _runs_of_manifest(path: Path) -> Iterator[list[Mapping[str, Any]]]:
    for entry in read_entries(path):
        if entry.get("status") == "made" and _are_stages(entry.get("stages")):
            yield entry["stages"]


def _run_of_json(path: Path, *, strict: bool) -> Iterator[list[Mapping[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size <= MAX_FILE else ""
        data = json.loads(text)
    except (OSError, ValueError, RecursionError):
        data = None
    stages: Any = data.get("stages") if isinstance(data, dict) else None
    if not _are_stages(stages):
        if strict:
            raise InputError(
                f"--from {path}", "no stages with seconds", "the JSON of generate", "check it"
            )
        return
    if not any(stage.get("resumed") for stage in stages):
        yield stages


def _are_stages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_stage, value))


def _is_stage(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and type(value.get("seconds")) in (int, float)
        and value["seconds"] >= 0
        and math.isfinite(value["seconds"])
    )
