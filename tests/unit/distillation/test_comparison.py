from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from imagen_video.cascade.bundle import Bundle, save_bundle
from imagen_video.cascade.distilled import DistilledSpec
from imagen_video.cascade.spec import CascadeSpec
from imagen_video.distillation.comparison import cells_of, chain_key
from imagen_video.distillation.cost import saving, seconds_from_one_call
from imagen_video.distillation.report_settings import Settings
from imagen_video.distillation.rounds import student_stage
from imagen_video.errors import BundleError, InputError
from imagen_video.models.cost import flops
from unit.cascade.small_cascades import awake
from unit.distillation.small_distillations import SPEC, write_bundle

GUIDED_TSR = dataclasses.replace(
    SPEC.stage("tsr1"),
    sampling=dataclasses.replace(SPEC.stage("tsr1").sampling, guidance_weight=2.0),
)
TEACHERS = dataclasses.replace(SPEC, stages=(SPEC.stages[0], GUIDED_TSR, SPEC.stages[2]))
WEIGHTED = DistilledSpec(sampler="ddim", steps=8, max_weight=15.0)
PLAIN = DistilledSpec(sampler="ddim", steps=8)


def save(path: Path, spec: CascadeSpec) -> Bundle:
    networks = {stage.name: awake(stage.unet, i) for i, stage in enumerate(spec.stages)}
    return save_bundle(path, spec, networks)


def students(*made_for: DistilledSpec | None) -> CascadeSpec:
    pairs = zip(TEACHERS.stages, made_for, strict=True)
    stages = tuple(s if spec is None else student_stage(s, spec) for s, spec in pairs)
    return dataclasses.replace(TEACHERS, stages=stages)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save(tmp_path_factory.mktemp("bundles") / "teacher", TEACHERS)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    spec = students(WEIGHTED, WEIGHTED, PLAIN)
    return save(tmp_path_factory.mktemp("bundles") / "student", spec)


def test_a_base_that_knows_one_weight_does_not_oscillate(teacher: Bundle, tmp_path: Path) -> None:
    fixed = dataclasses.replace(WEIGHTED, min_weight=3.0, max_weight=3.0)
    base = TEACHERS.stages[0]
    at_three = dataclasses.replace(
        base, sampling=dataclasses.replace(base.sampling, guidance_weight=3.0)
    )
    spec = students(None, WEIGHTED, PLAIN)
    stages = (student_stage(at_three, fixed), *spec.stages[1:])
    student = save(tmp_path / "student", dataclasses.replace(spec, stages=stages))
    cells = cells_of(teacher, student, Settings(constant_weight=3.0))
    left_out = {cell.row for cell in cells if cell.guidance == "constant"} - {
        cell.row for cell in cells if cell.guidance == "oscillating"
    }
    assert left_out == {"all distilled"}
    with pytest.raises(InputError, match="3 to 3"):
        cells_of(teacher, student, Settings(constant_weight=6.0))


def test_the_cells_are_those_of_the_papers_table(teacher: Bundle, student: Bundle) -> None:
    cells = cells_of(teacher, student, Settings())
    assert [cell.name for cell in cells] == [
        f"{row}, {guidance}"
        for row in ("undistilled", "own steps", "SR distilled", "all distilled")
        for guidance in ("constant", "oscillating")
    ]
    steps = {cell.row: [link.sampling.steps for link in cell.links] for cell in cells}
    assert steps == {
        "undistilled": [256, 128, 128],
        "own steps": [2, 2, 2],
        "SR distilled": [256, 8, 8],
        "all distilled": [8, 8, 8],
    }
    constant, oscillating = cells[0].links[0].sampling, cells[1].links[0].sampling
    assert (constant.guidance, constant.guidance_weight) == ("constant", 6.0)
    assert (oscillating.guidance_weight, oscillating.guidance_low) == (15.0, 1.0)
    assert all(cell.links[0].sampling.guidance == cell.guidance for cell in cells)
    assert [link.owner for link in cells[4].links] == ["teacher", "student", "student"]
    assert [link.stage.name for link in cells[0].until("tsr1")] == ["base", "tsr1"]


def test_oscillating_guidance_can_be_left_out(teacher: Bundle, student: Bundle) -> None:
    both = cells_of(teacher, student, Settings())
    alone = cells_of(teacher, student, Settings(oscillating_weights=None))
    assert alone == both[::2]
    assert {cell.guidance for cell in alone} == {"constant"}


def test_steps_without_guidance_count_one_pass(teacher: Bundle, student: Bundle) -> None:
    slow = cells_of(teacher, student, Settings())[0].links[0]
    ended = dataclasses.replace(
        slow, sampling=dataclasses.replace(slow.sampling, guidance_stop=0.25)
    )
    assert slow.passes == 2 * 256
    assert ended.passes == 2 * 192 + 64
    assert ended.flops / slow.flops == ended.passes / slow.passes


def test_step_counts_imply_64_32_and_16_times_fewer_flops(teacher: Bundle, student: Bundle) -> None:
    """256 guided base steps, 128 guided and 128 unguided SR steps, all to 8."""
    cells = cells_of(teacher, student, Settings())
    pairs = zip(cells[0].links, cells[-1].links, strict=True)
    savings = [saving(slow, fast) for slow, fast in pairs]
    assert [found.implied for found in savings] == [64, 32, 16]
    for found in savings:  # the embedding of w and the output that it multiplies are on top
        clip = TEACHERS.stage(found.stage).output
        one, other = (
            flops(cell.until(found.stage)[-1].stage.unet, 1, clip.frames, clip.height, clip.width)
            for cell in (cells[0], cells[-1])
        )
        assert 1 <= other / one < 1.3  # much of tiny networks, a percent of real ones
        counted = found.implied * one / other
        assert found.flops / found.student_flops == pytest.approx(counted, rel=1e-9)
    clip = TEACHERS.stage("base").output
    once = flops(TEACHERS.stage("base").unet, 2, clip.frames, clip.height, clip.width)
    assert savings[0].flops == 256 * once
    assert savings[0].to_json()["implied"] == 64


def test_a_chain_is_known_by_everything_that_its_result_depends_on(
    teacher: Bundle, student: Bundle
) -> None:
    cells = cells_of(teacher, student, Settings())
    slow, sr = cells[0].links, cells[4].links
    assert chain_key(slow[:1], seed=1) == chain_key(sr[:1], seed=1)  # one base for both rows
    assert chain_key(slow[:2], seed=1) != chain_key(sr[:2], seed=1)
    assert chain_key(slow[:1], seed=1) != chain_key(slow[:1], seed=2)
    assert chain_key(cells[1].links[:1], seed=1) != chain_key(slow[:1], seed=1)


def test_settings_reach_the_teachers_only(teacher: Bundle, student: Bundle) -> None:
    settings = Settings(
        base_steps=10, sr_steps=5, sampler="ddim", sr_weight=3.0, own_steps=False, constant_weight=2
    )
    cells = cells_of(teacher, student, settings)
    assert [cell.row for cell in cells[::2]] == ["undistilled", "SR distilled", "all distilled"]
    slow, fast = cells[0].links, cells[-2].links
    assert [link.sampling.steps for link in slow] == [10, 5, 5]
    assert {link.sampling.sampler for link in slow} == {"ddim"}
    assert [link.sampling.guidance_weight for link in slow] == [2, 3.0, 3.0]
    assert [link.sampling.guidance_weight for link in fast] == [2, 2.0, 0.0]


def test_bundles_that_do_not_belong_together_are_refused(
    teacher: Bundle, student: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"guidance_weight: got 16.*0 to 15"):
        cells_of(teacher, student, Settings(constant_weight=16))
    with pytest.raises(InputError, match="no distilled stage"):
        cells_of(teacher, teacher, Settings())
    shorter = dataclasses.replace(SPEC, stages=SPEC.stages[:2])
    with pytest.raises(InputError, match=r"stages \['base', 'tsr1'\]"):
        cells_of(teacher, save(tmp_path / "short", shorter), Settings())
    empty = save_bundle(tmp_path / "empty", students(WEIGHTED, None, None), {})
    with pytest.raises(BundleError, match="no weights of stage 'base'"):
        cells_of(write_bundle(tmp_path / "t"), empty, Settings())


def test_a_student_of_the_base_alone_has_no_row_of_distilled_sr(
    teacher: Bundle, tmp_path: Path
) -> None:
    made = save(tmp_path / "base", students(WEIGHTED, None, None))
    rows = [cell.row for cell in cells_of(teacher, made, Settings(own_steps=False))]
    assert rows == ["undistilled"] * 2 + ["all distilled"] * 2


def test_one_timed_call_tells_the_seconds_of_a_clip(teacher: Bundle, student: Bundle) -> None:
    cells = cells_of(teacher, student, Settings())
    seen: list[torch.Size] = []
    link = cells[0].links[1]
    network = awake(link.stage.unet)
    network.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    assert seconds_from_one_call(link, network, bf16=False) > 0
    assert {tuple(shape) for shape in seen} == {(2, 4, 3, 4, 6)}
    weighted = cells[-1].links[1]
    assert seconds_from_one_call(weighted, awake(weighted.stage.unet), bf16=True) > 0
