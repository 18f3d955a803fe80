"""Running the rounds of one stage, each from where it was; and what a run folder holds.

RUN/STAGE/ROUND/round.json            hash of the teacher, weights, loss, what the stage says
                checkpoints/, log.jsonl, samples/    of `training.loop.train`, while it runs
                probe.jsonl, best.json, best-*.safetensors          of `watch`
                student.safetensors   the averaged weights, fp32, once the round is done
                result.json           their hash, updates, losses

Everything is derived from these files: the same command goes on in the middle of any round. The
teacher of a round is the student of the one before, named by its SHA-256.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from imagen_video.cascade.bundle import Bundle, check_safetensors
from imagen_video.cascade.spec import StageSpec
from imagen_video.data.batches.batch import Batch, BatchSource
from imagen_video.distillation.config import DistillConfig
from imagen_video.distillation.objective import DistillationObjective
from imagen_video.distillation.rounds import Round, Route
from imagen_video.distillation.teacher import Mode, Teacher
from imagen_video.distillation.watch import (
    Best,
    RoundDiverged,
    RoundWatch,
    probe_targets,
    write_weights,
)
from imagen_video.errors import BundleError, DataError, InputError
from imagen_video.media.atomic import replacing
from imagen_video.media.digest import file_sha256
from imagen_video.models.growth import grown
from imagen_video.models.spec import UNetSpec
from imagen_video.models.unet import VideoUNet
from imagen_video.text.base import TextEncoder
from imagen_video.training.loop import train
from imagen_video.training.objective import StageObjective
from imagen_video.training.sheets import SampleSheet

Say = Callable[[str], None]
"""Takes one line for a person."""

STUDENT = "student.safetensors"
"""The averaged weights of a finished round, fp32."""
DIVERGED = "diverged.json"
"""Why a round gave up; gone once it is finished."""
SHEET_STEPS = 16
"""Most steps of a sample sheet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageTask:
    """Everything that the rounds of a stage need."""

    bundle: Bundle
    """With the teacher's weights."""
    route: Route
    """The stage and its rounds."""
    folder: Path
    """RUN/STAGE."""
    config: DistillConfig
    batches: BatchSource
    """Training clips."""
    probes: Sequence[Batch]
    """Clips that training does not show, for the probe and the sample sheets."""
    encoder: TextEncoder | None
    device: torch.device
    accept_best: bool = False
    """Take the best weights of a round that diverged, and go on."""
    say: Say = lambda text: None
    """Where to report."""

    @property
    def stage(self) -> StageSpec:
        """The teacher's spec."""
        return self.route.stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundResult:
    """A finished round."""

    name: str
    """Of the round."""
    teacher_sha256: str
    """Hash of the teacher's weights file."""
    student_sha256: str
    """Hash of the student's."""
    updates: int
    """How many it took; fewer than planned for the best weights of a round that diverged."""
    loss_start: float
    """The probe's loss before the first update: how far the teacher itself, asked for the student's
    step, is from its own two steps."""
    loss_end: float
    """After the last one, of the averaged weights."""

    @classmethod
    def read(cls, folder: Path) -> RoundResult | None:
        """Read the result of a round; None if it is not finished."""
        try:
            return cls(**json.loads((folder / "result.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def check_bundle(bundle: Bundle, stage: str) -> None:
    """Find out whether a stage can be a teacher.

    Raises:
        BundleError: if its weights are missing or damaged.
    """
    if not bundle.has_weights(stage):
        raise BundleError(
            str(bundle.path),
            f"no weights of stage {stage!r}",
            "a bundle with the weights of every stage that is to be distilled",
            "train the stage first, or name another with --stage",
        )
    bundle.check_weights(stage)


def distill_stage(task: StageTask) -> list[RoundResult]:
    """Run the rounds of a stage that are not finished yet.

    Returns:
        The results of all rounds, in order.

    Raises:
        BundleError: if the teacher's weights are missing or damaged.
        InputError: if the folder belongs to another teacher.
        RoundDiverged: if a round got worse; its best weights are kept.
        KeyboardInterrupt: after Ctrl-C, with a checkpoint.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError(
            "distillation",
            f"{os.environ['WORLD_SIZE']} processes",
            "one: rounds follow one another and share small networks",
            "start it without a launcher; distil different stages side by side instead",
        )
    check_bundle(task.bundle, task.stage.name)
    teacher: nn.Module = task.bundle.network(task.stage.name)
    sha256 = stage_sha256(task.bundle, task.stage.name)
    takes_weight = task.stage.takes_weight
    results = []
    for round_ in task.route.rounds:
        mode: Mode = "weighted" if takes_weight else "conditional"
        if round_.kind == "guided":
            mode = "guided"
        _claim(task, round_, sha256)
        folder = task.folder / round_.name
        result = RoundResult.read(folder)
        if result is None:
            stop = task.stage.sampling.guidance_stop
            asked = Teacher.of(teacher.to(task.device), mode, stop)
            result = _run(task, round_, asked, sha256)
        teacher = load_student(folder, task.route.student(round_).unet, result)
        sha256, takes_weight = result.student_sha256, task.route.max_weight > 0
        results.append(result)
        task.say(
            f"{task.stage.name} {round_.name}: {result.updates} updates, "
            f"loss {result.loss_start:.5f} -> {result.loss_end:.5f}"
        )
    return results


def load_student(folder: Path, spec: UNetSpec, result: RoundResult) -> VideoUNet:
    """Load the student of a finished round, on the CPU.

    Raises:
        DataError: if the file is not what the round wrote.
    """
    from safetensors.torch import load_file

    path = folder / STUDENT
    network = VideoUNet(spec)
    if not path.is_file() or file_sha256(path) != result.student_sha256:
        raise DataError(
            str(path),
            "no file" if not path.is_file() else "contents with another SHA-256 than recorded",
            result.student_sha256,
            f"remove {folder} and give the same command again",
        )
    check_safetensors(path, network.state_dict())
    network.load_state_dict(load_file(path))
    return network


def stage_sha256(bundle: Bundle, stage: str) -> str:
    """Hash the weights file of a stage: the identity of a teacher."""
    return file_sha256(bundle.path / stage / "model.safetensors")


def _claim(task: StageTask, round_: Round, teacher_sha256: str) -> None:
    """Note whose student a round's folder holds, or find it noted.

    Raises:
        InputError: if it was begun with another teacher, weights, loss, temperature or end of
            guidance.
    """
    folder = task.folder / round_.name
    wanted = {
        "teacher_sha256": teacher_sha256,
        "weights": [task.route.min_weight, task.route.max_weight],
        "loss": task.config.loss,
        # of the stage, in cascade.json: targets begin with so much noise, and are guided so far
        "temperature": task.stage.sampling.temperature,
        "guidance_stop": task.stage.sampling.guidance_stop,
    }
    file = folder / "round.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
        return
    except (OSError, ValueError):
        found = None
    for key, value in wanted.items():
        got = found.get(key) if isinstance(found, dict) else None
        if key == "temperature" and isinstance(found, dict) and key not in found:
            continue  # begun before it was noted
        if key == "guidance_stop" and got is None:
            got = 0.0  # there was none yet
        if got != value:
            raise InputError(
                str(folder),
                f"a round with {key} {got}",
                f"{key} {value}, as given now",
                "give the bundle and the options that the run began with, or another --run-dir",
            )


def _run(task: StageTask, round_: Round, teacher: Teacher, teacher_sha256: str) -> RoundResult:
    """Train a student, or go on with one, and write the result."""
    folder = task.folder / round_.name
    student = task.route.student(round_)
    objective = _objective(task, round_, teacher)
    config = task.config.training(round_)
    watch = RoundWatch(
        objective,
        task.batches,
        folder,
        probes=probe_targets(objective, task.probes, task.config.seed),
        updates=config.steps,
        warmup=config.warmup_steps,
    )
    if task.accept_best and (folder / DIVERGED).is_file() and watch.best is not None:
        return _finish_with_best(folder, teacher_sha256, watch.best)
    task.say(f"{task.stage.name} {round_.name}: {config.steps} updates in {folder}")
    network = grown(teacher.network, student.unet, task.config.seed).to(task.device)
    network.gradient_checkpointing = config.gradient_checkpointing
    try:
        averaged = train(
            network,
            watch,
            watch,
            config,
            folder,
            meta={
                "cascade": task.bundle.spec.name,
                "stage": dataclasses.asdict(student),
                "distillation": {"round": round_.name, "teacher_sha256": teacher_sha256},
            },
            on_sample=_sheet(task, round_),
        )
        loss = watch.look(averaged, config.steps, last=True)
    except InputError as error:
        if not _gave_up(error):
            raise
        with replacing(folder / DIVERGED) as temporary:
            temporary.write_text(json.dumps({"error": str(error)}), encoding="utf-8")
        if not task.accept_best or watch.best is None:
            raise
        task.say(f"{error}\n{task.stage.name} {round_.name}: going on with them")
        return _finish_with_best(folder, teacher_sha256, watch.best)
    with replacing(folder / STUDENT) as temporary:
        write_weights(averaged, temporary)
    assert watch.best is not None
    return _finish(folder, teacher_sha256, config.steps, dataclasses.replace(watch.best, loss=loss))


def _gave_up(error: InputError) -> bool:
    """Whether a round diverged: --accept-best may end it, now or by another command."""
    return isinstance(error, RoundDiverged) or "gradient norm" in error.got


def _finish_with_best(folder: Path, teacher_sha256: str, best: Best) -> RoundResult:
    """Take the best weights of a round that diverged as its student."""
    with replacing(folder / STUDENT) as temporary:
        shutil.copyfile(best.path(folder), temporary)
    return _finish(folder, teacher_sha256, best.step, best)


def _finish(folder: Path, teacher_sha256: str, updates: int, losses: Best) -> RoundResult:
    """Note that the student is there; only then is the round done, and its checkpoints go."""
    result = RoundResult(
        name=folder.name,
        teacher_sha256=teacher_sha256,
        student_sha256=file_sha256(folder / STUDENT),
        updates=updates,
        loss_start=losses.start,
        loss_end=losses.loss,
    )
    with replacing(folder / "result.json") as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(result), indent=1), encoding="utf-8")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / DIVERGED).unlink(missing_ok=True)
    for left in folder.glob("best-*.safetensors"):
        left.unlink(missing_ok=True)
    return result


def _objective(task: StageTask, round_: Round, teacher: Teacher) -> DistillationObjective:
    return DistillationObjective(
        stage=StageObjective(
            stage=dataclasses.replace(task.stage, loss=task.config.loss),
            source=task.bundle.spec.input_of(task.stage.name),
            encoder=task.encoder,
            text_dropout=0.0,
            device=task.device,
        ),
        teacher=teacher,
        round=round_,
        min_weight=task.route.min_weight,
        max_weight=task.route.max_weight,
    )


@dataclasses.dataclass(frozen=True)
class _Fixed:
    """A source of one batch."""

    only: Batch

    def batch(self, step: int) -> Batch:
        return self.only


def _sheet(task: StageTask, round_: Round) -> SampleSheet:
    """Draw what the student makes of the probe's clips, in its own steps."""
    shown = round_
    if round_.steps is not None and round_.steps > SHEET_STEPS:
        shown = dataclasses.replace(round_, steps=SHEET_STEPS)
    return SampleSheet(
        stage=task.route.student(shown),
        source=task.bundle.spec.input_of(task.stage.name),
        batches=_Fixed(task.probes[0]),
        encoder=task.encoder,
        run_dir=task.folder / round_.name,
        bf16=task.config.precision == "bf16",
    )
