from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from imagen_video.data.batch import Batch
from imagen_video.models.conditions import Conditions
from unit.cascade.small_cascades import awake, random_video
from unit.training.small_runs import SPEC, ColourClips, objective_of

SEED = 5


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def loss_of(stage: str, batch: Batch, network: nn.Module | None = None, **changes: float) -> Tensor:
    network = network or awake(SPEC.stage(stage).unet)
    return objective_of(stage, **changes)(network, batch, generator())


def clips(stage: str) -> Batch:
    out = SPEC.stage(stage).output
    return Batch(video=random_video(2, out.frames, 3, out.height, out.width), captions=("a", "b"))


@pytest.mark.parametrize("stage", ["base", "tsr1", "ssr1"])
def test_the_loss_is_a_finite_number_with_a_gradient_for_clips_and_images(stage: str) -> None:
    network = awake(SPEC.stage(stage).unet)
    batch = clips(stage)
    for video in (batch.video, batch.video[:, :1]):
        network.zero_grad()
        loss = loss_of(stage, Batch(video=video, captions=batch.captions), network)
        loss.backward()
        assert loss.isfinite()
        assert network.input.weight.grad is not None
        assert network.input.weight.grad.any()


def test_a_network_that_knows_v_has_no_loss() -> None:
    class Oracle(nn.Module):
        def forward(self, z: Tensor, logsnr: Tensor, conditions: Conditions) -> Tensor:
            alpha, sigma = (
                s.sigmoid().sqrt()[:, None, None, None, None] for s in (logsnr, -logsnr)
            )
            return (alpha * (z - alpha * x) / sigma.clamp(min=1e-4) - sigma * x).clamp(-50, 50)

    x = ColourClips().batch(0).video
    batch = Batch(video=x, captions=("a",) * len(x))
    # near t = 0 eps cannot be read from z in float32: that is the tolerance
    assert loss_of("base", batch, Oracle()) < 1e-2


def test_without_text_the_loss_does_not_depend_on_the_captions() -> None:
    batch = clips("base")
    other = dataclasses.replace(batch, captions=("something", "else entirely"))
    assert torch.equal(
        loss_of("base", batch, text_dropout=1.0), loss_of("base", other, text_dropout=1.0)
    )
    assert not torch.equal(
        loss_of("base", batch, text_dropout=0.0), loss_of("base", other, text_dropout=0.0)
    )


def test_given_frames_do_not_count_in_the_loss() -> None:
    """An error at given frames alone leaves the loss as it is; one elsewhere does not."""
    batch = clips("base")
    network = awake(SPEC.stage("base").unet)

    class Off(nn.Module):
        def __init__(self, at_given: bool) -> None:
            super().__init__()
            self.at_given, self.hit = at_given, 0

        def forward(self, z: Tensor, logsnr: Tensor, conditions: Conditions) -> Tensor:
            assert conditions.given_mask is not None
            self.hit = int(conditions.given_mask.sum())
            wrong = conditions.given_mask == self.at_given
            return network(z, logsnr, conditions) + 9.0 * wrong[:, :, None, None, None]

    objective = objective_of("base")
    for seed in range(20):
        plain = objective(network, batch, torch.Generator().manual_seed(seed))
        at_given = Off(True)
        same = objective(at_given, batch, torch.Generator().manual_seed(seed))
        if at_given.hit:
            assert torch.equal(same, plain)
            assert objective(Off(False), batch, torch.Generator().manual_seed(seed)) > plain + 1
            return
    raise AssertionError("no frame was given in 20 draws")


def test_the_loss_depends_on_the_generator_alone() -> None:
    batch = clips("ssr1")
    assert torch.equal(loss_of("ssr1", batch), loss_of("ssr1", batch))


@pytest.mark.parametrize("stage", ["base", "ssr1"])
def test_gradient_checkpointing_gives_the_same_loss_and_gradient(stage: str) -> None:
    batch, gradients, losses = clips(stage), [], []
    for recompute in (False, True):
        network = awake(SPEC.stage(stage).unet).train()
        network.gradient_checkpointing = recompute
        loss = loss_of(stage, batch, network)
        loss.backward()
        losses.append(loss.item())
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
    assert losses[0] == losses[1]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
