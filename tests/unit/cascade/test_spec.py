from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.errors import InputError
from imagen_video.presets import PRESETS, preset
from unit.cascade.small_cascades import local_unet, small_cascade

SPEC = small_cascade()


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_survives_json(name: str) -> None:
    spec = preset(name)
    assert CascadeSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert CascadeSpec.from_json(spec.to_json()) == spec


def changed(which: str, **changes: Any) -> CascadeSpec:
    stages = tuple(
        dataclasses.replace(stage, **changes) if stage.name == which else stage
        for stage in SPEC.stages
    )
    return dataclasses.replace(SPEC, stages=stages)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tsr1", {"output": Clip(frames=6, height=4, width=6, fps=9)}),  # no whole factor
        ("tsr1", {"output": Clip(frames=4, height=4, width=6, fps=6)}),  # no factor at all
        ("tsr1", {"output": Clip(frames=8, height=8, width=12, fps=12)}),  # another size
        ("tsr1", {"output": Clip(frames=8, height=4, width=6, fps=24)}),  # another frame rate
        ("tsr1", {"train_frames": 3}),  # not every second frame of a whole number
        ("tsr1", {"kind": "base", "unet": dataclasses.replace(local_unet(), low_res=False)}),
        ("ssr1", {"output": Clip(frames=8, height=8, width=18, fps=12), "crop": None}),
        ("ssr1", {"output": Clip(frames=8, height=6, width=10, fps=12), "crop": None}),
        ("ssr1", {"output": Clip(frames=8, height=4, width=6, fps=12), "crop": None}),
        ("ssr1", {"output": Clip(frames=16, height=8, width=12, fps=12)}),
        ("ssr1", {"output": Clip(frames=8, height=8, width=12, fps=24)}),
        ("ssr1", {"unet": local_unet(channels=1)}),
        ("ssr1", {"name": "tsr1"}),
    ],
)
def test_stages_that_do_not_follow_one_another_are_refused(
    name: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(InputError):
        changed(name, **changes)


def test_a_cascade_begins_with_its_base() -> None:
    with pytest.raises(InputError, match="base"):
        dataclasses.replace(SPEC, stages=SPEC.stages[1:])
    with pytest.raises(InputError, match="stages"):
        dataclasses.replace(SPEC, stages=())


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../x"},
        {"name": "a/b"},
        {"name": ""},
        {"name": "Base"},
        {"kind": "other"},
        {"output": Clip(frames=8, height=7, width=12)},
        {"unet": local_unet(low_res=False)},
        {"crop": (3, 4)},
        {"crop": (64, 4)},
        {"train_frames": 9},
        {"train_frames": 0},
        {"augmentation_max_t": 0.0},
        {"augmentation_max_t": math.nan},
    ],
)
def test_a_stage_checks_its_own_parts(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        dataclasses.replace(SPEC.stage("ssr1"), **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "euler"},
        {"guidance": "x"},
        {"threshold": "x"},
        {"steps": 0},
        {"gamma": 1.5},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"guidance_weight": math.nan},
        {"augmentation_logsnr": math.inf},
        {"percentile": 0.995},
    ],
)
def test_sampling_settings_that_nothing_can_run_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        SamplingSpec(**changes)


@pytest.mark.parametrize("fps", [0.0, -1.0, math.nan, math.inf])
def test_a_clip_has_a_frame_rate(fps: float) -> None:
    with pytest.raises(InputError, match="fps"):
        Clip(frames=1, height=1, width=1, fps=fps)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(surprise=1),
        lambda d: d["stages"][0].update(surprise=1),
        lambda d: d["stages"][0]["unet"].update(surprise=1),
        lambda d: d["stages"][0]["unet"]["levels"][0].update(surprise=1),
        lambda d: d["stages"][0]["output"].update(frames=1 << 40),
        lambda d: d["stages"][0]["output"].update(height="4"),
        lambda d: d["stages"][0]["output"].pop("width"),
        lambda d: d["stages"][0]["unet"]["levels"][0].update(channels=1 << 40),
        lambda d: d["stages"][0]["unet"]["levels"][0].update(num_blocks=1 << 40),
        lambda d: d["stages"][0]["unet"]["levels"][0].pop("channels"),
        lambda d: d["stages"][0]["unet"].pop("levels"),
        lambda d: d["stages"][0].update(name="../x"),
        lambda d: d["stages"][0].update(name=3),
        lambda d: d["stages"][0].pop("name"),
        lambda d: d["stages"][0].pop("output"),
        lambda d: d["stages"][0].update(kind=["base"]),
        lambda d: d["stages"][2].update(crop=[4]),
        lambda d: d["stages"][2].update(crop="4x4"),
        lambda d: d["stages"][0]["sampling"].update(steps=True),
        lambda d: d.update(stages={}),
        lambda d: d.update(stages=[1]),
        lambda d: d.update(stages=d["stages"] * 20),
        lambda d: d.pop("stages"),
        lambda d: d.update(text_encoder="minilm"),
    ],
)
def test_hostile_json_is_refused_in_four_parts(change: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads(json.dumps(SPEC.to_json()))
    change(data)
    with pytest.raises(InputError) as caught:
        CascadeSpec.from_json(data)
    assert all((caught.value.where, caught.value.got, caught.value.expected, caught.value.fix))


@pytest.mark.parametrize("data", [[], "cascade", None, 3])
def test_json_that_is_no_object_is_refused(data: Any) -> None:
    with pytest.raises(InputError, match="object"):
        CascadeSpec.from_json(data)


def test_unknown_stages_are_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match="ssr1"):
        SPEC.stage("ssr9")


def test_a_stage_knows_its_input_and_its_stride() -> None:
    assert SPEC.input_of("base") is None
    assert SPEC.input_of("ssr1") == SPEC.stage("tsr1").output
    assert [preset("emoji").frame_stride(s) for s in ("base", "tsr1", "tsr2", "ssr3")] == [
        8,
        4,
        2,
        1,
    ]


def test_a_stage_needs_no_more_than_its_shape_and_network() -> None:
    StageSpec(name="a1", kind="ssr", output=Clip(frames=1, height=4, width=4), unet=local_unet())
