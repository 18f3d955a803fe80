"""Inputs of a stage that the stages before it made of real clips."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from imagen_video.cascade.conditioning import low_res_of
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.corpus.scenes import SceneSource
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.data.batches.made_inputs import MadeInputs
from imagen_video.data.batches.scene_clips import SceneBatches
from imagen_video.errors import DataError, InputError
from imagen_video.training.config import MadeInputsConfig
from imagen_video.training.made_inputs import InputMaker
from unit.cascade.small_cascades import WordEncoder, small_cascade, small_pipeline
from unit.corpus.conftest import write_store

SHAPES = {"tsr1": (4, 4, 6), "ssr1": (8, 4, 6)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SpriteStore:
    pytest.importorskip("cv2")
    return SpriteStore.open(write_store(tmp_path_factory.mktemp("corpus") / "store"))


def maker(store: SpriteStore, stage: str = "ssr1", **changes: object) -> InputMaker:
    config = MadeInputsConfig(**{"stage": stage, "count": 4, "together": 2, "seed": 7, **changes})
    return InputMaker(small_pipeline(), store, config, WordEncoder())


@pytest.mark.parametrize("stage", ["tsr1", "ssr1"])
def test_every_scene_gets_the_input_that_the_stages_before_make(
    stage: str, store: SpriteStore, tmp_path: Path
) -> None:
    made = maker(store, stage)
    made.write(tmp_path)
    found = MadeInputs.open(tmp_path, store, stage, SHAPES[stage])
    assert found.count == 4
    assert found.scenes.scene(3).caption == SceneSource(store, seed=7).scene(3).caption
    torch.testing.assert_close(found.clip(3), made.made(1)[1], atol=1 / 127, rtol=0)
    assert not torch.equal(found.clip(2), found.clip(3))


def test_little_noise_leaves_the_scene_as_it_is(store: SpriteStore) -> None:
    made = maker(store, "tsr1", noise=(0.01, 0.01))
    # one step of many, at next to no noise
    base = dataclasses.replace(
        made.base, sampling=dataclasses.replace(made.base.sampling, sampler="ddim", steps=64)
    )
    made.base = base
    clean = made.batches.batch(0).video
    assert (made.made(0) - clean).abs().mean() < 0.2
    wild = maker(store, "tsr1", noise=(1.0, 1.0))
    assert (wild.made(0) - clean).abs().mean() > 0.4


def test_a_stopped_command_goes_on_and_another_one_is_refused(
    store: SpriteStore, tmp_path: Path
) -> None:
    first = maker(store)
    first.write(tmp_path)
    kept = (tmp_path / "00000.safetensors").stat().st_mtime_ns
    (tmp_path / "00003.safetensors").unlink()
    seen: list[int] = []
    maker(store).write(tmp_path, lambda made, seconds: seen.append(made))
    assert seen == [2, 4]
    assert (tmp_path / "00000.safetensors").stat().st_mtime_ns == kept
    assert (tmp_path / "00003.safetensors").exists()
    with pytest.raises(InputError, match="another noise"):
        maker(store, noise=(0.1, 0.2)).write(tmp_path)
    for damaged in ("{", "7"):
        (tmp_path / "made.json").write_text(damaged)
        with pytest.raises(InputError, match="remove the folder"):
            maker(store).write(tmp_path)


def test_inputs_of_one_corpus_are_not_paired_with_the_scenes_of_another(
    store: SpriteStore, tmp_path: Path
) -> None:
    maker(store).write(tmp_path / "inputs")
    rebuilt = SpriteStore.open(write_store(tmp_path / "rebuilt"))
    with pytest.raises(DataError, match="of corpus"):
        MadeInputs.open(tmp_path / "inputs", rebuilt, "ssr1", SHAPES["ssr1"])
    with pytest.raises(InputError, match="another corpus"):
        maker(rebuilt).write(tmp_path / "inputs")


def test_the_base_has_no_input_and_counts_and_times_are_checked(store: SpriteStore) -> None:
    with pytest.raises(InputError, match="after the base"):
        maker(store, "base")
    with pytest.raises(InputError, match="times t"):
        MadeInputsConfig(stage="ssr1", noise=(0.8, 0.3))
    with pytest.raises(InputError, match="at least 1"):
        MadeInputsConfig(stage="ssr1", count=0)


def test_folders_that_hold_nothing_usable_are_refused(store: SpriteStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="corpus inputs"):
        MadeInputs.open(tmp_path, store, "ssr1", SHAPES["ssr1"])
    maker(store).write(tmp_path)
    with pytest.raises(DataError, match=r"of tsr1, 4x4x6"):
        MadeInputs.open(tmp_path, store, "tsr1", SHAPES["tsr1"])
    found = MadeInputs.open(tmp_path, store, "ssr1", SHAPES["ssr1"])
    whole = (tmp_path / "00001.safetensors").read_bytes()
    (tmp_path / "00001.safetensors").write_bytes(whole[:-5])
    with pytest.raises(DataError, match="command that made it"):
        found.clip(1)
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(DataError, match="no clip yet"):
        MadeInputs.open(tmp_path, store, "ssr1", SHAPES["ssr1"])
    (tmp_path / "made.json").write_text(json.dumps({"stage": "ssr1", "shape": [8, 4, 6]}))
    with pytest.raises(DataError, match="KeyError"):
        MadeInputs.open(tmp_path, store, "ssr1", SHAPES["ssr1"])


@pytest.mark.parametrize("image_fraction", [0.0, 1.0])
def test_batches_pair_a_made_input_with_the_same_part_of_its_scene(
    image_fraction: float, store: SpriteStore, tmp_path: Path
) -> None:
    """Inputs that are the real ones: what is cut out is then the target, shrunk."""
    cascade = small_cascade()
    made = maker(store)
    made.write(tmp_path)
    whole = SceneBatches.of(
        cascade, "tsr1", SceneSource(store, seed=7), clips=1, images=1, image_fraction=0.0
    )
    whole = dataclasses.replace(whole, stage=dataclasses.replace(whole.stage, train_frames=None))
    found = MadeInputs.open(tmp_path, store, "ssr1", SHAPES["ssr1"])
    real = [whole.batch(number).video[0] for number in range(4)]
    stub = dataclasses.replace(found)
    object.__setattr__(stub, "clip", real.__getitem__)  # it is frozen
    plain = SceneBatches.of(
        cascade, "ssr1", SceneSource(store, seed=1), clips=6, images=6,
        image_fraction=image_fraction,
    )  # fmt: skip
    plain = dataclasses.replace(plain, stage=dataclasses.replace(plain.stage, train_frames=4))
    half = dataclasses.replace(plain, made=stub, made_fraction=0.5)
    batch = half.batch(0)
    assert batch.low_res is not None
    frames = 1 if image_fraction else 4
    assert batch.low_res.shape == (6, frames, 3, 2, 4)
    clips = (cascade.stage("tsr1").output, cascade.stage("ssr1").output)
    shrunk = low_res_of(batch.video, *clips)
    same = [torch.equal(a, b) for a, b in zip(batch.low_res, shrunk, strict=True)]
    assert any(same)
    torch.testing.assert_close(batch.low_res, shrunk, atol=0.3, rtol=0)
    parts = [half.shard(rank, 2).batch(0) for rank in (0, 1)]
    inputs = [low_res_of(p.video, *clips) if p.low_res is None else p.low_res for p in parts]
    assert torch.equal(torch.cat(inputs), batch.low_res)


def test_a_share_of_nothing_and_the_base_are_refused(store: SpriteStore, tmp_path: Path) -> None:
    cascade = small_cascade()
    for stage, share in (("ssr1", 0.0), ("ssr1", 1.5), ("base", 0.5)):
        batches = SceneBatches.of(
            cascade, stage, SceneSource(store, seed=1), clips=1, images=1, image_fraction=0.0
        )
        with pytest.raises(InputError, match="made inputs"):
            batches.with_made(cascade, tmp_path, share)


def test_sampling_goes_on_from_a_video_at_a_step() -> None:
    pipeline = small_pipeline()
    stage = pipeline.spec.stage("base")
    sampling = dataclasses.replace(stage.sampling, sampler="ddim", steps=8)
    video = torch.rand(1, 4, 3, 4, 6) * 2 - 1
    text = WordEncoder().encode(["a cat"])
    calls: list[tuple[int, int]] = []
    made = sample_stage(
        stage,
        pipeline.network("base"),
        StageInput(seeds=[1], clip=stage.output, text=text, begun=video, first_step=5),
        sampling,
        on_step=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert made.shape == video.shape
    request = StageInput(seeds=[1], clip=stage.output, text=text, begun=video, first_step=8)
    with pytest.raises(InputError, match="a step of 0 to 7"):
        sample_stage(stage, pipeline.network("base"), request, sampling)
    request = dataclasses.replace(request, begun=video[:, :2], first_step=5)
    with pytest.raises(InputError, match=r"shape \(1, 4, 3, 4, 6\)"):
        sample_stage(stage, pipeline.network("base"), request, sampling)
    request = dataclasses.replace(request, begun=None)
    with pytest.raises(InputError, match="shape None at step 5"):
        sample_stage(stage, pipeline.network("base"), request, sampling)
