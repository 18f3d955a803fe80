"""A request is settled before anything is computed: sizes, memory, texts."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from torch import nn

from imagen_video.cascade.memory import PROCESS
from imagen_video.cascade.options import clips_for
from imagen_video.cascade.pipeline import ImagenVideoPipeline, Request
from imagen_video.cascade.run_plan import plan_run
from imagen_video.cascade.spec import MAX_EXTENT, Clip
from imagen_video.errors import BundleError, InputError, ResourceError
from imagen_video.presets.emoji import emoji
from unit.cascade.small_cascades import WordEncoder, random_video, small_cascade, small_pipeline

SPEC = small_cascade()


def request(**changes: Any) -> Request:
    return Request(**{"prompts": ("a cat",), "seeds": (3,), **changes})


def test_sizes_scale_back_through_the_stages() -> None:
    clips = clips_for(SPEC, SPEC.stages, num_frames=4, height=16, width=24)
    assert clips["base"] == Clip(frames=2, height=8, width=12, fps=6)
    assert clips["tsr1"] == Clip(frames=4, height=8, width=12, fps=12)
    assert clips["ssr1"] == Clip(frames=4, height=16, width=24, fps=12)
    asked = request(num_frames=4, height=16, width=24)
    assert small_pipeline().run(asked, output_type="pt").frames.shape == (1, 4, 3, 16, 24)


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        # the base makes a 32nd of the result with a stride of 8: the largest step of all stages
        ({"height": 770}, ("height", "770", "a multiple of 256", "use 768 or 1024")),
        ({"width": 1}, ("width", "1", "a multiple of 256", "use 256")),
        ({"width": MAX_EXTENT + 1}, ("width", "16385", "a multiple of 256", "use 16384")),
        ({"num_frames": 13}, ("num_frames", "13", "a multiple of 8", "use 8 or 16")),
    ],
)
def test_a_size_that_some_stage_cannot_make_is_answered_with_those_that_all_can(
    size: dict[str, Any], parts: tuple[str, str, str, str]
) -> None:
    spec = emoji()
    with pytest.raises(InputError) as caught:
        clips_for(spec, spec.stages, **size)
    error = caught.value
    found = zip(parts, (error.where, error.got, error.expected, error.fix), strict=True)
    assert all(part in text for part, text in found)
    for good in re.findall(r"\d+", error.fix):
        again: dict[str, Any] = dict.fromkeys(size, int(good))
        assert clips_for(spec, spec.stages, **again)


def test_too_little_memory_is_said_before_anything_runs() -> None:
    def load(stage: str) -> nn.Module:
        raise AssertionError(f"{stage} was loaded")

    with pytest.raises(ResourceError, match="at least"):
        ImagenVideoPipeline(SPEC, load, WordEncoder()).run(request(), memory=PROCESS)


def test_the_memory_that_is_asked_for_is_enough_for_every_stage() -> None:
    plan = plan_run(emoji(), request(num_frames=16))
    with pytest.raises(ResourceError) as caught:
        plan.check_memory(PROCESS)
    needs = {stage.name: plan.least_memory(stage) for stage in plan.stages}
    neediest = max(needs, key=lambda name: needs[name])
    assert neediest != "base"  # the first that does not fit, but not the one to tell of
    assert neediest in caught.value.where
    asked = re.fullmatch(r"at least (\d+\.\d) GB", caught.value.expected)
    assert asked is not None
    plan.check_memory(round(float(asked[1]) * 1e9))
    with pytest.raises(ResourceError):
        plan.check_memory(round((float(asked[1]) - 0.2) * 1e9))


def test_a_bundle_whose_text_encoder_is_unknown_is_refused_before_anything_runs() -> None:
    def load(stage: str) -> nn.Module:
        raise AssertionError(f"{stage} was loaded")

    with pytest.raises(BundleError, match=r"text_encoder\.json"):
        ImagenVideoPipeline(SPEC, load).check(request())
    untold = dataclasses.replace(SPEC, text_encoder=None)
    with pytest.raises(BundleError, match="none in the bundle"):
        ImagenVideoPipeline(untold, load).check(request())
    video = random_video(1, 4, 3, 4, 6)
    ImagenVideoPipeline(untold, load).check(request(start="tsr1", video=video, prompts=("",)))


def test_an_empty_negative_prompt_is_called_that() -> None:
    with pytest.raises(InputError, match=r"^negative prompt: got an empty prompt"):
        small_pipeline().check(request(negative_prompts=("",)))
    both = request(prompts=("a", "b"), seeds=(1, 2), negative_prompts=("fog", " "))
    with pytest.raises(InputError, match=r"^negative prompt 1: "):
        small_pipeline().check(both)
