from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from imagen_video.data.batches.batch import Batch
from imagen_video.errors import InputError
from imagen_video.training.checkpoint import newest_checkpoint
from unit.training.small_runs import (
    ColourClips,
    assert_equal,
    config_of,
    network_of,
    objective_of,
    run,
    weights,
)


def test_an_interrupted_and_resumed_run_ends_bit_equal(tmp_path: Path) -> None:
    whole = network_of()
    average = weights(run(tmp_path / "whole", config_of(), network=whole))

    class Interrupting(ColourClips):
        def batch(self, step: int) -> Batch:
            if step == 5:
                os.kill(os.getpid(), signal.SIGINT)
            return super().batch(step)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", config_of(), batches=Interrupting())
    found = newest_checkpoint(tmp_path / "cut")
    assert found is not None
    assert found.step == 6  # the update that was under way is whole
    resumed = network_of(seed=99)
    assert_equal(weights(run(tmp_path / "cut", config_of(), network=resumed)), average)
    assert_equal(weights(resumed), weights(whole))


def test_a_run_that_is_done_is_left_as_it_is(tmp_path: Path) -> None:
    first = weights(run(tmp_path, config_of(steps=3)))
    assert_equal(weights(run(tmp_path, config_of(steps=3), network=network_of(seed=5))), first)


def test_a_run_stops_after_its_time(tmp_path: Path) -> None:
    run(tmp_path, config_of(steps=1000, max_minutes=0.0))
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1


def test_the_loss_falls_on_a_small_problem(tmp_path: Path) -> None:
    run(tmp_path, config_of(steps=120, learning_rate=1e-2, log_every=30, text_dropout=0.0))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [line["loss_clips"] for line in lines]
    assert [line["step"] for line in lines] == [30, 60, 90, 120]
    assert losses[-1] < 0.6 * losses[0]
    assert all(line["peak_rss_bytes"] > 10**8 for line in lines)


def test_a_loss_that_is_not_a_number_stops_the_run_before_the_update(tmp_path: Path) -> None:
    network, calls = network_of(), []

    def broken(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        calls.append(weights(network))
        loss = objective_of()(network, batch, generator)
        return loss * float("nan") if len(calls) == 3 else loss

    with pytest.raises(InputError, match=r"step 2.*lower learning rate"):
        run(tmp_path, config_of(), network=network, objective=broken)
    assert_equal(weights(network), calls[-1])


def test_samples_are_drawn_from_the_average_at_the_end(tmp_path: Path) -> None:
    drawn: list[Any] = []
    average = run(
        tmp_path,
        config_of(steps=2, sample_minutes=60.0),
        on_sample=lambda network, step: drawn.append((network, step)),
    )
    assert drawn == [(average, 2)]


def test_sampling_and_its_failure_leave_the_trained_weights_alone(tmp_path: Path) -> None:
    undisturbed: list[dict[str, torch.Tensor]] = []

    def watched(network: nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        undisturbed.append(weights(network))
        return objective_of()(network, batch, generator)

    run(tmp_path / "undisturbed", config_of(), objective=watched)
    network, drawn = network_of(), []

    def draw(averaged: nn.Module, step: int) -> None:
        drawn.append(weights(averaged))
        if step == 5:
            raise MemoryError

    with pytest.raises(MemoryError):
        run(
            tmp_path / "sampled",
            config_of(sample_minutes=1e-9),
            network=network,
            on_sample=draw,
        )
    assert len(drawn) == 5
    assert_equal(weights(network), undisturbed[5])
    assert any(not torch.equal(drawn[-1][name], undisturbed[5][name]) for name in drawn[-1])


def test_bf16_trains_with_fp32_weights_near_the_fp32_run(tmp_path: Path) -> None:
    half = weights(run(tmp_path / "bf16", config_of(steps=3, precision="bf16")))
    full = weights(run(tmp_path / "fp32", config_of(steps=3)))
    assert all(tensor.dtype == torch.float32 for tensor in half.values())
    assert any(not torch.equal(half[k], full[k]) for k in full)
    assert all(torch.allclose(half[k], full[k], atol=5e-3) for k in full)


def test_signals_go_where_they_went_before(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    run(tmp_path, config_of(steps=1))
    assert signal.getsignal(signal.SIGINT) is before


def test_the_average_is_resumed_and_not_started_anew_at_the_weights(tmp_path: Path) -> None:
    changes = {"ema_decay": 0.9, "learning_rate": 1e-2}
    run(tmp_path / "cut", config_of(steps=4, **changes))
    found = newest_checkpoint(tmp_path / "cut")
    assert found is not None
    assert any(not torch.equal(found.ema[name], found.network[name]) for name in found.ema)
    seen: list[Any] = []
    run(
        tmp_path / "cut",
        config_of(steps=4, sample_minutes=60.0, **changes),
        network=network_of(seed=3),
        on_sample=lambda network, step: seen.append(weights(network)),
    )
    assert_equal(seen[0], found.ema)


def test_a_run_that_is_done_writes_no_checkpoint_again(tmp_path: Path) -> None:
    run(tmp_path, config_of(steps=2))
    file = tmp_path / "checkpoints" / "step-00000002" / "state.json"
    before = file.stat().st_mtime_ns
    run(tmp_path, config_of(steps=2))
    assert file.stat().st_mtime_ns == before


def test_an_objective_that_draws_from_global_generators_resumes_exactly(tmp_path: Path) -> None:
    def objective(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        return objective_of()(network, batch, generator) * (1 + torch.rand(()))

    changes: dict[str, Any] = {"cooldown_fraction": 0.0}
    whole = network_of()
    run(tmp_path / "whole", config_of(steps=6, **changes), network=whole, objective=objective)
    run(tmp_path / "cut", config_of(steps=3, **changes), objective=objective)
    torch.rand(17)
    resumed = network_of(seed=8)
    run(tmp_path / "cut", config_of(steps=6, **changes), network=resumed, objective=objective)
    assert_equal(weights(resumed), weights(whole))


def test_a_source_without_data_ends_the_run_and_says_why(tmp_path: Path) -> None:
    class Empty(ColourClips):
        def batch(self, step: int) -> Batch:
            return Batch(video=torch.zeros(0, 4, 3, 4, 6))

    with pytest.raises(InputError, match="at least one clip"):
        run(tmp_path, config_of(), batches=Empty())
