"""The tiny cascade is distilled by two commands, sampled, inspected and reported on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from imagen_video.cascade.bundle import Bundle, save_bundle
from imagen_video.cli import distill
from imagen_video.cli.inspect import describe
from imagen_video.cli.main import guarded
from imagen_video.text import registry
from integration.command_line import Done, command, frames_of
from unit.corpus.conftest import write_store

QUICK = ("--updates-per-round", "2", "--clips", "2", "--sample-minutes", "0", "--log-every", "1")
PROMPT = "a horse galloping on a blue background"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("cv2")
    return write_store(tmp_path_factory.mktemp("corpus") / "store")


def distilled(*words: str | Path) -> int:
    """Run the verb as the command line does, errors become exit codes."""
    return guarded(lambda: distill.run([str(word) for word in words]))


@pytest.fixture(scope="module")
def student(
    bundle: Path, encoder: Any, corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Base and SR distilled by two commands into one bundle."""
    run_dir = tmp_path_factory.mktemp("distilled") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "build_text_encoder", lambda identity, **_: encoder)
        shared = ("--bundle", bundle, "--run-dir", run_dir, "--corpus", corpus, *QUICK)
        assert distilled("--stage", "base", "--to", "2", *shared) == 0
        assert distilled("--stage", "all", "--to", "2,ssr1=1,ssr2=1,tsr2=1", *shared) == 0
    return run_dir / "bundle"


def test_two_commands_make_a_bundle_that_says_what_it_is_for(student: Path, bundle: Path) -> None:
    made, teacher = Bundle.open(student), Bundle.open(bundle)
    record = {stage.name: stage.distilled for stage in made.spec.stages}
    base = record["base"]
    assert base is not None
    assert (base.sampler, base.steps, base.max_weight) == ("ddim", 2, 15.0)
    # guided: its weight becomes an input, its steps stay
    tsr1 = record["tsr1"]
    assert tsr1 is not None
    assert (tsr1.steps, tsr1.max_weight) == (None, 15.0)
    ssr2 = record["ssr2"]
    assert ssr2 is not None
    assert (ssr2.steps, ssr2.max_weight) == (1, 0.0)
    assert record["ssr3"] is None
    told = made.provenance["distillation"]
    assert told["base"]["teacher_sha256"] == teacher.provenance["sha256"]["base"]
    assert [item["name"] for item in told["base"]["rounds"]] == ["guided", "ddim-2"]
    shown = {stage["name"]: stage for stage in describe(str(student))["stages"]}
    assert shown["base"]["steps"] == 2
    assert shown["base"]["rows_per_step"] == 1
    assert shown["base"]["distilled"]["sampler"] == "ddim"


def test_generate_picks_up_steps_sampler_and_weight_by_itself(
    student: Path, one_encoder: None, tmp_path: Path
) -> None:
    done = generated(student, tmp_path, "--guidance-weight", "7")
    assert done.code == 0, done.err
    stages = {stage["name"]: stage for stage in done.report["stages"]}
    assert (stages["base"]["sampler"], stages["base"]["steps"]) == ("ddim", 2)
    assert stages["base"]["guidance_weight"] == 7
    assert stages["ssr1"]["steps"] == 1
    assert frames_of(done.report["video"]).shape[0] == 8


def generated(student: Path, out: Path, *words: str) -> Done:
    shared = ("--bundle", student, "--precision", "fp32", "--until", "ssr1", "--json")
    return command("generate", PROMPT, "--out", out / "out", *shared, *words)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--steps", "base=4"), ("stage 'base' steps: got 4", "ddim, 2 steps", "teacher")),
        (("--guidance-weight", "16"), ("guidance_weight: got 16", "0 to 15", "teacher")),
        (("--negative-prompt", "fog"), ("a negative prompt", "null text", "teacher")),
    ],
)
def test_generate_refuses_what_the_student_was_not_made_for(
    student: Path,
    one_encoder: None,
    no_sampling: None,
    tmp_path: Path,
    words: tuple[str, ...],
    parts: tuple[str, ...],
) -> None:
    done = generated(student, tmp_path, *words)
    assert done.code == 2
    assert all(part in done.err for part in parts)
    assert not (tmp_path / "out").exists()


def test_another_teacher_in_the_same_folder_is_an_error_that_names_both(
    student: Path,
    bundle: Path,
    one_encoder: None,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    teacher = Bundle.open(bundle)
    network = teacher.network("base")
    with torch.no_grad():
        next(network.parameters()).add_(0.1)
    other = save_bundle(tmp_path / "other", teacher.spec, {"base": network})
    words = ("--run-dir", student.parent, "--corpus", corpus, "--out", tmp_path / "out", *QUICK)
    assert distilled("--bundle", other.path, "--stage", "base", "--to", "2", *words) == 2
    said = capsys.readouterr().err
    assert all(b.provenance["sha256"]["base"] in said for b in (teacher, other))
    assert "another --run-dir" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--stage", "base", "--to", "3"), "4 steps to 3"),
        (("--stage", "nothing", "--to", "2"), "'nothing'"),
        (("--stage", "ssr3", "--to", "2"), "without guidance"),
        (("--stage", "base", "--to", "ssr1=2"), "steps for stage 'base'"),
        (("--stage", "base", "--to", "1", "--sampler", "few_step"), "at least 2"),
        (("--stage", "all", "--to", "2", "--weights", "5", "1"), "min_weight <= max_weight"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: Any, part: str
) -> None:
    assert distilled("--bundle", bundle, "--run-dir", tmp_path / "run", *words) == 2
    assert part in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_dry_run_shows_the_rounds(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--stage", "all", "--to", "1", "--dry-run")
    assert distilled("--bundle", bundle, "--run-dir", tmp_path / "run", *words) == 0
    said = capsys.readouterr().err
    assert "base: guided (1000 updates), ddim-2 (2000 updates), ddim-1 (2000 updates); w 0" in said
    assert "ssr3: ddim-1 (2000 updates); no w" in said


class Colours:
    """Stands in for the frozen network: the mean colours of three corners."""

    def frames(self, frames: np.ndarray) -> Tensor:
        _, height, width, _ = frames.shape
        corner = frames[:, : height // 2, : width // 2].reshape(len(frames), -1, 3).mean(1)
        other = frames[:, height // 2 :, : width // 2].reshape(len(frames), -1, 3).mean(1)
        return torch.from_numpy(np.concatenate([corner, other], axis=1)).float() / 255


def test_the_report_compares_the_student_with_its_teacher(
    bundle: Path,
    student: Path,
    corpus: Path,
    one_encoder: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("imagen_video.evaluation.features.lite0.Lite0", Colours)
    words = "--base-steps 2 --sr-steps 2 --clips 2 --runs 1 --until tsr1 --long-until ssr1"
    words += " --long-clips 2 --names 3 --renders 1 --real-clips 6 --sheets 1"
    folders = ("--out", tmp_path / "report", "--work", tmp_path / "work", "--corpus", corpus)
    shared = ["report", "--teacher", bundle, "--bundle", student, *folders, *words.split()]
    assert distilled(*shared) == 0
    result = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [depth["until"] for depth in result["depths"]] == ["tsr1", "ssr1"]
    assert result["command"].startswith("imagen-video distill report --teacher")
    page = (tmp_path / "report" / "report.md").read_text()
    assert "all distilled" in page
    assert (tmp_path / "report" / "ssr1-1.png").is_file()
