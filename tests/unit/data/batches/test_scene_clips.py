from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from imagen_video.cascade.spec import Clip, StageSpec
from imagen_video.data.batches.scene_clips import Prefetched, SceneBatches
from unit.cascade.small_cascades import local_unet, small_cascade

STAGE = StageSpec(
    name="s",
    kind="tsr",
    output=Clip(frames=16, height=64, width=96, fps=12),
    unet=local_unet(),
    crop=(16, 24),
    train_frames=4,
)


class Scenes:
    """Scene i has caption `i`; an image is frame i of it."""

    store = None

    def scene(self, index: int) -> Any:
        return SimpleNamespace(index=index, caption=f"clip {index}", image_caption=f"image {index}")

    def image(self, index: int) -> tuple[Any, float]:
        return self.scene(index), float(index % 7)


@pytest.fixture(autouse=True)
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def render(  # a scene's colour tells which it is, its brightness which frame
        scene: Any,
        store: Any,
        frames: Sequence[float],
        height: int,
        width: int,
        crop: Any = None,
    ) -> np.ndarray:
        calls.append({"frames": list(frames), "size": (height, width), "crop": crop})
        size = (height, width) if crop is None else crop[2:]
        made = np.zeros((len(frames), *size, 3), np.uint8)
        made[..., 0] = scene.index % 256
        made[..., 1] = np.asarray(frames)[:, None, None]
        return made

    monkeypatch.setattr("imagen_video.corpus.render.render", render)
    return calls


def batches(stage: StageSpec = STAGE, **changes: Any) -> SceneBatches:
    values = {"clips": 2, "images": 5, "image_fraction": 0.0, "seed": 3, **changes}
    return SceneBatches(
        source=Scenes(),  # pyright: ignore[reportArgumentType]
        stage=stage,
        frame_stride=2,
        **values,
    )


def test_the_same_step_gives_the_same_batch_whatever_ran_before() -> None:
    first = batches(image_fraction=0.5)
    seen = [first.batch(step) for step in range(6)]
    for step in (4, 0, 5):
        again = batches(image_fraction=0.5).batch(step)
        assert torch.equal(again.video, seen[step].video)
        assert again.captions == seen[step].captions


def test_no_two_steps_share_a_scene() -> None:
    source = batches(image_fraction=0.5)
    numbers = [
        int(str(caption).split()[1])
        for step in range(20)
        for caption in source.batch(step).captions
    ]
    assert len(set(numbers)) == len(numbers)


def test_windows_are_consecutive_frames_from_an_even_start_within_the_clip(
    rendered: list[dict[str, Any]],
) -> None:
    source = batches(clips=8)
    for step in range(10):
        source.batch(step)
    starts = set()
    for call in rendered:
        frames = [frame / source.frame_stride for frame in call["frames"]]
        assert frames == [frames[0] + i for i in range(4)]
        starts.add(frames[0])
    assert starts == {float(start) for start in range(0, 13, 2)}


def test_crops_lie_on_the_grid_inside_the_picture_and_move_about(
    rendered: list[dict[str, Any]],
) -> None:
    source = batches(clips=8)
    for step in range(10):
        source.batch(step)
    for call in rendered:
        top, left, height, width = call["crop"]
        assert (height, width) == (16, 24)
        assert (top % 4, left % 4) == (0, 0)
        assert 0 <= top <= 64 - 16
        assert 0 <= left <= 96 - 24
    assert len({call["crop"][:2] for call in rendered}) > 20
    assert len(rendered) == 80  # one call a clip: all its frames share the crop


def test_a_small_stage_is_rendered_larger_and_shrunk(rendered: list[dict[str, Any]]) -> None:
    stage = small_cascade().stage("base")
    batch = batches(stage).batch(0)
    assert batch.video.shape == (2, 4, 3, 4, 6)
    assert rendered[0]["size"] == (8, 12)


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
def test_the_share_of_image_steps_is_as_asked(fraction: float) -> None:
    stage = dataclasses.replace(small_cascade().stage("base"))
    source = batches(stage, image_fraction=fraction, clips=1, images=1)
    share = sum(source.batch(step).is_images for step in range(300)) / 300
    assert share == pytest.approx(fraction, abs=0.07)


def test_image_batches_have_one_frame_each_and_captions_for_stills() -> None:
    batch = batches(image_fraction=1.0).batch(2)
    assert batch.video.shape == (5, 1, 3, 16, 24)
    assert batch.captions == tuple(f"image {10 + i}" for i in range(5))


def test_targets_lie_between_minus_one_and_one() -> None:
    video = batches().batch(0).video
    assert video.dtype == torch.float32
    assert video.min() >= -1
    assert video.max() <= 1


def test_prefetched_batches_equal_direct_ones_in_any_order() -> None:
    direct, ahead = batches(), Prefetched(batches())
    for step in (0, 1, 2, 7, 8, 3, 3):
        wanted, got = direct.batch(step), ahead.batch(step)
        assert torch.equal(got.video, wanted.video)
        assert got.captions == wanted.captions


def test_an_error_in_the_thread_reaches_the_caller() -> None:
    class Broken:
        def batch(self, step: int) -> Any:
            if step == 1:
                raise OSError("gone")
            return step

    ahead = Prefetched(Broken())
    ahead.batch(0)
    with pytest.raises(OSError, match="gone"):
        ahead.batch(1)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_processes_render_their_own_rows_of_the_same_batch(
    fraction: float, rendered: list[dict[str, Any]]
) -> None:
    whole = batches(clips=5, image_fraction=fraction).batch(3)
    rendered.clear()
    parts = [
        Prefetched(batches(clips=5, image_fraction=fraction)).shard(rank, 2) for rank in (0, 1)
    ]
    made = [part.batch(3) for part in parts]
    assert torch.equal(torch.cat([part.video for part in made]), whole.video)
    assert made[0].captions + made[1].captions == whole.captions
    assert [part.offset for part in made] == [0, 2]
    assert {part.whole for part in made} == {5}
