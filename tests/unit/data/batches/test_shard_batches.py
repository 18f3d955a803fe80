from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.cascade.spec import CascadeSpec, Clip
from imagen_video.data.batches.batch import Batch, BatchSource, ShardedSource, rows_of_rank
from imagen_video.data.batches.examples import to_video
from imagen_video.data.batches.scene_clips import Prefetched
from imagen_video.data.batches.shard_batches import ShardBatches
from imagen_video.errors import DataError
from imagen_video.media.frames import to_float
from unit.cascade.small_cascades import WordEncoder, awake, local_unet, small_cascade
from unit.data.tiny_shards import clip_pixels, make_clips, prepared, with_stage

STAGES = ("base", "tsr1", "ssr1")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepared(make_clips(folder / "clips", clips=5, images=3), folder / "shards")
    return folder / "shards"


@pytest.fixture(scope="module")
def only_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepared(make_clips(folder / "clips", clips=5, images=0), folder / "shards")
    return folder / "shards"


def opened(folder: Path, stage: str = "base", **options: Any) -> ShardBatches:
    values = {"clips": 4, "images": 6, "image_fraction": 0.0, "seed": 3, **options}
    return ShardBatches.open(folder, values.pop("cascade", small_cascade()), stage, **values)


def levels(frame: torch.Tensor) -> list[int]:
    """Which clip and which frame of it is `(c, h, w)`?"""
    values = (frame[:2].mean(dim=(1, 2)) + 1) * 127.5
    return [round((float(value) - 5) / 10) for value in values]


def equal(one: Batch, other: Batch) -> bool:
    for field in dataclasses.fields(Batch):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "text" and a is not None and b is not None:
            length = max(a.num_tokens, b.num_tokens)
            a, b = a.pad_to(length), b.pad_to(length)
            if not (torch.equal(a.states, b.states) and torch.equal(a.mask, b.mask)):
                return False
        elif isinstance(a, torch.Tensor):
            if not (isinstance(b, torch.Tensor) and torch.equal(a, b)):
                return False
        elif a != b:
            return False
    return True


def test_it_is_a_source_that_can_be_shared_out(shards: Path) -> None:
    assert isinstance(opened(shards), BatchSource)
    assert isinstance(opened(shards), ShardedSource)


@pytest.mark.parametrize("stage", STAGES)
def test_clips_have_the_stages_shape_its_rate_and_their_own_captions(
    shards: Path, stage: str
) -> None:
    spec = small_cascade().stage(stage)
    batch = opened(shards, stage).batch(0)
    size = spec.crop or (spec.output.height, spec.output.width)
    assert batch.video.shape == (4, spec.train_frames or spec.output.frames, 3, *size)
    assert batch.video.dtype == torch.float32
    assert batch.is_image is None
    assert batch.frame_rate is not None
    assert batch.frame_rate.tolist() == [spec.output.fps] * 4
    encoded = WordEncoder().encode(batch.captions).states.to(torch.bfloat16)  # pyright: ignore
    assert batch.text is not None
    assert torch.equal(batch.text.states, encoded)
    for row, caption in enumerate(batch.captions):
        assert [f"clip {levels(frame)[0]}" for frame in batch.video[row]] == [
            caption
        ] * batch.video.shape[1]


@given(step=st.integers(0, 500), others=st.lists(st.integers(0, 500), max_size=3))
def test_the_same_step_gives_the_same_batch_whatever_ran_before(
    shards: Path, step: int, others: list[int]
) -> None:
    options: dict[str, Any] = {"image_fraction": 0.4, "packed_images": 0.3}
    wanted = opened(shards, "tsr1", **options).batch(step)
    source = opened(shards, "tsr1", **options)
    for other in others:
        source.batch(other)
    assert equal(source.batch(step), wanted)


@given(step=st.integers(0, 300), ranks=st.integers(1, 4), packed=st.sampled_from([0.0, 0.3, 1.0]))
def test_the_rows_of_all_processes_are_the_batch_of_one(
    shards: Path, step: int, ranks: int, packed: float
) -> None:
    source = opened(shards, "ssr1", image_fraction=0.5, packed_images=packed)
    whole = source.batch(step)
    assert (whole.offset, whole.whole) == (0, len(whole))
    for rank in range(ranks):
        rows = rows_of_rank(len(whole), rank, ranks)
        part = source.shard(rank, ranks).batch(step)
        assert equal(part, whole.rows(rows))


def test_every_clip_comes_once_an_epoch_and_the_order_changes(shards: Path) -> None:
    source = opened(shards, clips=1)
    epochs = [
        [source.batch(5 * epoch + step).captions[0] for step in range(5)] for epoch in range(4)
    ]
    for epoch in epochs:
        assert sorted(epoch) == [f"clip {number}" for number in range(5)]
    assert len({tuple(epoch) for epoch in epochs}) > 1
    other = opened(shards, clips=1, seed=4)
    assert [other.batch(step).captions[0] for step in range(20)] != [
        caption for epoch in epochs for caption in epoch
    ]


def test_batches_of_images_have_one_frame_and_captions_of_their_own(shards: Path) -> None:
    batch = opened(shards, image_fraction=1.0).batch(0)
    assert batch.is_images
    assert batch.video.shape == (6, 1, 3, 4, 6)
    assert Counter(batch.captions) == {f"image {number}": 2 for number in range(3)}
    for row, caption in enumerate(batch.captions):
        assert f"image {levels(batch.video[row, 0])[0] - 15}" == caption


@pytest.mark.parametrize("stage", STAGES)
def test_packed_rows_are_independent_images_with_a_caption_a_frame(
    shards: Path, stage: str
) -> None:
    batch = opened(shards, stage, packed_images=0.5).batch(1)
    assert batch.is_image is not None
    assert batch.is_image.tolist() == [False, True, False, True]
    frames = batch.video.shape[1]
    assert batch.text is not None
    assert batch.text.states.shape[:2] == (4, frames)
    for row, packed in enumerate(batch.is_image):
        for frame in range(frames):
            caption = batch.captions[row][frame]
            number = levels(batch.video[row, frame])[0]
            assert caption == (f"image {number - 15}" if packed else f"clip {number}")
            wanted = WordEncoder().encode([caption]).states[0].to(torch.bfloat16)
            real = batch.text.mask[row, frame]
            assert torch.equal(batch.text.states[row, frame][real], wanted)
    assert len(set(batch.captions[1])) > 1


def test_without_still_pictures_images_are_frames_of_clips(only_clips: Path) -> None:
    source = opened(only_clips, image_fraction=0.5, packed_images=0.25)
    images = source.batch(1)
    assert images.is_images
    found = {
        tuple(levels(frame)) for step in range(1, 60, 2) for frame in source.batch(step).video[:, 0]
    }
    assert {clip for clip, _ in found} == set(range(5))
    assert {frame for _, frame in found} == {0, 2, 4, 6}
    assert source.batch(0).is_image is not None


def test_windows_of_a_temporal_stage_start_at_given_frames_and_are_consecutive(
    shards: Path,
) -> None:
    source = opened(shards, "tsr1")
    starts = set()
    for step in range(20):
        for row in source.batch(step).video:
            frames = [levels(frame)[1] for frame in row]
            assert frames == list(range(frames[0], frames[0] + 4))
            starts.add(frames[0])
    assert starts == {0, 2, 4}


def test_a_crop_is_one_for_all_frames_of_a_row_on_the_grid_and_moves_about(shards: Path) -> None:
    source = opened(shards, "ssr1")
    lefts = set()
    for step in range(25):
        video = source.batch(step).video
        blue = (video[:, :, 2] + 1) * 127.5
        assert torch.allclose(blue, blue[:, :1].expand_as(blue), atol=1e-4)
        for row in blue[:, 0, 0]:
            # columns of 18 shrunk to 12: a pixel is 1.5 columns of 10 levels
            left = (float(row[0]) - 2.5) / 15
            lefts.add(round(left))
    assert lefts <= {0, 2, 4}
    assert len(lefts) == 3


def test_classes_and_vectors_are_given_as_the_network_takes_them(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    table = "file,class,vector\na.npy,0,1 2\nb.npy,3,\nc.npy,,5 6\n"
    (clips / "labels.csv").write_text(table)
    for number, name in enumerate("abc"):
        np.save(clips / f"{name}.npy", clip_pixels(number))
    cascade = _labelled()
    prepared(clips, tmp_path / "shards", cascade=cascade, keep_unlabelled=True)
    batch = opened(tmp_path / "shards", clips=3, cascade=cascade).batch(0)
    assert batch.class_id is not None
    assert batch.vector is not None
    names = [levels(row[0])[0] for row in batch.video]
    order = [names.index(number) for number in range(3)]
    assert batch.class_id[order].tolist() == [0, 3, -1]
    assert batch.vector[order][[0, 2]].tolist() == [[1, 2], [5, 6]]
    assert batch.vector[order][1].isnan().all()
    packed = opened(tmp_path / "shards", clips=3, cascade=cascade, packed_images=0.4).batch(0)
    assert packed.class_id is not None
    assert packed.vector is not None
    assert packed.class_id.shape == (3, 4)
    assert packed.vector.shape == (3, 4, 2)


def _labelled() -> CascadeSpec:
    cascade = small_cascade()
    unet = local_unet(text_width=None, num_classes=4, vector_width=2, low_res=False)
    stages = (dataclasses.replace(cascade.stages[0], unet=unet),)
    return dataclasses.replace(cascade, stages=stages, text_encoder=None)


@pytest.mark.parametrize("stage", STAGES)
def test_the_training_objective_takes_every_kind_of_batch(shards: Path, stage: str) -> None:
    from imagen_video.training.objective import StageObjective

    cascade = small_cascade()
    spec = cascade.stage(stage)
    objective = StageObjective(stage=spec, source=cascade.input_of(stage), encoder=None)
    network = awake(spec.unet)
    source = opened(shards, stage, image_fraction=0.5, packed_images=0.5)
    for step in range(4):
        batch = source.batch(step)
        loss = objective(network, batch, torch.Generator().manual_seed(0))
        assert torch.isfinite(loss)
        loss.backward()


def test_a_packed_image_is_its_own_low_resolution_frame_in_a_temporal_stage(shards: Path) -> None:
    from imagen_video.training.objective import StageObjective

    spec = dataclasses.replace(small_cascade().stage("tsr1"), augmentation_max_t=1e-6)
    source = Clip(frames=4, height=4, width=6, fps=6.0)
    objective = StageObjective(stage=spec, source=source, encoder=None)
    batch = opened(shards, "tsr1", packed_images=0.5).batch(0)
    conditions = objective.conditions(batch, torch.Generator().manual_seed(0))
    assert conditions.low_res is not None
    assert conditions.is_image is not None
    packed = conditions.is_image
    near = (conditions.low_res - batch.video).abs().amax(dim=(2, 3, 4))
    assert (near[packed] < 0.01).all()
    assert (near[~packed][:, ::2] < 0.01).all()  # given frames
    assert (near[~packed][:, 1::2] > 0.01).all()  # repeated ones


def test_prefetched_batches_are_the_same(shards: Path) -> None:
    direct, ahead = opened(shards), Prefetched(opened(shards))
    for step in (0, 1, 2, 9, 10, 1):
        assert equal(ahead.batch(step), direct.batch(step))


def test_bytes_become_floats_as_everywhere(shards: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), np.uint8)
    assert torch.equal(to_video(pixels), to_float(pixels))
    assert to_video(pixels[..., :1]).shape == (2, 3, 1, 4, 5)


# --- What stops a run before its first step -------------------------------------------------------


def test_another_geometry_is_refused_and_both_are_named(shards: Path) -> None:
    output = Clip(frames=4, height=8, width=12, fps=6.0)
    unet = dataclasses.replace(small_cascade().stages[0].unet, channels=3)
    other = dataclasses.replace(small_cascade().stages[0], output=output, unet=unet)
    cascade = dataclasses.replace(small_cascade(), stages=(other,))
    with pytest.raises(DataError, match=r"4x4x6 at 6 fps.*4x8x12 at 6 fps"):
        opened(shards, cascade=cascade)


def test_longer_training_clips_than_the_shards_have_are_refused(shards: Path) -> None:
    cascade = with_stage(small_cascade(), "tsr1", train_frames=8)
    with pytest.raises(DataError, match="as few as 4 frames; expected 8 frames"):
        opened(shards, "tsr1", cascade=cascade)


def test_another_encoder_is_refused_and_both_are_named(shards: Path) -> None:
    cascade = dataclasses.replace(small_cascade(), text_encoder={"encoder": "letters"})
    with pytest.raises(DataError, match=r"words.*letters"):
        opened(shards, cascade=cascade)


def test_a_stage_that_was_not_prepared_is_refused(tmp_path: Path) -> None:
    prepared(make_clips(tmp_path / "c", clips=1, images=0), tmp_path / "s", stages=("base",))
    with pytest.raises(DataError, match="shards for base; expected shards for the stage ssr1"):
        opened(tmp_path / "s", "ssr1")


def test_labels_that_the_network_reads_and_nobody_gave_are_an_error(shards: Path) -> None:
    unet = dataclasses.replace(small_cascade().stages[0].unet, num_classes=4)
    cascade = with_stage(small_cascade(), "base", unet=unet)
    with pytest.raises(DataError, match=r"0 classes.*expected classes below 4"):
        opened(shards, cascade=cascade)


def test_only_images_cannot_make_clips(tmp_path: Path) -> None:
    prepared(make_clips(tmp_path / "clips", clips=0, images=3), tmp_path / "shards")
    with pytest.raises(DataError, match="0 clips and 3 images"):
        opened(tmp_path / "shards")
    assert opened(tmp_path / "shards", image_fraction=1.0).batch(0).is_images
    packed = opened(tmp_path / "shards", packed_images=1.0).batch(0)
    assert packed.is_image is not None
    assert packed.is_image.all()


def test_a_stage_without_samples_says_what_was_left_out(tmp_path: Path) -> None:
    clips = make_clips(tmp_path / "clips", clips=2, images=0, frames=5)
    prepared(clips, tmp_path / "shards")
    with pytest.raises(DataError, match="left out: too short 2"):
        opened(tmp_path / "shards", "base")


@pytest.mark.parametrize("file", ["base/00000.tar", "base/index.npy", "text.safetensors"])
def test_a_byte_that_changed_stops_the_run_before_the_first_step(tmp_path: Path, file: str) -> None:
    prepared(make_clips(tmp_path / "clips", clips=2, images=0), tmp_path / "shards")
    path = tmp_path / "shards" / file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="SHA-256"):
        opened(tmp_path / "shards")
    path.write_bytes(bytes(data[:-1]))
    with pytest.raises(DataError, match="bytes, as its manifest says"):
        opened(tmp_path / "shards", verify=False)


def test_damage_after_the_start_is_named_with_its_tar(tmp_path: Path) -> None:
    prepared(make_clips(tmp_path / "clips", clips=2, images=0), tmp_path / "shards")
    source = opened(tmp_path / "shards")
    path = tmp_path / "shards" / "base" / "00000.tar"
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 7):
        data[at] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"00000\.tar"):
        source.batch(0)


def test_a_hostile_label_does_not_reach_the_network(tmp_path: Path) -> None:
    from imagen_video.data.batches.examples import Example, batch_of
    from imagen_video.data.clips.labels import Label

    stage = _labelled().stages[0]
    pixels = np.zeros((4, 4, 6, 3), np.uint8)
    for label in (Label(class_id=4), Label(vector=(1.0, 2.0, 3.0))):
        with pytest.raises(DataError, match="a class below 4, a vector of 2"):
            batch_of([Example(pixels=pixels, labels=(label,))], stage, None, None, range(1), 1)


def test_what_opens_does_not_depend_on_the_folder_of_the_clips(shards: Path) -> None:
    manifest = (shards / "manifest.json").read_text()
    assert str(shards.parent) not in manifest
    assert "/" not in json.dumps(json.loads(manifest)["options"])
