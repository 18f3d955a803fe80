from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from imagen_video.data.batches.batch import Batch
from imagen_video.diffusion.parameterization import v_target, x_from_v
from imagen_video.diffusion.samplers import DDIMSampler
from imagen_video.distillation.objective import GUIDED_PATH_STEPS, DistillationObjective
from imagen_video.distillation.rounds import Round
from imagen_video.distillation.targets import ddim_step
from imagen_video.models.growth import grown
from imagen_video.training.draws import Draws
from unit.cascade.small_cascades import WordEncoder, awake, random_video
from unit.distillation.small_distillations import (
    GUIDED,
    SPEC,
    Stripes,
    generator,
    objective_of,
    with_weight,
)

DDIM = Round(kind="ddim", steps=4)
FEW = Round(kind="few_step", steps=4)
STAGES = ["base", "tsr1", "ssr1"]


class PointMass(nn.Module):
    """The ideal network for data that is one video."""

    def __init__(self, x: float) -> None:
        super().__init__()
        self.x = x
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor, logsnr: Tensor, conditions: Any) -> Tensor:
        shape = (*logsnr.shape, *[1] * (z.ndim - logsnr.ndim))
        alpha, sigma = logsnr.sigmoid().sqrt(), (-logsnr).sigmoid().sqrt()
        v = (alpha.view(shape) * z.double() - self.x) / sigma.view(shape).double()
        return v.to(z.dtype) + 0 * self.unused


@pytest.mark.parametrize("round_", [GUIDED, DDIM, FEW], ids=lambda r: r.name)
def test_the_loss_on_a_point_mass_is_zero_at_the_start(round_: Round) -> None:
    """A student that is a copy of its teacher already takes two of its steps in one."""
    network = PointMass(0.5)
    weights = (0.0, 15.0) if round_.kind == "guided" else (0.0, 0.0)
    mode = "guided" if round_.kind == "guided" else "conditional"
    objective = objective_of("base", round_, network=network, mode=mode, weights=weights)
    batch = Batch(video=torch.full((4, 4, 3, 4, 6), 0.5), captions=("a",) * 4)
    for seed in range(4):
        loss = objective(network, batch, generator(seed))
        # v = (alpha z - x) / sigma is divided by 4.5e-5 near t = 0 in this test's network
        assert loss < 1e-6


@pytest.mark.parametrize("stage", STAGES)
def test_stage_one_asks_for_guidance_at_the_drawn_weight(stage: str) -> None:
    network = awake(SPEC.stage(stage).unet)
    objective = objective_of(stage, GUIDED, network=network, mode="guided", weights=(2.0, 6.0))
    target = objective.target(Stripes(stage).batch(0), generator())
    w = target.conditions.guidance_weight
    assert w is not None
    assert w.shape == (4,)
    assert bool(((w >= 2) & (w <= 6)).all())
    assert len(set(w.tolist())) == 4
    with torch.no_grad():
        cond = network(target.z, target.logsnr, target.conditions)
        null = target.conditions.drop(torch.ones(4, dtype=torch.bool))
        uncond = network(target.z, target.logsnr, null)
    expected = cond + w[:, None, None, None, None] * (cond - uncond)
    assert torch.allclose(target.v, expected, atol=1e-4)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("round_", [DDIM, FEW], ids=lambda r: r.name)
def test_stage_two_asks_for_two_steps_of_the_sampler(stage: str, round_: Round) -> None:
    """Through the sampler's own update, with the same conditions in both calls."""
    network = awake(SPEC.stage(stage).unet)
    objective = objective_of(stage, round_, network=network)
    target = objective.target(Stripes(stage).batch(1), generator(3))
    given = target.conditions.given_mask
    free = torch.ones(4, dtype=torch.bool) if given is None else ~given.any(dim=1)
    assert bool(free.any())
    teacher_steps = 8 if round_.kind == "ddim" else 4
    sampler = DDIMSampler()
    for row in free.nonzero().flatten().tolist():
        one = target.conditions.map(lambda tensor, row=row: tensor[row : row + 1])
        z, logsnr = target.z[row : row + 1], target.logsnr[row : row + 1]
        step = nearest_step(logsnr, teacher_steps)
        made = [z]
        for number in range(step, min(step + 2, teacher_steps)):
            level = level_of(number, teacher_steps)
            with torch.no_grad():
                x_hat = x_from_v(made[-1], network(made[-1], level, one), level)
            made.append(sampler.update(made[-1], x_hat, number, teacher_steps))
        # one step of the student's length with the target
        end = step + len(made) - 1
        start_t, end_t = (
            torch.tensor([1 - number / teacher_steps], dtype=torch.float64)
            for number in (step, end)
        )
        once = ddim_step(z, target.v[row : row + 1], start_t, end_t)
        assert torch.allclose(once, made[-1], atol=2e-5)


def level_of(step: int, steps: int) -> Tensor:
    from imagen_video.diffusion.samplers import logsnr_at

    return logsnr_at(DDIMSampler().times(steps)[step], torch.zeros(1, 1, 1, 1, 1))


def nearest_step(logsnr: Tensor, steps: int) -> int:
    levels = torch.cat([level_of(step, steps) for step in range(steps)])
    distance, step = (levels - logsnr).abs().min(dim=0)
    assert distance < 1e-6
    return int(step)


@pytest.mark.parametrize("stage", ["tsr1", "ssr1"])
def test_teacher_and_student_hear_the_same_low_resolution_video(stage: str) -> None:
    network = awake(SPEC.stage(stage).unet)
    seen: list[Any] = []
    network.register_forward_pre_hook(lambda _, args: seen.append(args[2]))
    target = objective_of(stage, DDIM, network=network).target(Stripes(stage).batch(0), generator())
    assert len(seen) == 2
    ours = target.conditions
    assert ours.low_res is not None
    assert ours.low_res_logsnr is not None
    assert ours.text_states is not None
    for told in seen:
        assert torch.equal(told.low_res, ours.low_res)
        assert torch.equal(told.low_res_logsnr, ours.low_res_logsnr)
        assert torch.equal(told.text_states, ours.text_states)
    assert len(set(ours.low_res_logsnr.tolist())) == 4


def calm(objective: DistillationObjective, **sampling: Any) -> DistillationObjective:
    """The same for a stage that is sampled otherwise."""
    stage = objective.stage.stage
    stage = dataclasses.replace(stage, sampling=dataclasses.replace(stage.sampling, **sampling))
    return dataclasses.replace(objective, stage=dataclasses.replace(objective.stage, stage=stage))


@pytest.mark.parametrize("temperature", [0.0, 0.5])
@pytest.mark.parametrize("stage", ["base", "ssr1"])
@pytest.mark.parametrize("round_", [DDIM, FEW], ids=lambda r: r.name)
def test_below_temperature_1_a_student_is_asked_where_sampling_gets_to(
    round_: Round, stage: str, temperature: float
) -> None:
    """Scaled noise on the true video would show it what no sampler knows, the truth."""
    network = awake(SPEC.stage(stage).unet)
    usual = objective_of(stage, round_, network=network)
    objective = calm(usual, temperature=temperature, threshold="static")
    batch = Stripes(stage, clips=8).batch(0)
    noisy, target = usual.target(batch, generator(2)), objective.target(batch, generator(2))
    assert torch.equal(noisy.logsnr, target.logsnr)
    steps = 8 if round_.kind == "ddim" else 4
    noise = Draws(batch, generator(2)).noise("distillation noise", tuple(batch.video.shape[1:]))
    told, points = target.conditions, []
    for row in range(8):
        one = told.map(lambda tensor, row=row: tensor[row : row + 1])
        z, number = temperature * noise[row : row + 1], nearest_step(target.logsnr[row], steps)
        points.append(number)
        for step in range(number):
            level = level_of(step, steps)
            with torch.no_grad():
                x_hat = x_from_v(z, network(z, level, one), level).clamp(-1, 1)
            if one.given_mask is not None:
                known = one.given_mask[:, :, None, None, None]
                x_hat = torch.where(known, batch.video[row : row + 1], x_hat)
            z = DDIMSampler().update(z, x_hat, step, steps)
        assert torch.allclose(target.z[row : row + 1], z, atol=2e-5)
    assert 0 in points  # at t = 1: what the sampler begins with, and nothing of the video
    assert max(points) > 2


def test_a_step_count_of_one_below_temperature_1_costs_no_call_more() -> None:
    network, calls = awake(SPEC.stage("ssr1").unet), []
    network.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    for steps, rows in ((1, 8), (4, 8 + 12)):  # four rows, one at each grid point: 0, 2, 4, 6 more
        objective = objective_of("ssr1", Round(kind="ddim", steps=steps), network=network)
        calls.clear()
        calm(objective, temperature=0.0).target(Stripes("ssr1").batch(0), generator())
        assert sum(calls) == rows


def test_below_temperature_1_guidance_is_learned_where_guided_sampling_gets_to() -> None:
    network, calls = awake(SPEC.stage("ssr1").unet), []
    objective = objective_of("ssr1", GUIDED, network=network, mode="guided", weights=(0.0, 9.0))
    batch = Stripes("ssr1").batch(0)
    network.register_forward_pre_hook(lambda _, args: calls.append(args[1]))
    targets = [
        calm(objective, temperature=0.0, steps=steps).target(batch, generator(2))
        for steps in (2, 99)
    ]
    assert torch.equal(targets[0].logsnr, targets[1].logsnr)
    assert not torch.allclose(targets[0].z, targets[1].z, atol=1e-3)
    assert all(bool(target.z.isfinite().all()) for target in targets)
    # zeros, thresholded guesses in between: nowhere more than these
    bound = targets[0].logsnr.sigmoid().sqrt()
    assert bool((targets[0].z.abs().amax(dim=(1, 2, 3, 4)) <= bound + 1e-4).all())
    assert len(calls) <= 2 + 1 + GUIDED_PATH_STEPS + 1


def test_targets_below_temperature_1_are_the_same_again() -> None:
    objective = calm(objective_of("ssr1", DDIM), temperature=0.5)
    batch = Stripes("ssr1").batch(0)
    first, again = (objective.target(batch, generator(4)) for _ in range(2))
    assert torch.equal(first.z, again.z)
    assert torch.equal(first.v, again.v)
    parts = [objective.target(batch.rows(range(i, i + 2)), generator(4)) for i in (0, 2)]
    assert torch.allclose(first.z, torch.cat([part.z for part in parts]), atol=1e-5)


def test_the_prompt_is_never_dropped() -> None:
    for seed in range(6):
        target = objective_of("base", DDIM).target(Stripes().batch(seed), generator(seed))
        assert target.conditions.text_mask is not None
        assert bool(target.conditions.text_mask.any(dim=1).all())


def test_given_frames_stay_given_on_the_way_and_count_no_loss() -> None:
    network = awake(SPEC.stage("base").unet)
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    objective = objective_of("base", DDIM, network=network)
    batch = Stripes(clips=8).batch(0)
    target = objective.target(batch, generator(1))
    mask = target.conditions.given_mask
    assert mask is not None
    assert bool(mask.any())
    # both of the teacher's inputs lie on one path x cos + eps sin at given frames
    logsnr = target.logsnr
    alpha = logsnr.sigmoid().sqrt()[:, None, None, None, None]
    sigma = (-logsnr).sigmoid().sqrt()[:, None, None, None, None]
    eps = (seen[0] - alpha * batch.video) / sigma
    v = v_target(batch.video, eps, logsnr)
    assert torch.allclose(target.v[mask], v[mask], atol=1e-4)
    student = awake(SPEC.stage("base").unet, seed=3)
    wrong = target.v.clone()
    wrong[mask] += 100
    assert objective.loss(student, target) == objective.loss(student, target._replace(v=wrong))


def test_the_weight_reaches_the_teacher_and_the_student_of_stage_two() -> None:
    unet = with_weight(SPEC.stage("base"))
    teacher, student = awake(unet), awake(unet, seed=1)
    seen: list[Any] = []
    for network in (teacher, student):
        network.register_forward_pre_hook(lambda _, args: seen.append(args[2].guidance_weight))
    objective = objective_of("base", DDIM, network=teacher, mode="weighted", weights=(0.0, 15.0))
    objective(student, Stripes().batch(0), generator())
    assert len(seen) == 3
    assert all(torch.equal(w, seen[0]) for w in seen)
    assert len(set(seen[0].tolist())) == 4


def test_the_error_is_that_of_the_stage_with_its_residual_weight() -> None:
    objective = objective_of("ssr1", DDIM)
    student = awake(SPEC.stage("ssr1").unet, seed=5)
    target = objective.target(Stripes("ssr1").batch(0), generator())
    v_hat = student(target.z, target.logsnr, target.conditions)
    expected = objective.stage.error(v_hat, target.v, target.logsnr, target.conditions)
    assert torch.equal(objective.loss(student, target), expected)
    plain = (v_hat - target.v).square().mean()
    assert not torch.allclose(expected, plain, rtol=1e-2)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("round_", [DDIM, FEW], ids=lambda r: r.name)
def test_the_loss_reaches_every_weight_of_the_student_and_none_of_the_teacher(
    stage: str, round_: Round
) -> None:
    teacher = awake(SPEC.stage(stage).unet)
    student = grown(teacher, teacher.spec, seed=0)
    objective = objective_of(stage, round_, network=teacher)
    objective(student, Stripes(stage).batch(0), generator()).backward()
    without = [n for n, p in student.named_parameters() if p.grad is None]
    assert all("null_token" in name for name in without)
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("round_", [GUIDED, DDIM, FEW], ids=lambda r: r.name)
def test_a_batch_in_parts_is_asked_the_same(round_: Round) -> None:
    weights = (0.0, 9.0) if round_.kind == "guided" else (0.0, 0.0)
    mode = "guided" if round_.kind == "guided" else "conditional"
    objective = objective_of("ssr1", round_, mode=mode, weights=weights)
    batch = Stripes("ssr1").batch(0)
    whole = objective.target(batch, generator(7))
    parts = [objective.target(batch.rows(range(i, i + 2)), generator(7)) for i in (0, 2)]
    assert torch.equal(whole.z, torch.cat([part.z for part in parts]))
    assert torch.equal(whole.logsnr, torch.cat([part.logsnr for part in parts]))
    assert torch.allclose(whole.v, torch.cat([part.v for part in parts]), atol=1e-5)


def test_targets_are_combined_in_full_precision_under_autocast() -> None:
    objective = objective_of("ssr1", DDIM)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        target = objective.target(Stripes("ssr1").batch(0), generator())
    assert {target.z.dtype, target.v.dtype, target.logsnr.dtype} == {torch.float32}
    exact = objective.target(Stripes("ssr1").batch(0), generator())
    assert 0 < (exact.v - target.v).abs().mean() < 0.05


def test_packed_images_keep_their_own_low_resolution_noise() -> None:
    objective = objective_of("ssr1", DDIM)
    batch = Stripes("ssr1").batch(0)
    packed = dataclasses.replace(batch, is_image=torch.tensor([True, False, True, False]))
    target = objective.target(packed, generator())
    assert target.logsnr.shape == (4, batch.video.shape[1])
    assert target.v.isfinite().all()
    assert objective(awake(SPEC.stage("ssr1").unet), packed, generator()).isfinite()


def test_images_can_be_distilled_too() -> None:
    objective = objective_of("base", DDIM)
    batch = Batch(video=random_video(3, 1, 3, 4, 6), captions=("a", "b", "c"))
    assert objective(awake(SPEC.stage("base").unet, seed=2), batch, generator()) > 0
    assert WordEncoder().encode(["a"]).states.shape[0] == 1
