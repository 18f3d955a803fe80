from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from imagen_video.cascade.resample import enlarge_to
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import Clip
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.cascade.tiling import tile_plan
from imagen_video.errors import InputError
from imagen_video.models.unet import VideoUNet
from unit.cascade.small_cascades import WordEncoder, awake, random_video, small_cascade

SPEC = small_cascade()
BASE, SSR = SPEC.stage("base"), SPEC.stage("ssr1")
ENCODER = WordEncoder()
PLAIN = SamplingSpec(sampler="ddim", steps=3, threshold="static")
GUIDED = dataclasses.replace(PLAIN, guidance_weight=2.0)


def base(
    seeds: list[int], prompts: list[str], sampling: SamplingSpec = GUIDED, **changes: Any
) -> Tensor:
    network = changes.pop("network", None) or awake(BASE.unet)
    request = StageInput(seeds=seeds, clip=BASE.output, text=ENCODER.encode(prompts), **changes)
    return sample_stage(BASE, network, request, sampling)


def calls_of(network: nn.Module) -> list[Any]:
    seen: list[Any] = []
    # z is updated in place: keep it as it was
    network.register_forward_pre_hook(lambda _, args: seen.append((args[0].clone(), *args[1:])))
    return seen


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "few_step"])
def test_there_is_one_network_call_a_step(sampler: str) -> None:
    network = awake(BASE.unet)
    seen = calls_of(network)
    base([1], ["a cat"], dataclasses.replace(PLAIN, sampler=sampler, steps=5), network=network)
    assert [args[0].shape[0] for args in seen] == [1] * 5


def test_guidance_is_one_call_of_twice_the_batch_with_the_null_text_last() -> None:
    network = awake(BASE.unet)
    seen = calls_of(network)
    base([1, 2], ["a cat", "two dogs run"], network=network)
    assert [args[0].shape[0] for args in seen] == [4] * 3
    assert seen[0][2].text_mask.any(dim=1).tolist() == [True, True, False, False]


def test_guidance_weight_zero_is_the_conditional_result_bit_for_bit() -> None:
    network = awake(BASE.unet)
    seen = calls_of(network)
    off = base([1], ["a cat"], dataclasses.replace(GUIDED, guidance_weight=0.0), network=network)
    assert torch.equal(off, base([1], ["a cat"], PLAIN))
    assert all(args[0].shape[0] == 1 for args in seen)
    assert not torch.allclose(off, base([1], ["a cat"], GUIDED), atol=1e-2)


@pytest.mark.parametrize(
    ("stop", "rows"), [(0.0, [2, 2, 2, 2]), (0.5, [2, 2, 1, 1]), (1.0, [1] * 4)]
)
def test_guidance_ends_where_t_has_come_down_to_its_stop(stop: float, rows: list[int]) -> None:
    network = awake(BASE.unet)
    seen = calls_of(network)
    base([1], ["a cat"], dataclasses.replace(GUIDED, steps=4, guidance_stop=stop), network=network)
    assert [args[0].shape[0] for args in seen] == rows


def test_guidance_that_has_ended_leaves_no_trace() -> None:
    ended = dataclasses.replace(GUIDED, guidance_stop=1.0)
    assert torch.equal(base([1], ["a cat"], ended), base([1], ["a cat"], PLAIN))


def test_a_sample_alone_equals_the_same_sample_in_a_batch() -> None:
    ancestral = dataclasses.replace(GUIDED, sampler="ancestral")
    prompts = ["a cat", "two dogs run far away", "one"]
    alone = base([11], [prompts[1]], ancestral)
    batch = base([3, 11, 5], prompts, ancestral)
    assert torch.allclose(alone[0], batch[1], atol=1e-5)
    assert not torch.allclose(batch[0], batch[1], atol=1e-2)


def test_the_first_noise_of_a_sample_is_bit_equal_in_any_batch() -> None:
    network = awake(BASE.unet)
    seen = calls_of(network)
    base([11], ["a cat"], PLAIN, network=network)
    base([3, 11], ["a cat", "a cat"], PLAIN, network=network)
    assert torch.equal(seen[0][0][0], seen[3][0][1])


def test_another_seed_or_prompt_gives_another_video() -> None:
    video = base([1], ["a cat"])
    assert not torch.allclose(video, base([2], ["a cat"]), atol=1e-2)
    assert not torch.allclose(video, base([1], ["a dog"]), atol=1e-3)
    assert torch.equal(video, base([1], ["a cat"]))


def test_a_negative_prompt_changes_the_result_and_equals_the_prompt_at_no_cost() -> None:
    video = base([1], ["a cat"])
    pushed = base([1], ["a cat"], negative=ENCODER.encode(["blurry grey fog"]))
    assert not torch.allclose(video, pushed, atol=1e-3)
    # cond + w (cond - cond): pushing away from the prompt itself is no push
    itself = base([1], ["a cat"], negative=ENCODER.encode(["a cat"]))
    assert torch.allclose(itself, base([1], ["a cat"], PLAIN), atol=1e-5)


def test_given_frames_reach_the_network_and_stay_in_the_video() -> None:
    network = awake(BASE.unet)
    seen = calls_of(network)
    given = torch.zeros(1, 4, 3, 4, 6)
    given[:, 0] = random_video(1, 3, 4, 6)
    mask = torch.tensor([[True, False, False, False]])
    video = base([1], ["a cat"], given_frames=given, given_mask=mask, network=network)
    told = seen[0][2]
    assert torch.equal(told.given_frames, torch.cat([given, given]))
    assert torch.equal(told.given_mask, torch.cat([mask, mask]))
    assert torch.equal(video[:, 0], given[:, 0])
    assert not torch.allclose(video[:, 1:], base([1], ["a cat"])[:, 1:], atol=1e-3)


def test_an_untrained_upscaler_with_ddim_gives_about_the_bilinear_enlargement() -> None:
    """Its prior is the enlargement plus detail of std `residual_std`, which DDIM draws from."""
    std = 0.03
    stage = dataclasses.replace(SSR, unet=dataclasses.replace(SSR.unet, residual_std=std))
    clip = Clip(frames=2, height=16, width=24)
    smooth = torch.linspace(-0.8, 0.8, 12).expand(1, 2, 3, 8, 12).contiguous()
    sampling = SamplingSpec(sampler="ddim", steps=8, threshold="static", augmentation_logsnr=12)
    request = StageInput(seeds=[1], clip=clip, low_res=smooth, text=ENCODER.encode(["a"]))
    video = sample_stage(stage, VideoUNet(stage.unet).eval(), request, sampling)
    wanted = enlarge_to(smooth, 2, 16, 24)
    assert (video - wanted).square().mean().sqrt() < 1.1 * std


@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
def test_temperature_scales_the_noise_of_the_sampler_and_not_that_of_the_input(
    sampler: str,
) -> None:
    network = awake(SSR.unet)
    request = StageInput(
        seeds=[1, 2],
        clip=Clip(frames=2, height=16, width=24),
        low_res=random_video(1, 2, 3, 8, 12).expand(2, -1, -1, -1, -1),
        text=ENCODER.encode(["a", "a"]),
    )

    def made(temperature: float, logsnr: float) -> tuple[Tensor, Tensor]:
        """Return the first z and the video."""
        seen = calls_of(network)
        sampling = dataclasses.replace(
            PLAIN, sampler=sampler, temperature=temperature, augmentation_logsnr=logsnr
        )
        video = sample_stage(SSR, network, request, sampling)
        return seen[0][0], video

    start, cold = made(0.0, 20.0)
    assert start.abs().max() == 0
    assert torch.allclose(cold[0], cold[1], atol=1e-2)  # though their seeds differ
    (half, warm), (whole, _) = made(0.5, 20.0), made(1.0, 20.0)
    assert torch.allclose(2 * half, whole)
    assert not torch.allclose(warm[0], warm[1], atol=1e-2)
    _, noisy = made(0.0, 0.0)
    assert not torch.allclose(noisy[0], noisy[1], atol=1e-2)


def test_progress_counts_to_the_end_and_frames_arrive_in_order() -> None:
    clip = Clip(frames=8, height=16, width=24)
    request = StageInput(
        seeds=[1], clip=clip, low_res=random_video(1, 8, 3, 8, 12), text=ENCODER.encode(["a"])
    )
    steps: list[tuple[int, int]] = []
    parts: list[tuple[int, Tensor]] = []
    plan = tile_plan(SSR.unet, clip, 3, 8, 12)
    video = sample_stage(
        SSR,
        awake(SSR.unet),
        request,
        PLAIN,
        tiles=plan,
        on_step=lambda done, total: steps.append((done, total)),
        on_frames=lambda first, made: parts.append((first, made.clone())),
    )
    total = 3 * len(plan)
    assert steps == [(i + 1, total) for i in range(total)]
    assert [first for first, _ in parts] == [0, 3, 6]
    assert torch.equal(torch.cat([made for _, made in parts], dim=1), video)


def test_a_stage_without_its_input_says_so() -> None:
    request = StageInput(seeds=[1], clip=SSR.output, text=ENCODER.encode(["a"]))
    with pytest.raises(InputError, match="low-resolution"):
        sample_stage(SSR, awake(SSR.unet), request)


def test_bf16_stays_near_the_full_precision_result() -> None:
    request = StageInput(seeds=[1], clip=BASE.output, text=ENCODER.encode(["a cat"]))
    network = awake(BASE.unet)
    exact = sample_stage(BASE, network, request, PLAIN)
    half = sample_stage(BASE, network, request, PLAIN, bf16=True)
    assert half.dtype == torch.float32
    assert 0 < (exact - half).abs().mean() < 0.05
