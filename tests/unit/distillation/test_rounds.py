from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from imagen_video.cascade.distilled import DistilledSpec
from imagen_video.cascade.spec import StageSpec
from imagen_video.distillation.config import DistillConfig
from imagen_video.distillation.rounds import Round, needs_rounds, plan_route, student_stage
from imagen_video.errors import InputError
from unit.cascade.small_cascades import small_cascade

BASE, TSR = small_cascade().stage("base"), small_cascade().stage("tsr1")


def names(stage: StageSpec, **options: Any) -> list[str]:
    return [round_.name for round_ in plan_route(stage, **options).rounds]


def student(**made_for: Any) -> StageSpec:
    return student_stage(BASE, DistilledSpec(**made_for))


def test_a_guided_stage_is_given_its_weight_first_and_then_halved() -> None:
    route = plan_route(BASE, start=32, to=8)
    assert [r.name for r in route.rounds] == ["guided", "ddim-16", "ddim-8"]
    assert (route.min_weight, route.max_weight) == (0.0, 15.0)
    assert names(BASE, start=256, to=8)[1:] == [f"ddim-{n}" for n in (128, 64, 32, 16, 8)]
    assert names(BASE, start=8, to=1)[1:] == ["ddim-4", "ddim-2", "ddim-1"]


def test_an_unguided_stage_is_only_halved_and_takes_no_weight() -> None:
    route = plan_route(TSR, start=16, to=4)
    assert [r.name for r in route.rounds] == ["ddim-8", "ddim-4"]
    made = route.student(route.rounds[-1])
    assert not made.takes_weight
    assert made.distilled == DistilledSpec(sampler="ddim", steps=4)
    assert made.sampling.steps == 4


def test_a_student_is_told_one_weight_and_ends_guidance_itself() -> None:
    sampling = dataclasses.replace(BASE.sampling, guidance_weight=3.0, guidance_stop=0.3)
    stage = dataclasses.replace(BASE, sampling=sampling)
    for weights in ((0.0, 6.0), (3.0, 3.0)):
        route = plan_route(stage, start=4, to=2, weights=weights)
        made = route.student(route.rounds[-1]).sampling
        assert (made.guidance_weight, made.guidance_stop) == (3.0, 0.0)


def test_the_stochastic_sampler_adds_one_round_on_the_grid_of_the_last_student() -> None:
    assert names(TSR, start=16, to=8, sampler="few_step") == ["ddim-8", "few_step-8"]
    assert names(TSR, start=8, to=8, sampler="few_step") == ["few_step-8"]
    assert Round(kind="few_step", steps=8).teacher_steps == 8
    assert Round(kind="ddim", steps=8).teacher_steps == 16


def test_weights_can_be_left_out_or_given_to_any_stage() -> None:
    off = plan_route(BASE, start=4, to=2, weights=(0, 0))
    assert [r.name for r in off.rounds] == ["ddim-2"]
    assert off.student(off.rounds[-1]).sampling.guidance_weight == 0
    given = plan_route(TSR, start=4, to=2, weights=(0, 6))
    assert [r.name for r in given.rounds] == ["guided", "ddim-2"]
    assert given.student(given.rounds[-1]).takes_weight
    only = plan_route(BASE, start=4, to=4)
    assert [r.name for r in only.rounds] == ["guided"]
    assert only.student(only.rounds[-1]).distilled == DistilledSpec(max_weight=15.0)


@pytest.mark.parametrize(
    ("stage", "options", "both"),
    [
        (TSR, {"start": 24, "to": 7}, ("24 steps to 7", "14, 28")),
        (TSR, {"start": 12, "to": 8}, ("12 steps to 8", "16")),
        (TSR, {"start": 4, "to": 8}, ("4 steps to 8", "16")),
        (TSR, {"start": 4, "to": 4}, ("4 steps without guidance", "fewer steps")),
        (TSR, {"start": 4, "to": 1, "sampler": "few_step"}, ("one step", "at least 2")),
        (TSR, {"start": 4, "to": 2, "weights": (3, 1)}, ("3, 1", "min_weight <= max_weight")),
        (BASE, {"start": 4, "to": 2, "weights": (0, 1)}, ("guidance_weight: got 2", "0 to 1")),
        (TSR, {"start": 2**13, "to": 8}, ("4096", "1 to 1024")),
    ],
)
def test_what_cannot_be_halved_is_refused_with_both_sides(
    stage: StageSpec, options: dict[str, Any], both: tuple[str, str]
) -> None:
    with pytest.raises(InputError) as caught:
        plan_route(stage, **options)
    assert all(part in str(caught.value) for part in both)


def test_a_distilled_teacher_goes_on_from_its_own_grid_with_its_own_weights() -> None:
    teacher = student(sampler="ddim", steps=8, max_weight=10.0)
    route = plan_route(teacher, to=2)
    assert [r.name for r in route.rounds] == ["ddim-4", "ddim-2"]
    assert (route.min_weight, route.max_weight) == (0.0, 10.0)
    assert names(teacher, to=8, sampler="few_step") == ["few_step-8"]
    others: list[dict[str, Any]] = [{"start": 16}, {"weights": (0, 15)}, {"weights": (0, 0)}]
    for options in others:
        with pytest.raises(InputError, match=r"8|10|above 0"):
            plan_route(teacher, to=2, **options)
    with pytest.raises(InputError, match="few_step"):
        plan_route(student(sampler="few_step", steps=8, max_weight=10.0), to=4)
    guided = student(max_weight=10.0)
    assert names(guided, to=4, start=16) == ["ddim-8", "ddim-4"]


def test_all_leaves_out_what_is_done() -> None:
    assert needs_rounds(BASE, to=2)
    assert needs_rounds(TSR, to=1)
    assert not needs_rounds(TSR, to=2)
    assert not needs_rounds(TSR, to=8)
    assert needs_rounds(TSR, to=8, start=16)
    assert needs_rounds(TSR, to=2, weights=(0, 5))
    assert needs_rounds(TSR, to=2, sampler="few_step")
    done = student(sampler="ddim", steps=2, max_weight=10.0)
    assert not needs_rounds(done, to=2)
    assert needs_rounds(done, to=1)


def test_rounds_of_very_few_steps_take_twice_the_updates_and_end_at_a_rate_of_zero() -> None:
    config = DistillConfig(updates_per_round=100)
    assert config.updates_of(Round(kind="guided")) == 100
    assert config.updates_of(Round(kind="ddim", steps=4)) == 100
    assert config.updates_of(Round(kind="ddim", steps=2)) == 200
    training = config.training(Round(kind="ddim", steps=4))
    rates = [training.learning_rate_at(step) for step in range(101)]
    assert rates[0] == pytest.approx(training.learning_rate / 5)
    assert max(rates) == rates[4] == pytest.approx(0.96 * training.learning_rate)
    assert rates[100] == 0
    assert training.text_dropout == 0


@pytest.mark.parametrize(
    "changes",
    [{"loss": "eps"}, {"warmup_fraction": 1.0}, {"updates_per_round": 0}, {"learning_rate": -1}],
)
def test_settings_that_no_round_can_have_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        DistillConfig(**changes)


def test_a_students_stage_keeps_everything_else() -> None:
    made = student(sampler="few_step", steps=8, max_weight=10.0)
    back = dataclasses.replace(made, unet=BASE.unet, sampling=BASE.sampling, distilled=None)
    assert back == BASE
    assert made.sampling.threshold == BASE.sampling.threshold
