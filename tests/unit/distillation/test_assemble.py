from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from imagen_video.cascade.bundle import Bundle, save_bundle
from imagen_video.cascade.distilled import DistilledSpec
from imagen_video.distillation.assemble import StageRecord, assemble, stored_dtype
from imagen_video.distillation.run import distill_stage, stage_sha256
from imagen_video.errors import DataError, InputError
from unit.distillation.small_distillations import SPEC, student_weights, task_of, write_bundle


def distilled(bundle: Bundle, run_dir: Path, stage: str) -> StageRecord:
    task = task_of(bundle, run_dir, stage)
    record = StageRecord.of(task, distill_stage(task))
    record.write(task.folder)
    return record


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "teacher", dtype=torch.float32)


@pytest.fixture(scope="module")
def run_dir(teacher: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    for stage in ("base", "tsr1"):
        distilled(teacher, folder, stage)
    return folder


def test_the_bundle_has_the_students_and_says_what_they_were_made_for(
    teacher: Bundle, run_dir: Path, tmp_path: Path
) -> None:
    made, names = assemble(teacher, run_dir, tmp_path / "out")
    assert names == ("base", "tsr1")
    again = Bundle.open(tmp_path / "out")
    base, tsr, ssr = again.spec.stages
    assert base.distilled == DistilledSpec(sampler="ddim", steps=1, max_weight=4.0)
    assert tsr.distilled == DistilledSpec(sampler="ddim", steps=1)
    assert ssr == SPEC.stage("ssr1")
    assert (base.sampling.sampler, base.sampling.steps) == ("ddim", 1)
    student = student_weights(task_of(teacher, run_dir), "ddim-1")
    loaded = made.network("base").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in student.items())


def test_stages_that_were_not_distilled_lose_nothing(
    teacher: Bundle, run_dir: Path, tmp_path: Path
) -> None:
    made, _ = assemble(teacher, run_dir, tmp_path / "out")
    assert stage_sha256(made, "ssr1") == stage_sha256(teacher, "ssr1")
    assert stored_dtype(made) == stored_dtype(teacher) == torch.float32


def test_cascade_json_names_teachers_and_rounds_and_keeps_what_it_said(
    teacher: Bundle, run_dir: Path, tmp_path: Path
) -> None:
    assemble(teacher, run_dir, tmp_path / "out")
    about = json.loads((tmp_path / "out" / "cascade.json").read_text())["provenance"]
    assert about["data"] == "none"
    told = about["distillation"]["base"]
    assert told["teacher_sha256"] == stage_sha256(teacher, "base")
    assert told["teacher_bundle_sha256"] == teacher.digest
    assert [item["name"] for item in told["rounds"]] == ["guided", "ddim-1"]
    assert about["sha256"]["base"] != stage_sha256(teacher, "base")


def test_a_run_of_another_teacher_is_not_taken_over(run_dir: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", seed=50)
    made, names = assemble(other, run_dir, tmp_path / "out")
    assert names == ()
    assert made.spec == other.spec


def test_the_result_can_take_the_teachers_place_and_be_distilled_further(
    teacher: Bundle, run_dir: Path, tmp_path: Path
) -> None:
    first, _ = assemble(teacher, run_dir, tmp_path / "out")
    record = distilled(first, tmp_path / "run", "ssr1")
    made, names = assemble(first, tmp_path / "run", tmp_path / "out")
    assert names == ("ssr1",)
    assert made.path == first.path
    assert all(stage.distilled for stage in made.spec.stages)
    told = made.provenance["distillation"]
    assert set(told) == {"base", "tsr1", "ssr1"}
    assert told["ssr1"]["teacher_sha256"] == record.rounds[0].teacher_sha256


def test_a_damaged_record_is_named(teacher: Bundle, run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    text = (run_dir / "base" / "stage.json").read_text()
    for broken in (text[:40], "[]", json.dumps({**json.loads(text), "rounds": []})):
        (tmp_path / "base" / "stage.json").write_text(broken)
        with pytest.raises(DataError, match=r"stage\.json"):
            assemble(teacher, tmp_path, tmp_path / "out")


def test_a_bundle_without_weights_has_no_dtype(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights"):
        stored_dtype(save_bundle(tmp_path / "empty", SPEC, {}))
