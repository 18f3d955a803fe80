"""From the run folders of distilled stages to a bundle that says what it was made for.

RUN/STAGE/stage.json    the finished stage: what it was made for, its teacher, its rounds

A bundle takes over every stage whose student descends from exactly its own weights, so that stages
distilled by several commands into one run folder end in one bundle.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from imagen_video.cascade.bundle import Bundle, save_bundle
from imagen_video.cascade.distilled import DistilledSpec
from imagen_video.distillation.rounds import student_stage
from imagen_video.distillation.run import (
    RoundResult,
    StageTask,
    load_student,
    stage_sha256,
)
from imagen_video.errors import DataError, InputError
from imagen_video.media.atomic import replacing


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageRecord:
    """A distilled stage in a run folder."""

    made_for: DistilledSpec
    """How it may be sampled."""
    teacher_bundle_sha256: str
    """Digest of the bundle that the teacher came from."""
    rounds: tuple[RoundResult, ...]
    """All rounds, in order; the first one's teacher is the bundle's."""

    @classmethod
    def of(cls, task: StageTask, results: list[RoundResult]) -> Self:
        """Describe what a task came to."""
        return cls(
            made_for=task.route.made_for(task.route.rounds[-1]),
            teacher_bundle_sha256=task.bundle.digest,
            rounds=tuple(results),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: also what `cascade.json` says of the stage."""
        return {"teacher_sha256": self.rounds[0].teacher_sha256, **dataclasses.asdict(self)}

    def write(self, folder: Path) -> None:
        """Write `stage.json`."""
        with replacing(folder / "stage.json") as temporary:
            temporary.write_text(json.dumps(self.to_json(), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read `stage.json`; None if there is none.

        Raises:
            DataError: if it is damaged.
        """
        file = folder / "stage.json"
        if not file.is_file():
            return None
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            made_for = DistilledSpec.from_json(data["made_for"], str(file))
            rounds = tuple(RoundResult(**item) for item in data["rounds"])
            if made_for is None or not rounds:
                raise ValueError("an unfinished stage")
            return cls(
                made_for=made_for,
                teacher_bundle_sha256=str(data["teacher_bundle_sha256"]),
                rounds=rounds,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                str(file), str(error)[:120], "the record of a distilled stage", "remove it"
            ) from error


class _Networks(Mapping[str, nn.Module]):
    """The networks of the new bundle, each loaded when it is written."""

    def __init__(self, bundle: Bundle, run_dir: Path, students: Mapping[str, StageRecord]) -> None:
        self._bundle, self._run_dir, self._students = bundle, run_dir, students
        self._names = [s.name for s in bundle.spec.stages if bundle.has_weights(s.name)]

    def __getitem__(self, name: str) -> nn.Module:
        record = self._students.get(name)
        if record is None:
            return self._bundle.network(name)
        spec = student_stage(self._bundle.spec.stage(name), record.made_for).unet
        last = record.rounds[-1]
        return load_student(self._run_dir / name / last.name, spec, last)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def assemble(bundle: Bundle, run_dir: Path, out: Path) -> tuple[Bundle, tuple[str, ...]]:
    """Write a bundle with the students of a run folder in the place of their teachers.

    Args:
        bundle: the teachers.
        run_dir: with a folder a stage.
        out: where the new bundle goes; may be the old one's place.

    Returns:
        The new bundle, and the names of its newly distilled stages.

    Raises:
        DataError: if a student is damaged.
        InputError: if the folder cannot be written.
    """
    students: dict[str, StageRecord] = {}
    for stage in bundle.spec.stages:
        record = StageRecord.read(run_dir / stage.name)
        if record is not None and bundle.has_weights(stage.name):
            mine = stage_sha256(bundle, stage.name)
            if record.rounds[0].teacher_sha256 == mine:
                students[stage.name] = record
    stages = tuple(
        student_stage(stage, students[stage.name].made_for) if stage.name in students else stage
        for stage in bundle.spec.stages
    )
    provenance = {key: value for key, value in bundle.provenance.items() if key != "sha256"}
    before = provenance.get("distillation")
    provenance["distillation"] = {
        **(before if isinstance(before, dict) else {}),
        **{name: record.to_json() for name, record in students.items()},
    }
    made = save_bundle(
        out,
        dataclasses.replace(bundle.spec, stages=stages),
        _Networks(bundle, run_dir, students),
        provenance=provenance,
        dtype=stored_dtype(bundle),
    )
    return made, tuple(students)


def stored_dtype(bundle: Bundle) -> torch.dtype:
    """Return the dtype that a bundle's weights are stored in, so that copies lose nothing.

    Raises:
        InputError: if it has no weights.
    """
    from safetensors import safe_open

    for stage in bundle.spec.stages:
        if bundle.has_weights(stage.name):
            path = bundle.path / stage.name / "model.safetensors"
            with safe_open(path, framework="pt") as file:
                return file.get_tensor(next(iter(file.keys()))).dtype
    raise InputError(str(bundle.path), "no weights", "those of some stage", "train it first")
