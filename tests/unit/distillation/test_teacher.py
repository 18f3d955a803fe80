from __future__ import annotations

import torch

from imagen_video.diffusion.schedule import logsnr_from_t
from imagen_video.distillation.teacher import Teacher
from imagen_video.models.conditions import Conditions
from unit.cascade.small_cascades import WordEncoder, awake, random_video
from unit.distillation.small_distillations import SPEC

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


def test_what_is_taught_ends_where_guidance_does() -> None:
    network = awake(BASE.unet)
    logsnr = logsnr_from_t(torch.tensor([0.31, 0.29]))
    whole = Teacher.of(network, "guided")(Z, logsnr, CONDITIONS, WEIGHTS)
    ended = Teacher.of(network, "guided", 0.3)(Z, logsnr, CONDITIONS, WEIGHTS)
    frames = logsnr[:, None].expand(-1, Z.shape[1])
    with torch.no_grad():
        conditional = network(Z, logsnr, CONDITIONS)
    assert torch.equal(ended[0], whole[0])
    torch.testing.assert_close(ended[1], conditional[1], atol=1e-5, rtol=0)
    assert not torch.allclose(ended[1], whole[1], atol=1e-3)
    by_frame = Teacher.of(network, "guided", 0.3)(Z, frames, CONDITIONS, WEIGHTS)
    torch.testing.assert_close(by_frame, ended, atol=1e-5, rtol=0)
