"""The loss per noise level moves when the network does, and for no other reason."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from imagen_video.data.batches.batch import Batch
from imagen_video.diffusion.schedule import logsnr_from_t
from imagen_video.models.conditions import Conditions
from imagen_video.training.processes import Processes
from imagen_video.training.validation import BINS, LossByNoise, Validation, named
from unit.cascade.small_cascades import awake
from unit.training.small_runs import (
    SPEC,
    ColourClips,
    config_of,
    objective_of,
    run,
)


def validation(stage: str = "base", **changes: Any) -> Validation:
    sizes = {"base": (4, 4, 6), "tsr1": (4, 4, 6), "ssr1": (8, 4, 8)}[stage]
    return Validation(
        objective=objective_of(stage, text_dropout=0.9), batches=ColourClips(sizes=sizes), **changes
    )


@pytest.mark.parametrize("stage", ["base", "tsr1", "ssr1"])
def test_the_same_network_has_the_same_loss_to_the_last_bit(stage: str) -> None:
    network, measure = awake(SPEC.stage(stage).unet), validation(stage)
    torch.manual_seed(1)
    first = measure(network, Processes())
    torch.manual_seed(2)
    assert measure(network, Processes()) == first
    assert measure(awake(SPEC.stage(stage).unet, seed=5), Processes()) != first
    assert first["validation"] == pytest.approx(
        sum(first[name] for name in named("validation", [0.0] * BINS)) / BINS
    )


def test_every_clip_is_seen_at_the_middle_of_every_bin_with_its_labels() -> None:
    """Also with dropout in training: a curve of the unconditional loss would say nothing."""
    seen: list[Tensor] = []

    class Listening(nn.Module):
        def forward(self, z: Tensor, logsnr: Tensor, conditions: Conditions) -> Tensor:
            seen.append(logsnr)
            assert conditions.text_mask is not None
            assert conditions.text_mask.any(dim=1).all()
            return torch.zeros_like(z)

    validation()(Listening(), Processes())
    middles = (torch.arange(BINS) + 0.5) / BINS
    wanted = logsnr_from_t(middles)[:, None].expand(-1, 4).repeat(2, 1)
    assert torch.equal(torch.stack(seen), wanted)


def test_it_is_a_mean_over_all_rows_of_all_batches() -> None:
    network = awake(SPEC.stage("base").unet)
    one, two = (
        dataclasses.replace(validation(), batches=ColourClips(batch_size=rows))(
            network, Processes()
        )
        for rows in (1, 2)
    )
    assert one != two
    assert all(0 < value < 100 for value in two.values())


def test_held_out_clips_are_made_once() -> None:
    made = []

    class Counting(ColourClips):
        def batch(self, step: int) -> Batch:
            made.append(step)
            return super().batch(step)

    measure = dataclasses.replace(validation(), batches=Counting(), num_batches=3)
    for _ in range(2):
        measure(awake(SPEC.stage("base").unet), Processes())
    assert made == [0, 1, 2]


def test_a_run_writes_its_validation_loss_per_noise_level(tmp_path: Path) -> None:
    losses = LossByNoise()
    run(
        tmp_path,
        config_of(steps=6, validate_every=2, log_every=3),
        objective=objective_of(record=losses.add),
        validation=validation(),
        loss_by_noise=losses,
    )
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    measured = [line for line in lines if "validation" in line]
    assert [line["step"] for line in measured] == [2, 4, 6]
    assert all(set(named("validation", [0.0] * BINS)) < set(line) for line in measured)
    assert len({line["validation"] for line in measured}) == 3
    trained = [line for line in lines if "validation" not in line]
    assert all("loss_by_t/0.94" in line for line in trained)


def test_training_losses_are_sorted_by_noise_level() -> None:
    losses = LossByNoise()
    times = torch.tensor([0.01, 0.1, 0.5, 0.99, 1.0])
    losses.add(logsnr_from_t(times[:3]), torch.tensor([1.0, 3.0, 5.0]))
    losses.add(logsnr_from_t(times[3:]), torch.tensor([7.0, 9.0]))
    assert losses.take() == {"loss_by_t/0.06": 2.0, "loss_by_t/0.56": 5.0, "loss_by_t/0.94": 8.0}
    assert losses.take() == {}
