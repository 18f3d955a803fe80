from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from imagen_video.cascade.spec import StageSpec
from imagen_video.data.batches.batch import Batch
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


def packed(stage: str, rows: int = 4, images: int = 2) -> Batch:
    """The first rows are images in the place of frames, the others are clips."""
    out = SPEC.stage(stage).output
    video = random_video(rows, out.frames, 3, out.height, out.width)
    captions = tuple(tuple(f"r{row} f{f}" for f in range(out.frames)) for row in range(rows))
    return Batch(video=video, captions=captions, is_image=torch.arange(rows) < images)


STAGES = ["base", "tsr1", "ssr1"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_packed_image_has_its_own_noise_level_and_a_clip_has_one(stage: str) -> None:
    batch = packed(stage)
    network = awake(SPEC.stage(stage).unet)
    _, _, logsnr, conditions = objective_of(stage).predict(network, batch, generator())
    assert [len(set(row.tolist())) for row in logsnr] == [logsnr.shape[1]] * 2 + [1, 1]
    if stage != "base":
        level = conditions.low_res_logsnr
        assert level is not None
        assert [len(set(row.tolist())) for row in level] == [logsnr.shape[1]] * 2 + [1, 1]
    if conditions.given_mask is not None:
        assert not conditions.given_mask[:2].any()


@pytest.mark.parametrize("stage", STAGES)
def test_a_packed_image_is_trained_on_itself_alone(stage: str) -> None:
    """Changing one image of a sequence changes the error of no other: also in temporal stages."""
    batch = packed(stage)
    network = awake(SPEC.stage(stage).unet)
    objective = objective_of(stage, text_dropout=0.0)
    changed = batch.video.clone()
    changed[0, 2] = -changed[0, 2]
    errors = []
    for video in (batch.video, changed):
        v_hat, v, *_ = objective.predict(
            network, dataclasses.replace(batch, video=video), generator()
        )
        errors.append((v_hat - v).square().mean(dim=(2, 3, 4)))
    moved = (errors[0] - errors[1]).abs() > 1e-6
    assert moved[0].tolist() == [f == 2 for f in range(moved.shape[1])]
    assert not moved[1:].any()


def test_a_temporal_stage_sees_every_packed_image_as_its_own_low_res_frame() -> None:
    batch = packed("tsr1")
    objective = objective_of("tsr1")
    network = awake(SPEC.stage("tsr1").unet)
    # hardly any noise on the low-res video: what is left is the video itself
    stage = dataclasses.replace(objective.stage, augmentation_max_t=1e-9)
    objective = dataclasses.replace(objective, stage=stage)
    _, _, _, conditions = objective.predict(network, batch, generator())
    assert conditions.low_res is not None
    assert torch.allclose(conditions.low_res[:2], batch.video[:2], atol=1e-3)
    assert torch.allclose(conditions.low_res[2:, ::2], batch.video[2:, ::2], atol=1e-3)
    assert torch.allclose(conditions.low_res[2:, 1::2], batch.video[2:, ::2], atol=1e-3)


@pytest.mark.parametrize("stage", STAGES)
def test_rows_count_alike_whether_they_are_clips_or_packed_images(stage: str) -> None:
    batch, network = packed(stage), awake(SPEC.stage(stage).unet)
    objective = objective_of(stage)
    predicted = objective.predict(network, batch, generator())
    errors = objective.row_errors(*predicted)
    assert errors.shape == (4,)
    assert objective.error(*predicted).item() == pytest.approx(errors.mean().item())


@pytest.mark.parametrize("kind", ["clips", "packed"])
@pytest.mark.parametrize("stage", STAGES)
def test_the_loss_of_a_batch_is_the_mean_over_its_parts(stage: str, kind: str) -> None:
    batch = packed(stage) if kind == "packed" else clips(stage)
    network = awake(SPEC.stage(stage).unet)
    parts = [loss_of(stage, batch.rows(range(i, i + 1)), network) for i in range(len(batch))]
    # a batch of one and a batch of four are summed in another order
    assert torch.stack(parts).mean().item() == pytest.approx(
        loss_of(stage, batch, network).item(), rel=1e-5
    )


def labelled(**changes: Any) -> tuple[StageSpec, Batch]:
    """A stage that takes every condition there is, and a batch that has them all."""
    base = SPEC.stage("base")
    unet = dataclasses.replace(base.unet, num_classes=7, vector_width=2, frame_rate=True)
    values = {
        "class_id": torch.tensor([1, 5]),
        "vector": torch.tensor([[0.5, 2.0], [1.0, -1.0]]),
        "frame_rate": torch.tensor([6.0, 12.0]),
        **changes,
    }
    return dataclasses.replace(base, unet=unet), dataclasses.replace(clips("base"), **values)


@pytest.mark.parametrize(
    "change",
    [
        {"captions": ("a", "c")},
        {"class_id": torch.tensor([1, 4])},
        {"vector": torch.tensor([[0.5, 2.0], [1.0, -2.0]])},
        {"frame_rate": torch.tensor([6.0, 24.0])},
        {"is_image": torch.tensor([False, True])},
    ],
)
def test_the_loss_feels_every_condition(change: dict[str, Any]) -> None:
    """A condition of the right shape that reaches nothing would train a deaf network."""
    stage, batch = labelled()
    network = awake(stage.unet)
    objective = dataclasses.replace(objective_of("base", text_dropout=0.0), stage=stage)
    here, there = (
        objective(network, dataclasses.replace(batch, **changes), generator())
        for changes in ({}, change)
    )
    assert here != there


@pytest.mark.parametrize("name", ["captions", "class_id", "vector"])
def test_dropped_labels_leave_no_trace_in_the_loss(name: str) -> None:
    stage, batch = labelled()
    _, other = labelled(
        captions=("x", "y"), class_id=torch.tensor([0, 0]), vector=torch.zeros(2, 2)
    )
    network = awake(stage.unet)
    objective = dataclasses.replace(objective_of("base", text_dropout=1.0), stage=stage)
    changed = dataclasses.replace(batch, **{name: getattr(other, name)})
    assert objective(network, batch, generator()) == objective(network, changed, generator())
