from __future__ import annotations

import pytest
import torch

from imagen_video.cascade.conditioning import condition_on, draw_given_frames, low_res_of
from imagen_video.cascade.resample import enlarge_to, reduce_to
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.diffusion.noise import video_noise
from imagen_video.errors import InputError
from imagen_video.models.conditions import Conditions
from unit.cascade.small_cascades import WordEncoder, awake, random_video, small_cascade

SPEC = small_cascade()


@pytest.mark.parametrize("name", ["tsr1", "ssr1"])
def test_the_low_res_video_is_the_target_of_the_stage_before(name: str) -> None:
    stage, source = SPEC.stage(name), SPEC.input_of(name)
    assert source is not None
    out = stage.output
    video = random_video(2, out.frames, 3, out.height, out.width)
    wanted = reduce_to(video, source.frames, source.height, source.width)
    assert torch.equal(low_res_of(video, source, out), wanted)


def test_crops_and_cuts_keep_the_ratios() -> None:
    source = SPEC.input_of("ssr1")
    assert source is not None
    low_res = low_res_of(random_video(1, 3, 3, 4, 8), source, SPEC.stage("ssr1").output)
    assert low_res.shape == (1, 3, 3, 2, 4)


def test_an_image_is_its_own_low_res_frame_in_a_temporal_stage() -> None:
    source = SPEC.input_of("tsr1")
    assert source is not None
    image = random_video(2, 1, 3, 4, 6)
    assert torch.equal(low_res_of(image, source, SPEC.stage("tsr1").output), image)


@pytest.mark.parametrize("frames", [3, 5])
def test_a_clip_that_the_factor_does_not_divide_is_refused(frames: int) -> None:
    source = SPEC.input_of("tsr1")
    assert source is not None
    with pytest.raises(InputError):
        low_res_of(random_video(1, frames, 3, 4, 6), source, SPEC.stage("tsr1").output)


def test_a_clean_level_gives_the_upsampled_video_and_the_noisiest_gives_the_noise() -> None:
    low_res, noise = random_video(2, 4, 3, 4, 6), torch.randn(2, 8, 3, 8, 12)
    for level, wanted in ((20.0, enlarge_to(low_res, 8, 8, 12)), (-20.0, noise)):
        made = condition_on(Conditions(), low_res, noise, torch.full((2,), level)).low_res
        assert made is not None
        assert torch.allclose(made, wanted, atol=1e-3)


@pytest.mark.parametrize("name", ["tsr1", "ssr1"])
def test_sampling_gives_the_network_the_tensors_that_training_gives(name: str) -> None:
    """The same input, noise and level make the same condition: there is one code path."""
    stage, source = SPEC.stage(name), SPEC.input_of(name)
    assert source is not None
    out = stage.output
    target = random_video(1, out.frames, 3, out.height, out.width)
    low_res = low_res_of(target, source, out)
    network, seen = awake(stage.unet), []
    network.register_forward_pre_hook(lambda _, args: seen.append(args[2]))
    level = 3.0
    sample_stage(
        stage,
        network,
        StageInput(seeds=[5], clip=out, low_res=low_res, text=WordEncoder().encode(["a cat"])),
        SamplingSpec(sampler="ddim", steps=1, threshold="static", augmentation_logsnr=level),
    )
    shape = (3, out.height, out.width)
    noise = video_noise([5], name, "augmentation", 0, range(out.frames), shape)
    trained = condition_on(
        Conditions(), low_res, noise, torch.tensor([level]), fill=stage.temporal_fill
    )
    assert trained.low_res is not None
    assert trained.low_res_logsnr is not None
    assert torch.equal(seen[0].low_res, trained.low_res)
    assert torch.equal(seen[0].low_res_logsnr, trained.low_res_logsnr)


def test_given_frames_are_none_in_half_of_the_clips_and_never_all() -> None:
    mask = draw_given_frames(4000, 6, torch.Generator().manual_seed(0))
    assert not mask.all(dim=1).any()
    assert mask.any(dim=1).float().mean() == pytest.approx(0.5, abs=0.06)
    first_only = mask[:, 0] & ~mask[:, 1:].any(dim=1)
    assert first_only.float().mean() > 0.15
