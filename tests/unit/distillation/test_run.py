from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from imagen_video.cascade.bundle import Bundle, save_bundle
from imagen_video.data.batches.batch import Batch
from imagen_video.distillation.run import RoundResult, distill_stage, stage_sha256
from imagen_video.distillation.watch import RoundDiverged, RoundWatch
from imagen_video.errors import BundleError, DataError, InputError
from imagen_video.media.digest import file_sha256
from unit.distillation.small_distillations import (
    SPEC,
    Stripes,
    config_of,
    same,
    student_weights,
    task_of,
    write_bundle,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("teachers") / "teacher")


@dataclasses.dataclass
class Cut:
    """Clips that are interrupted at some update, counted over all rounds."""

    inner: Stripes
    at: int
    asked: int = 0

    def batch(self, step: int) -> Batch:
        if self.asked == self.at:
            raise KeyboardInterrupt
        self.asked += 1
        return self.inner.batch(step)


def test_the_rounds_follow_one_another_and_name_their_teachers(
    bundle: Bundle, tmp_path: Path
) -> None:
    said: list[str] = []
    task = task_of(bundle, tmp_path, say=said.append)
    results = distill_stage(task)
    assert [result.name for result in results] == ["guided", "ddim-1"]
    assert results[0].teacher_sha256 == stage_sha256(bundle, "base")
    assert results[1].teacher_sha256 == results[0].student_sha256
    for result in results:
        student = tmp_path / "base" / result.name / "student.safetensors"
        assert file_sha256(student) == result.student_sha256
        assert not (student.parent / "checkpoints").exists()
    assert [result.updates for result in results] == [8, 16]
    assert any("guided: 8 updates" in line for line in said)
    # finished rounds are found, not run again
    assert distill_stage(task_of(bundle, tmp_path, batches=Cut(Stripes(), at=0))) == results


def test_the_student_of_a_round_begins_as_its_teacher(bundle: Bundle, tmp_path: Path) -> None:
    """With no learning, the teacher comes out again, with an input more."""
    config = config_of(updates_per_round=1, learning_rate=1e-30)
    task = task_of(bundle, tmp_path, config=config)
    distill_stage(task)
    teacher = bundle.network("base").state_dict()
    for name in ("guided", "ddim-1"):
        student = student_weights(task, name)
        assert all(torch.equal(student[key], value) for key, value in teacher.items())
        assert any("guidance_weight" in key for key in student)


def test_the_loss_of_a_round_falls(bundle: Bundle, tmp_path: Path) -> None:
    config = config_of(updates_per_round=60, learning_rate=3e-3)
    results = distill_stage(task_of(bundle, tmp_path, config=config, start=2, to=1))
    assert results[0].loss_end < 0.7 * results[0].loss_start
    assert results[1].loss_end < results[1].loss_start


@pytest.mark.parametrize(
    ("stage", "at", "unfinished"),
    [("base", 3, "guided"), ("tsr1", 13, "ddim-2"), ("ssr1", 26, "few_step-2")],
)
def test_a_run_cut_in_any_round_and_resumed_ends_bit_equal(
    bundle: Bundle, tmp_path: Path, stage: str, at: int, unfinished: str
) -> None:
    options = {"start": 4, "to": 2, "sampler": "few_step", "weights": (0.0, 4.0)}
    whole = task_of(bundle, tmp_path / "whole", stage, **options)
    results = distill_stage(whole)
    cut = task_of(bundle, tmp_path / "cut", stage, **options)
    with pytest.raises(KeyboardInterrupt):
        distill_stage(
            dataclasses.replace(
                cut, batches=Cut(Stripes(stage), at=at), config=config_of(checkpoint_minutes=0.0)
            )
        )
    assert (cut.folder / unfinished / "checkpoints").is_dir()
    assert RoundResult.read(cut.folder / unfinished) is None
    assert distill_stage(cut) == results
    last = results[-1].name
    assert same(student_weights(cut, last), student_weights(whole, last))


def test_resuming_with_another_teacher_names_both(bundle: Bundle, tmp_path: Path) -> None:
    part = task_of(bundle, tmp_path / "run", batches=Cut(Stripes(), at=2))
    with pytest.raises(KeyboardInterrupt):
        distill_stage(part)
    other = write_bundle(tmp_path / "other", seed=40)
    with pytest.raises(InputError) as caught:
        distill_stage(task_of(other, tmp_path / "run"))
    assert stage_sha256(bundle, "base") in str(caught.value)
    assert stage_sha256(other, "base") in str(caught.value)
    with pytest.raises(InputError, match=r"weights \[0.0, 4.0\].*\[0.0, 9.0\]"):
        distill_stage(task_of(bundle, tmp_path / "run", weights=(0.0, 9.0)))
    with pytest.raises(InputError, match=r"loss snr_trunc.*loss v"):
        distill_stage(task_of(bundle, tmp_path / "run", config=config_of(loss="v")))


def test_a_longer_way_goes_on_from_the_rounds_that_are_there(
    bundle: Bundle, tmp_path: Path
) -> None:
    first = distill_stage(task_of(bundle, tmp_path, "tsr1", start=8, to=4))
    both = distill_stage(task_of(bundle, tmp_path, "tsr1", start=8, to=2))
    assert both[0] == first[0]
    assert [result.name for result in both] == ["ddim-4", "ddim-2"]


def test_a_round_that_diverges_stops_and_its_best_weights_can_be_taken(
    bundle: Bundle, tmp_path: Path
) -> None:
    wild = config_of(updates_per_round=16, learning_rate=1.0, warmup_fraction=0.0)
    with pytest.raises(RoundDiverged, match="accept-best"):
        distill_stage(task_of(bundle, tmp_path, config=wild))
    assert RoundResult.read(tmp_path / "base" / "guided") is None
    said: list[str] = []
    calm = config_of(learning_rate=1e-4)
    task = task_of(bundle, tmp_path, config=calm, accept_best=True, say=said.append)
    results = distill_stage(task)
    assert results[0].updates < 16
    assert results[0].loss_end <= results[0].loss_start
    assert [result.name for result in results] == ["guided", "ddim-1"]
    assert results[1].teacher_sha256 == results[0].student_sha256
    assert not (tmp_path / "base" / "guided" / "diverged.json").exists()


def test_asked_for_at_once_the_best_weights_are_taken_without_a_second_command(
    bundle: Bundle, tmp_path: Path
) -> None:
    said: list[str] = []
    wild = config_of(updates_per_round=16, learning_rate=1.0, warmup_fraction=0.0)
    task = task_of(bundle, tmp_path, config=wild, accept_best=True, say=said.append)
    assert distill_stage(task)[0].updates < 16
    assert any("going on with them" in line for line in said)
    assert not (tmp_path / "base" / "guided" / "diverged.json").exists()


def test_a_loss_that_is_not_finite_keeps_the_best(bundle: Bundle, tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Broken(Stripes):
        def batch(self, step: int) -> Batch:
            batch = super().batch(step)
            return dataclasses.replace(batch, video=batch.video * torch.nan) if step else batch

    with pytest.raises(RoundDiverged, match="nan after 1 updates"):
        distill_stage(task_of(bundle, tmp_path, batches=Broken()))
    folder = tmp_path / "base" / "guided"
    assert (folder / "diverged.json").is_file()
    assert list(folder.glob("best-*.safetensors"))


def test_a_bundle_without_the_teacher_names_the_stage(tmp_path: Path) -> None:
    empty = save_bundle(tmp_path / "empty", SPEC, {})
    with pytest.raises(BundleError, match=r"no weights of stage 'base'.*every stage"):
        distill_stage(task_of(empty, tmp_path))


def test_a_damaged_student_is_noticed(bundle: Bundle, tmp_path: Path) -> None:
    task = task_of(bundle, tmp_path)
    distill_stage(task)
    student = tmp_path / "base" / "guided" / "student.safetensors"
    student.write_bytes(student.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="SHA-256"):
        distill_stage(task_of(bundle, tmp_path))
    student.unlink()
    with pytest.raises(DataError, match="no file"):
        distill_stage(task_of(bundle, tmp_path))


def test_a_result_cut_while_it_was_written_counts_as_none(bundle: Bundle, tmp_path: Path) -> None:
    results = distill_stage(task_of(bundle, tmp_path, "tsr1"))
    file = tmp_path / "tsr1" / results[-1].name / "result.json"
    text = file.read_text()
    file.write_text(text[: len(text) // 2])
    assert RoundResult.read(file.parent) is None
    assert distill_stage(task_of(bundle, tmp_path, "tsr1")) == results
    assert json.loads(file.read_text())["name"] == results[-1].name


def test_several_processes_are_refused(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="2 processes"):
        distill_stage(task_of(bundle, tmp_path))


def test_a_sheet_is_drawn_at_the_end_of_a_round(bundle: Bundle, tmp_path: Path) -> None:
    config = config_of(updates_per_round=1, sample_minutes=10.0)
    distill_stage(task_of(bundle, tmp_path, config=config, start=64, to=32))
    assert len(list(tmp_path.glob("base/*/samples/*.png"))) == 2


def test_a_round_that_ends_worse_than_it_began_is_not_shipped(
    bundle: Bundle, tmp_path: Path
) -> None:
    config = config_of(updates_per_round=2, learning_rate=1e-30)
    task = task_of(bundle, tmp_path, "tsr1", config=config)
    folder = tmp_path / "tsr1" / "ddim-1"
    with pytest.MonkeyPatch.context() as patch:
        losses = iter([0.02, 0.01, 0.01, 0.01, 0.03])
        patch.setattr(RoundWatch, "probe", lambda *_: next(losses))
        with pytest.raises(RoundDiverged, match="after 4 updates"):
            distill_stage(task)
    assert RoundResult.read(folder) is None
    assert [path.name for path in folder.glob("best-*")] == ["best-00000001.safetensors"]
    (result,) = distill_stage(dataclasses.replace(task, accept_best=True))
    assert (result.updates, result.loss_end) == (1, 0.01)


@pytest.mark.parametrize(
    ("setting", "before", "after"),
    [
        ("temperature", 1.0, 0.5),
        ("guidance_stop", 0.0, 0.5),
    ],
)
def test_rounds_of_another_sampling_are_refused(
    setting: str, before: float, after: float, bundle: Bundle, tmp_path: Path
) -> None:
    """It is in cascade.json alone: the weights, and so the teacher, are the same."""
    config = config_of(updates_per_round=1, learning_rate=1e-30)
    results = distill_stage(task_of(bundle, tmp_path, "tsr1", config=config))
    stages = [
        dataclasses.replace(s, sampling=dataclasses.replace(s.sampling, **{setting: after}))
        for s in bundle.spec.stages
    ]
    edited = dataclasses.replace(bundle.spec, stages=tuple(stages))
    other = Bundle(path=bundle.path, spec=edited, provenance=bundle.provenance)
    with pytest.raises(InputError, match=rf"{setting} {before}.*{setting} {after}"):
        distill_stage(task_of(other, tmp_path, "tsr1", config=config))
    file = tmp_path / "tsr1" / results[0].name / "round.json"
    told = json.loads(file.read_text())
    del told[setting]  # of a run that is older than the note
    file.write_text(json.dumps(told))
    assert distill_stage(task_of(bundle, tmp_path, "tsr1", config=config)) == results
