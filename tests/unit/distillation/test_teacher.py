from __future__ import annotations

import torch

from imagen_video.distillation.teacher import Teacher, student_of
from imagen_video.models.conditions import Conditions
from imagen_video.models.unet import VideoUNet
from unit.cascade.small_cascades import WordEncoder, awake, random_video
from unit.distillation.small_distillations import SPEC, with_weight

BASE = SPEC.stage("base")
Z = random_video(2, 4, 3, 4, 6)
LOGSNR = torch.tensor([-3.0, 2.0])
TEXT = WordEncoder().encode(["a cat", "two dogs run"])
CONDITIONS = Conditions(text_states=TEXT.states, text_mask=TEXT.mask)
WEIGHTS = torch.tensor([3.0, 0.5])


def test_a_guided_teacher_answers_with_guidance_in_one_call_of_twice_the_batch() -> None:
    network = awake(BASE.unet)
    seen: list[int] = []
    network.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    v = Teacher.of(network, "guided")(Z, LOGSNR, CONDITIONS, WEIGHTS)
    assert seen == [4]
    with torch.no_grad():
        cond = network(Z, LOGSNR, CONDITIONS)
        uncond = network(Z, LOGSNR, CONDITIONS.drop(torch.ones(2, dtype=torch.bool)))
    w = WEIGHTS[:, None, None, None, None]
    assert torch.allclose(v, (1 + w) * cond - w * uncond, atol=1e-5)
    assert not torch.allclose(cond, uncond, atol=1e-3)


def test_a_teacher_answers_in_full_precision_under_autocast_and_without_gradients() -> None:
    network = awake(BASE.unet)
    teacher = Teacher.of(network, "guided")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        v = teacher(Z, LOGSNR, CONDITIONS, WEIGHTS)
    assert v.dtype == torch.float32
    assert not v.requires_grad
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_student_with_a_new_input_begins_as_the_conditional_teacher_bit_for_bit() -> None:
    teacher = awake(BASE.unet)
    student = student_of(teacher, with_weight(BASE), seed=1)
    with torch.no_grad():
        expected = teacher(Z, LOGSNR, CONDITIONS)
        for weight in (0.0, 1.0, 15.0):
            told = CONDITIONS.replace(guidance_weight=torch.full((2,), weight))
            assert torch.equal(student(Z, LOGSNR, told), expected)
    assert student.embedding.guidance_weight is not None
    last = student.embedding.guidance_weight.mlp[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.normal_(generator=torch.Generator().manual_seed(0))
        told = CONDITIONS.replace(guidance_weight=torch.full((2,), 4.0))
        assert not torch.allclose(student(Z, LOGSNR, told), expected, atol=1e-4)


def test_a_student_of_the_same_spec_is_a_copy() -> None:
    teacher = awake(with_weight(BASE))
    student = student_of(teacher, teacher.spec, seed=1)
    ours, theirs = student.state_dict(), teacher.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_making_a_student_leaves_the_global_random_numbers_alone() -> None:
    teacher = VideoUNet(BASE.unet)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    student_of(teacher, with_weight(BASE), seed=1)
    assert torch.equal(torch.rand(3), expected)
