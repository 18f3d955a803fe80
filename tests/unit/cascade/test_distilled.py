from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from imagen_video.cascade.bundle import Bundle, save_bundle
from imagen_video.cascade.distilled import DistilledSpec, check_request
from imagen_video.cascade.options import StageOptions
from imagen_video.cascade.pipeline import ImagenVideoPipeline, Request
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import CascadeSpec, StageSpec
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.errors import InputError
from unit.cascade.small_cascades import WordEncoder, awake, small_cascade, small_networks

SPEC = small_cascade()
ENCODER = WordEncoder()
MADE_FOR = DistilledSpec(sampler="few_step", steps=4, min_weight=0.0, max_weight=15.0)


def student_of(stage: StageSpec, made_for: DistilledSpec = MADE_FOR, **sampling: Any) -> StageSpec:
    changes = {"sampler": made_for.sampler or "ddim", "steps": made_for.steps or 4, **sampling}
    return dataclasses.replace(
        stage,
        unet=dataclasses.replace(stage.unet, guidance_weight=made_for.takes_weight),
        sampling=dataclasses.replace(stage.sampling, **changes),
        distilled=made_for,
    )


BASE = student_of(SPEC.stage("base"))
PLAIN = student_of(SPEC.stage("tsr1"), DistilledSpec(sampler="ddim", steps=2), temperature=0.5)
CASCADE = dataclasses.replace(SPEC, stages=(BASE, PLAIN, SPEC.stages[2]))


def pipeline() -> ImagenVideoPipeline:
    networks = small_networks(CASCADE)
    return ImagenVideoPipeline(CASCADE, networks.__getitem__, ENCODER)


def sampled(seen: list[Any], sampling: SamplingSpec | None = None) -> torch.Tensor:
    network = awake(BASE.unet)
    network.register_forward_pre_hook(lambda _, args: seen.append(args))
    request = StageInput(seeds=[1, 2], clip=BASE.output, text=ENCODER.encode(["a cat", "dogs"]))
    return sample_stage(BASE, network, request, sampling)


def test_the_weight_is_an_input_and_a_step_is_one_call_of_one_batch() -> None:
    seen: list[Any] = []
    video = sampled(seen, dataclasses.replace(BASE.sampling, guidance_weight=7.0))
    assert [len(args[0]) for args in seen] == [2] * 4
    assert all(args[2].guidance_weight.tolist() == [7.0, 7.0] for args in seen)
    assert all(args[2].text_mask.any(dim=1).all() for args in seen)
    other = sampled([], dataclasses.replace(BASE.sampling, guidance_weight=1.0))
    assert not torch.allclose(video, other, atol=1e-3)


def test_weight_zero_is_told_as_well() -> None:
    seen: list[Any] = []
    sampled(seen, dataclasses.replace(BASE.sampling, guidance_weight=0.0))
    assert all(args[2].guidance_weight.tolist() == [0.0, 0.0] for args in seen)


def test_oscillating_guidance_is_told_step_by_step() -> None:
    seen: list[Any] = []
    oscillating = dataclasses.replace(
        BASE.sampling, guidance="oscillating", guidance_weight=15.0, guidance_low=1.0
    )
    sampled(seen, oscillating)
    assert [args[2].guidance_weight[0].item() for args in seen] == [15.0, 1.0, 15.0, 1.0]
    assert [len(args[0]) for args in seen] == [2] * 4


def test_a_student_is_told_zero_where_guidance_has_ended() -> None:
    seen: list[Any] = []
    sampled(seen, dataclasses.replace(BASE.sampling, guidance_weight=3.0, guidance_stop=0.5))
    assert [args[2].guidance_weight[0].item() for args in seen] == [3.0, 3.0, 0.0, 0.0]


def test_a_student_that_knows_no_zero_refuses_an_end_of_guidance() -> None:
    assert BASE.distilled is not None
    narrow = dataclasses.replace(BASE.distilled, min_weight=1.0)
    stage = dataclasses.replace(BASE, distilled=narrow)
    ends = dataclasses.replace(BASE.sampling, guidance_weight=3.0, guidance_stop=0.5)
    with pytest.raises(InputError, match="guidance_stop"):
        check_request(stage, ends)


def test_the_pipeline_takes_sampler_steps_and_weight_from_the_record() -> None:
    made = pipeline()
    output = made.run(Request(prompts=("a cat",), seeds=(1,)), keep=("base",))
    reports = {report.name: report.sampling for report in output.reports}
    assert (reports["base"].sampler, reports["base"].steps) == ("few_step", 4)
    assert (reports["tsr1"].sampler, reports["tsr1"].steps) == ("ddim", 2)
    assert BASE.rows_a_sample(BASE.sampling) == 1
    assert SPEC.stage("base").rows_a_sample(SPEC.stage("base").sampling) == 2


@pytest.mark.parametrize(
    ("stage", "options", "parts"),
    [
        ("base", {"steps": 8}, ("stage 'base' steps", "8", "few_step, 4 steps", "teacher")),
        ("base", {"sampler": "ddim"}, ("sampler", "'ddim'", "few_step, 4 steps", "teacher")),
        ("base", {"guidance_weight": 16.0}, ("guidance_weight", "16", "0 to 15", "teacher")),
        (
            "base",
            {"guidance": "oscillating", "guidance_weight": 5.0, "guidance_low": -1.0},
            ("guidance_low", "-1", "0 to 15", "teacher"),
        ),
        ("tsr1", {"guidance_weight": 1.0}, ("stage 'tsr1'", "1", "0 to 0", "teacher")),
        ("tsr1", {"steps": 1}, ("stage 'tsr1' steps", "1", "ddim, 2 steps", "teacher")),
        ("tsr1", {"temperature": 0.6}, ("stage 'tsr1' temperature", "0.6", "0.5", "teacher")),
    ],
)
def test_what_a_stage_was_not_made_for_is_refused_before_anything_runs(
    stage: str, options: dict[str, Any], parts: tuple[str, str, str, str]
) -> None:
    request = Request(prompts=("a",), seeds=(1,), options={stage: StageOptions(**options)})
    with pytest.raises(InputError) as caught:
        pipeline().check(request)
    error = caught.value
    found = zip(parts, (error.where, error.got, error.expected, error.fix), strict=True)
    assert all(part in text for part, text in found)


def steps_of(made: ImagenVideoPipeline, **settings: Any) -> list[int]:
    result = made("a cat", output_type="pt", **settings)
    return [report.sampling.steps for report in result.reports]


def test_a_number_of_steps_for_all_passes_distilled_stages_by_and_says_so() -> None:
    with pytest.warns(
        UserWarning, match=r"\(base: 4, tsr1: 2\); 3 is for the other stages"
    ) as told:
        assert steps_of(pipeline(), num_inference_steps=3) == [4, 2, 3]
    assert len(told) == 1
    own = {"base": StageOptions(steps=4)}
    with pytest.warns(UserWarning, match=r"\(tsr1: 2\)"):  # not of a stage that has its own number
        assert steps_of(pipeline(), num_inference_steps=3, stages=own) == [4, 2, 3]


def test_a_number_of_steps_that_no_stage_could_take_is_refused() -> None:
    with pytest.raises(InputError, match="few_step, 4 steps"):
        pipeline()("a cat", num_inference_steps=3, until="tsr1")
    with pytest.raises(InputError, match="few_step, 4 steps"):
        pipeline()("a cat", num_inference_steps=3, stages={"ssr1": StageOptions(steps=2)})
    own = {"tsr1": StageOptions(steps=5)}  # named, it is not passed by
    with (
        pytest.warns(UserWarning, match=r"\(base: 4\)"),
        pytest.raises(InputError, match="ddim, 2 steps"),
    ):
        pipeline()("a cat", num_inference_steps=3, stages=own)


def test_there_is_no_warning_where_nothing_is_passed_by() -> None:
    late = dataclasses.replace(
        SPEC, stages=(*SPEC.stages[:2], student_of(SPEC.stages[2], PLAIN.distilled or MADE_FOR))
    )
    made = ImagenVideoPipeline(late, small_networks(late).__getitem__, ENCODER)
    assert steps_of(made, num_inference_steps=3, until="tsr1") == [3, 3]  # ssr1 does not run
    assert steps_of(made, num_inference_steps=2) == [2, 2, 2]  # what it was distilled for


def test_a_negative_prompt_is_refused_where_guidance_is_one_call() -> None:
    request = Request(prompts=("a",), seeds=(1,), negative_prompts=("fog",))
    with pytest.raises(InputError, match=r"stage 'base'.*negative prompt.*null text"):
        pipeline().check(request)
    with pytest.raises(InputError, match="negative prompt"):
        sample_stage(
            BASE,
            awake(BASE.unet),
            StageInput(
                seeds=[1],
                clip=BASE.output,
                text=ENCODER.encode(["a"]),
                negative=ENCODER.encode(["fog"]),
            ),
        )


def test_sampling_a_stage_directly_is_held_to_the_record_too() -> None:
    with pytest.raises(InputError, match="few_step, 4 steps"):
        sampled([], dataclasses.replace(BASE.sampling, steps=5))


def test_a_stage_whose_guidance_alone_was_distilled_takes_any_steps() -> None:
    made_for = DistilledSpec(max_weight=15.0)
    stage = student_of(SPEC.stage("base"), made_for, sampler="ancestral", steps=9)
    assert made_for.times == []
    assert stage.takes_weight
    assert MADE_FOR.times == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "ancestral", "steps": 4},
        {"sampler": "ddim"},
        {"steps": 4},
        {"sampler": "few_step", "steps": 1},
        {"sampler": "ddim", "steps": 0},
        {"sampler": "ddim", "steps": 1 << 20},
        {"min_weight": -1.0, "max_weight": 3.0},
        {"min_weight": 3.0, "max_weight": 1.0},
        {"max_weight": math.inf},
        {"max_weight": math.nan},
    ],
)
def test_records_that_no_student_can_have_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="DistilledSpec"):
        DistilledSpec(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"distilled": None},
        {"unet": SPEC.stage("base").unet},
        {"sampling": dataclasses.replace(BASE.sampling, steps=8)},
        {"sampling": dataclasses.replace(BASE.sampling, guidance_weight=20.0)},
    ],
)
def test_a_stage_that_contradicts_its_record_cannot_be_built(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="stage 'base'"):
        dataclasses.replace(BASE, **changes)


def test_the_record_survives_json_and_a_bundle(tmp_path: Path) -> None:
    assert CascadeSpec.from_json(json.loads(json.dumps(CASCADE.to_json()))) == CASCADE
    save_bundle(tmp_path / "b", CASCADE, small_networks(CASCADE))
    found = Bundle.open(tmp_path / "b")
    assert found.spec == CASCADE
    assert found.network("base").spec.guidance_weight


def test_a_bundle_from_before_there_were_students_still_opens() -> None:
    data = json.loads(json.dumps(SPEC.to_json()))
    for stage in data["stages"]:
        del stage["distilled"]
    assert CascadeSpec.from_json(data) == SPEC


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"sampler": ["ddim"]},
        {"sampler": 3},
        {"steps": True},
        {"steps": "4"},
        {"max_weight": "15"},
        {"max_weight": None},
    ],
)
def test_a_hostile_record_is_refused(change: dict[str, Any]) -> None:
    data = json.loads(json.dumps(CASCADE.to_json()))
    data["stages"][0]["distilled"].update(change)
    with pytest.raises(InputError):
        CascadeSpec.from_json(data)
    data["stages"][0]["distilled"] = [1]
    with pytest.raises(InputError, match="object"):
        CascadeSpec.from_json(data)


def test_memory_is_planned_for_one_row_where_the_weight_is_an_input() -> None:
    tsr = SPEC.stage("tsr1")
    guided = dataclasses.replace(tsr.sampling, guidance_weight=2.0)
    assert tsr.rows_a_sample(guided) == 2
    assert student_of(tsr).rows_a_sample(dataclasses.replace(guided, steps=4)) == 1
