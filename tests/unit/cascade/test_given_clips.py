"""Upscale, interpolate, image-to-video and images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from imagen_video.cascade.calls import interpolate_request, upscale_request
from imagen_video.cascade.options import StageOptions
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.spec import CascadeSpec, Clip
from imagen_video.errors import InputError
from imagen_video.media.frames import to_float
from imagen_video.media.video_io import read_video, write_video
from unit.cascade.small_cascades import (
    local_unet,
    random_video,
    small_cascade,
    small_pipeline,
)

CLIP = np.random.default_rng(0).integers(0, 256, (4, 6, 10, 3), dtype=np.uint8)


def long_cascade() -> CascadeSpec:
    """Build base 4x4x6, tsr1 8x4x6, ssr1 8x8x12, tsr2 16x8x12, ssr2 16x16x24, ssr3 16x32x48."""
    spec = small_cascade()
    _, tsr, ssr = spec.stages
    fps = 24.0
    clip = Clip(frames=16, height=8, width=12, fps=fps)
    more = (
        dataclasses.replace(tsr, name="tsr2", output=clip),
        dataclasses.replace(ssr, name="ssr2", output=Clip(frames=16, height=16, width=24, fps=fps)),
        dataclasses.replace(ssr, name="ssr3", output=Clip(frames=16, height=32, width=48, fps=fps)),
    )
    return CascadeSpec(name="long", stages=(*spec.stages, *more), text_encoder=spec.text_encoder)


SPEC = long_cascade()


def names(result: Any) -> list[str]:
    return [report.name for report in result.reports]


def test_upscaling_runs_the_spatial_stages_from_the_nearest_size_on() -> None:
    pipeline = small_pipeline(SPEC)
    result = pipeline.upscale(np.zeros((2, 8, 12, 3), np.uint8), "a cat", fps=7, seed=4)
    assert names(result) == ["ssr2", "ssr3"]
    assert (result.frames[0].shape, result.fps) == ((2, 32, 48, 3), 7)


@pytest.mark.parametrize(
    ("size", "chosen"),
    [
        ((2, 3), ("ssr1", "ssr2", "ssr3")),
        ((4, 6), ("ssr1", "ssr2", "ssr3")),
        ((10, 16), ("ssr2", "ssr3")),
        ((16, 24), ("ssr3",)),
        ((90, 160), ("ssr3",)),
    ],
)
def test_a_clip_enters_where_its_size_fits_best(
    size: tuple[int, int], chosen: tuple[str, ...]
) -> None:
    assert upscale_request(SPEC, np.zeros((1, *size, 3), np.uint8)).only == chosen


@pytest.mark.parametrize(
    ("fps", "chosen"),
    [(3, ("tsr1", "tsr2")), (8, ("tsr1", "tsr2")), (9, ("tsr2",)), (30, ("tsr2",))],
)
def test_a_clip_enters_where_its_frame_rate_fits_best(fps: int, chosen: tuple[str, ...]) -> None:
    assert interpolate_request(SPEC, CLIP, fps=fps).only == chosen


def test_stages_that_are_no_neighbours_run_by_name() -> None:
    result = small_pipeline(SPEC).upscale(CLIP, only=["ssr1", "ssr3"], fps=5)
    assert names(result) == ["ssr1", "ssr3"]
    assert (result.frames[0].shape, result.fps) == ((4, 24, 40, 3), 5)
    assert names(small_pipeline(SPEC).upscale(CLIP, only="ssr2")) == ["ssr2"]


def test_each_stage_by_name_equals_the_same_stages_one_call_after_another() -> None:
    pipeline = small_pipeline(SPEC)
    both = pipeline.upscale(CLIP, "a cat", only=["ssr1", "ssr3"], seed=2, output_type="pt")
    half = pipeline.upscale(CLIP, "a cat", only="ssr1", seed=2, output_type="pt")
    rest = pipeline.upscale(half.frames, "a cat", only="ssr3", seed=2, output_type="pt")
    assert torch.equal(rest.frames, both.frames)


def test_interpolation_multiplies_the_frames_and_leaves_the_size() -> None:
    result = small_pipeline(SPEC).interpolate(CLIP, "a cat", fps=6, seed=1)
    assert names(result) == ["tsr1", "tsr2"]
    assert (result.frames[0].shape, result.fps) == ((16, 6, 10, 3), 24)
    assert small_pipeline(SPEC).interpolate(CLIP, only="tsr2").frames[0].shape == (8, 6, 10, 3)


def test_a_file_is_interpolated_at_its_own_rate(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", CLIP, 12)
    pipeline = small_pipeline(SPEC)
    from_file = pipeline.interpolate(tmp_path / "a.mp4", output_type="pt")
    frames, _ = read_video(tmp_path / "a.mp4")
    from_memory = pipeline.interpolate(frames, fps=12, output_type="pt")
    assert (names(from_file), from_file.fps) == (["tsr2"], 24)
    assert torch.equal(from_file.frames, from_memory.frames)


def test_a_batch_of_clips_gives_each_what_it_gets_alone() -> None:
    pipeline = small_pipeline()
    clips = [CLIP, CLIP[::-1].copy()]
    texts, nots = ["a cat", "two dogs"], ["a dog", "a cat"]
    stages = {"ssr1": StageOptions(guidance_weight=2.0)}
    both = pipeline.upscale(clips, texts, nots, seed=[8, 3], stages=stages, output_type="pt")
    alone = pipeline.upscale(clips[1], texts[1], nots[1], seed=3, stages=stages, output_type="pt")
    assert torch.allclose(both.frames[1], alone.frames[0], atol=1e-4)
    other = pipeline.upscale(clips[1], texts[1], seed=3, stages=stages, output_type="pt")
    assert not torch.allclose(other.frames, alone.frames, atol=1e-2)  # the negative prompt is heard


def test_one_clip_serves_several_prompts_and_one_prompt_several_clips() -> None:
    pipeline = small_pipeline()
    assert len(pipeline.upscale(CLIP, ["a cat", "two dogs"]).frames) == 2
    assert len(pipeline.upscale([CLIP, CLIP, CLIP], "a cat").frames) == 3
    with pytest.raises(InputError, match="2 texts for 3 clips"):
        pipeline.upscale([CLIP, CLIP, CLIP], ["a cat", "two dogs"])


def test_without_a_prompt_no_text_is_heard_and_no_encoder_is_built() -> None:
    pipeline = small_pipeline()
    pipeline._encoder = None
    untold = pipeline.upscale(CLIP, output_type="pt").frames
    told = small_pipeline().upscale(CLIP, "a cat", output_type="pt").frames
    assert not torch.allclose(untold, told, atol=1e-2)


def test_a_negative_prompt_works_without_a_prompt() -> None:
    stages = {"ssr1": StageOptions(guidance_weight=2.0)}
    pipeline = small_pipeline()
    away = pipeline.upscale(CLIP, None, "a cat", stages=stages, output_type="pt").frames
    plain = pipeline.upscale(CLIP, stages=stages, output_type="pt").frames
    assert not torch.allclose(away, plain, atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"only": "tsr1"}, r"only: got \['tsr1'\]; expected one or more of \['ssr1', 'ssr2'"),
        ({"only": ["ssr2", "ssr1"]}, "in order"),
        ({"only": []}, "only"),
        ({"only": ["ssr1", "ssr1"]}, "only"),
        ({"only": "base"}, "only"),
        ({"fps": 0}, "fps: got 0"),
        ({"fps": "fast"}, "fps"),
        ({"video": CLIP[:, :5, :9], "only": "ssr3", "prompt": 3}, "prompt: got 3"),
        ({"video": CLIP / 255.0}, "float64"),
        ({"video": np.zeros((1, 1000, 1000, 3), np.uint8), "only": ["ssr1"] * 1}, None),
        ({"video": np.zeros((1, 9000, 2, 3), np.uint8)}, "18000"),
        ({"guidance_scale": 3.0}, "guidance_weight=2"),
        ({"stages": {"ssr9": StageOptions(steps=1)}}, "ssr9"),
        ({"prompt": "", "negative_prompt": ["a", "b"]}, "negative_prompt"),
    ],
)
def test_calls_that_make_no_sense_are_refused_before_any_network_is_loaded(
    changes: dict[str, Any], message: str | None
) -> None:
    def load(stage: str) -> Any:
        raise LookupError(stage)

    pipeline = ImagenVideoPipeline(SPEC, load)
    call: dict[str, Any] = {"video": CLIP, **changes}
    with pytest.raises(LookupError if message is None else InputError, match=message):
        pipeline.upscale(**call)


def test_the_strides_are_told_in_pixels_of_the_given_clip() -> None:
    wide = dataclasses.replace(SPEC.stages[-1], unet=local_unet(patch_size=8), crop=None)
    pipeline = small_pipeline(dataclasses.replace(SPEC, stages=(*SPEC.stages[:-1], wide)))
    with pytest.raises(InputError, match=r"video: got 6x10 .* multiples of 4, width of 4"):
        pipeline.upscale(CLIP, only="ssr3")
    assert pipeline.upscale(CLIP, only=["ssr1", "ssr2", "ssr3"]).frames[0].shape[1:3] == (48, 80)


def test_interpolation_says_what_it_lacks() -> None:
    pipeline = small_pipeline(SPEC)
    with pytest.raises(InputError, match="fps: got None"):
        pipeline.interpolate(CLIP)
    with pytest.raises(InputError, match="at least two"):
        pipeline.interpolate(CLIP[:1], fps=6)
    with pytest.raises(InputError, match="frames per second"):
        pipeline.interpolate(CLIP, fps=600)
    with pytest.raises(InputError, match=r"5x10.*height in multiples of 2, width of 2"):
        pipeline.interpolate(CLIP[:, :5], fps=6)
    with pytest.raises(TypeError, match="'steps'"):
        pipeline.interpolate(CLIP, fps=6, steps=3)  # pyright: ignore[reportCallIssue]


def test_an_image_passes_the_spatial_stages_alone() -> None:
    pipeline = small_pipeline(SPEC)
    result = pipeline.image("a cat", seed=3)
    assert names(result) == ["base", "ssr1", "ssr2", "ssr3"]
    assert [image.shape for image in result.images] == [(32, 48, 3)]
    assert np.array_equal(pipeline("a cat", seed=3, num_frames=1).frames[0][0], result.images[0])
    assert names(pipeline.image("a cat", until="ssr1")) == ["base", "ssr1"]
    assert pipeline.image("a cat", height=16, width=24, until="ssr2").images[0].shape == (16, 24, 3)
    assert isinstance(pipeline.image("a cat", output_type="pil").images[0], Image.Image)


def test_a_batch_of_images_gives_each_prompt_what_it_gets_alone() -> None:
    pipeline = small_pipeline()
    both = pipeline.image(["a cat", "two dogs"], ["a dog", "a cat"], seed=[4, 7], output_type="pt")
    alone = pipeline.image("two dogs", "a cat", seed=7, output_type="pt")
    assert torch.allclose(both.images[1], alone.images[0], atol=1e-4)


def test_an_image_ends_at_no_temporal_stage() -> None:
    with pytest.raises(InputError, match=r"until: got 'tsr2'.*\['base', 'ssr1'\]"):
        small_pipeline(SPEC).image("a cat", until="tsr2")


def test_a_video_begins_with_the_given_image() -> None:
    pipeline = small_pipeline()
    first = random_video(3, 4, 6)
    video = pipeline("a cat", image=first, until="base", output_type="pt").frames
    assert torch.equal(video[0, 0], first)
    picture = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    for image in (picture, Image.fromarray(picture)):
        video = pipeline("a cat", image=image, until="base", output_type="pt").frames
        assert torch.equal(video[0, 0], to_float(picture))


def test_an_image_of_another_aspect_loses_its_margins() -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 6:18] = 255
    video = small_pipeline()("a cat", image=wide, until="base", output_type="pt").frames
    assert torch.equal(video[0, 0], torch.ones(3, 4, 6))


def test_images_are_one_for_all_or_one_a_prompt() -> None:
    pipeline = small_pipeline()
    images = [random_video(3, 4, 6, seed=1), random_video(3, 8, 12, seed=2)]
    texts = ["a cat", "two dogs"]
    video = pipeline(texts, image=images, until="base", output_type="pt").frames
    assert torch.equal(video[0, 0], images[0])
    same = pipeline(texts, image=images[0], until="base", output_type="pt").frames
    assert torch.equal(same[1, 0], images[0])
    with pytest.raises(InputError, match="2 pictures for 3 prompts"):
        pipeline([*texts, "a"], image=images)
