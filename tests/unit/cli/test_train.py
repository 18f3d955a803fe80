"""`imagen-video train`: from words on the command line to a run folder."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from imagen_video.cascade.bundle import save_bundle
from imagen_video.cascade.distilled import DistilledSpec
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.spec import CascadeSpec, StageSpec
from imagen_video.cli import train as verb
from imagen_video.cli.main import main
from imagen_video.cli.train import run
from imagen_video.data.batches.batch import Batch
from imagen_video.distillation.rounds import student_stage
from imagen_video.errors import BundleError, InputError
from imagen_video.text import registry
from imagen_video.training.checkpoint import newest_checkpoint
from imagen_video.training.processes import Processes
from unit.cascade.small_cascades import (
    WordEncoder,
    awake,
    random_video,
    small_cascade,
    small_pipeline,
)
from unit.corpus.conftest import write_store

QUICK = (
    "--steps", "2", "--clips", "2", "--images", "2", "--log-every", "1", "--validate-every", "2",
    "--warmup-steps", "1",
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("corpus") / "store")


def without_text() -> CascadeSpec:
    """A cascade that hears a class and a vector, of grey videos."""
    stages = []
    for stage in small_cascade().stages:
        levels = tuple(
            dataclasses.replace(level, text_attention=False) for level in stage.unet.levels
        )
        unet = dataclasses.replace(
            stage.unet, levels=levels, text_width=None, channels=1, num_classes=3, vector_width=2
        )
        stages.append(dataclasses.replace(stage, unet=unet))
    return CascadeSpec(name="grey", stages=tuple(stages))


@pytest.fixture
def cascade(monkeypatch: pytest.MonkeyPatch) -> CascadeSpec:
    """What every preset's name stands for here."""
    spec = small_cascade()
    monkeypatch.setattr(verb, "_cascade", lambda name: spec)
    monkeypatch.setattr(registry, "build_text_encoder", lambda identity: WordEncoder())
    return spec


@pytest.fixture
def shards(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Prepared data: what was asked of it."""
    asked: list[dict[str, Any]] = []

    class ShardBatches:
        def __init__(self, stage: Any) -> None:
            self.stage = stage

        @staticmethod
        def open(path: Path, cascade: CascadeSpec, stage: str, **settings: Any) -> ShardBatches:
            asked.append({"path": path, "stage": stage, **settings})
            return ShardBatches(cascade.stage(stage))

        def batch(self, step: int) -> Batch:
            out = self.stage.output
            return Batch(
                video=random_video(2, out.frames, 1, out.height, out.width, seed=step),
                class_id=torch.tensor([0, 2]),
                vector=torch.ones(2, 2),
            )

    module = SimpleNamespace(ShardBatches=ShardBatches)
    monkeypatch.setitem(sys.modules, "imagen_video.data.batches.shard_batches", module)
    return asked


def log(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("stage", ["base", "ssr1"])
def test_a_stage_trains_on_the_demo_corpus_with_validation_and_samples(
    stage: str, tmp_path: Path, corpus: Path, cascade: CascadeSpec
) -> None:
    words = ["--stage", stage, "--run-dir", str(tmp_path), "--corpus", str(corpus), *QUICK]
    assert run(words) == 0
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 2
    assert (tmp_path / "samples" / "step-00000002.png").exists()
    assert any("validation" in line for line in log(tmp_path))
    assert any("loss_by_t/0.06" in line or "loss_by_t/0.94" in line for line in log(tmp_path))
    assert found.meta["data"]["corpus"] == str(corpus)


def test_a_stage_trains_on_inputs_that_the_cascade_made(
    tmp_path: Path, corpus: Path, cascade: CascadeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cv2")
    monkeypatch.setattr(ImagenVideoPipeline, "from_pretrained", lambda name: small_pipeline())
    monkeypatch.setattr(registry, "build_text_encoder", lambda identity, device=None: WordEncoder())
    made = ["--out", str(tmp_path / "made"), "--count", "2", "--together", "2"]
    words = ["--corpus", str(corpus), "--stage", "ssr1"]
    assert main(["corpus", "inputs", *made, *words]) == 0
    words += ["--run-dir", str(tmp_path / "run"), "--made-inputs", str(tmp_path / "made"), *QUICK]
    assert run([*words, "--made-fraction", "1"]) == 0
    found = newest_checkpoint(tmp_path / "run")
    assert found is not None
    assert found.meta["data"]["made_inputs"]["fraction"] == 1
    with pytest.raises(InputError, match="beside --data"):
        run([*words, "--data", "shards"])


def test_a_cascade_without_text_trains_on_classes_and_vectors(
    tmp_path: Path, shards: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "_cascade", lambda name: without_text())
    words = ["--stage", "base", "--run-dir", str(tmp_path), "--data", "shards", *QUICK]
    assert run([*words, "--packed-images", "0.25"]) == 0
    assert shards[0] == {
        "path": Path("shards"), "stage": "base", "clips": 2, "images": 2, "image_fraction": 0.5,
        "seed": 0, "packed_images": 0.25,
    }  # fmt: skip
    assert (tmp_path / "samples" / "step-00000002.png").exists()
    assert not any("validation" in line for line in log(tmp_path))


def test_held_out_shards_are_validated_on(
    tmp_path: Path, shards: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "_cascade", lambda name: without_text())
    words = ["--stage", "ssr1", "--run-dir", str(tmp_path), "--data", "a", *QUICK]
    assert run([*words, "--validation-data", "b"]) == 0
    assert {str(asked["path"]) for asked in shards} == {"a", "b"}
    assert any("validation" in line for line in log(tmp_path))


def test_shards_need_no_text_encoder_in_memory(
    shards: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "build_text_encoder", lambda identity: pytest.fail("loaded"))
    options = verb.TrainOptions(stage="base", run_dir=Path("r"), data=Path("shards"))
    assert verb._encoder(options, small_cascade()) is None


def test_the_same_seed_gives_the_same_network(cascade: CascadeSpec) -> None:
    options = verb.TrainOptions(stage="base", run_dir=Path("r"))
    networks = []
    for _ in range(2):
        torch.manual_seed(options.config.seed)
        networks.append(verb._network(options, cascade, Processes()).state_dict())
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stage", "ssr9"], "ssr9"),
        (["--stage", "base", "--launch", "local"], "--stage all"),
        (["--stage", "base", "--dry-run"], "--stage all"),
        (["--stage", "all", "--launch", "cron"], "local"),
        (["--stage", "base", "--clips", "0"], "at least 1"),
        (["--stage", "base", "--packed-images", "0.5"], "--image-fraction"),
        (["--stage", "base", "--corpus", "nowhere"], "build the corpus"),
    ],
)
def test_mistakes_are_said_before_any_work(
    words: list[str], said: str, tmp_path: Path, cascade: CascadeSpec
) -> None:
    with pytest.raises((InputError, SystemExit)) as raised:
        run([*words, "--run-dir", str(tmp_path / "run")])
    if isinstance(raised.value, InputError):
        assert said in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_prints_the_scripts_of_all_stages_and_writes_nothing(
    tmp_path: Path, cascade: CascadeSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--stage", "all", "--run-dir", str(tmp_path / "run"), "--launch", "slurm gpus=8"]
    assert run([*words, "--dry-run", "--parallel", "fsdp"]) == 0
    printed = capsys.readouterr().out
    for stage in cascade.stages:
        assert f"--stage {stage.name} --run-dir {tmp_path}/run/{stage.name}" in printed
    assert printed.count("--parallel fsdp") == 3
    assert "--dry-run" not in printed
    assert not (tmp_path / "run").exists()


def test_all_stages_are_started_and_a_failure_is_told(
    tmp_path: Path,
    cascade: CascadeSpec,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "imagen_video.training.launch.Local.script",
        lambda self, job: f"[ {job.stage} != tsr1 ] || exit 4\n",
    )
    words = ["--stage", "all", "--run-dir", str(tmp_path)]
    assert run(words) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["base: done", "tsr1: exit code 4, see its log", "ssr1: done"]
    assert len(list((tmp_path / "jobs").glob("*.log"))) == 3


def bundle_of(folder: Path, changed: StageSpec) -> Path:
    """The small cascade's bundle with another base."""
    spec = small_cascade()
    spec = dataclasses.replace(spec, stages=(changed, *spec.stages[1:]))
    save_bundle(folder, spec, {stage.name: awake(stage.unet) for stage in spec.stages})
    return folder


def test_a_run_starts_from_the_weights_of_a_bundle(
    cascade: CascadeSpec, corpus: Path, tmp_path: Path
) -> None:
    bundle = bundle_of(tmp_path / "bundle", cascade.stages[0])
    words = ["--stage", "base", "--run-dir", str(tmp_path / "run"), "--corpus", str(corpus), *QUICK]
    run([*words, "--init-from", str(bundle), "--learning-rate", "1e-12"])
    made = newest_checkpoint(tmp_path / "run")
    assert made is not None
    weights = load_file(made.path / "network.safetensors")
    # fp16, as the bundle stores them
    for name, tensor in awake(cascade.stages[0].unet).state_dict().items():
        assert torch.allclose(weights[name], tensor.half().float(), atol=1e-8), name


def test_a_run_does_not_start_from_a_student_or_another_network(
    cascade: CascadeSpec, corpus: Path, tmp_path: Path
) -> None:
    base = cascade.stages[0]
    student = student_stage(base, DistilledSpec(sampler="ddim", steps=base.sampling.steps))
    unet = dataclasses.replace(base.unet, embedding_width=2 * base.unet.embedding_width)
    other = dataclasses.replace(base, unet=unet)
    words = ["--stage", "base", "--run-dir", str(tmp_path / "run"), "--corpus", str(corpus), *QUICK]
    for name, stage, said in (
        ("student", student, "a student"),
        ("other", other, "another embedding_width"),
    ):
        bundle = bundle_of(tmp_path / name, stage)
        with pytest.raises(BundleError, match=said):
            run([*words, "--init-from", str(bundle)])
    with pytest.raises(BundleError, match="no-such"):
        run([*words, "--init-from", "no-such"])
    assert not (tmp_path / "run" / "checkpoints").exists()
