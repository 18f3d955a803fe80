from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
import torch

from imagen_video.errors import InputError
from imagen_video.training.config import TrainConfig
from imagen_video.training.ema import Ema
from imagen_video.training.optim import clip_gradients
from unit.training.small_runs import network_of


def test_the_learning_rate_warms_up_stays_and_falls_to_nearly_zero() -> None:
    config = TrainConfig(steps=100, learning_rate=1.0, warmup_steps=10, cooldown_fraction=0.2)
    rates = [config.learning_rate_at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10:80] == [1.0] * 70
    assert rates[80:] == pytest.approx([(100 - step) / 20 for step in range(80, 100)])


def test_without_warm_up_and_cool_down_the_rate_is_constant() -> None:
    config = TrainConfig(steps=10, learning_rate=0.5, warmup_steps=0, cooldown_fraction=0.0)
    assert {config.learning_rate_at(step) for step in range(10)} == {0.5}


def test_the_average_follows_its_formula() -> None:
    network = network_of()
    ema, decays = Ema(network), [0.1, 0.5, 0.9]
    wanted = network.input.weight.detach().double().clone()
    for index, decay in enumerate(decays):
        with torch.no_grad():
            network.input.weight += index + 1
        ema.update(network, decay)
        wanted = decay * wanted + (1 - decay) * network.input.weight.detach().double()
    averaged = ema.network.get_submodule("input").get_parameter("weight")
    assert torch.allclose(averaged.double(), wanted, atol=1e-5)
    assert not averaged.requires_grad


def test_the_decay_of_the_average_grows_to_its_bound() -> None:
    config = TrainConfig(ema_decay=0.9)
    decays = [config.ema_decay_at(step) for step in range(1000)]
    assert decays[0] == pytest.approx(0.1)
    assert decays == sorted(decays)
    assert decays[-1] == 0.9


def test_settings_survive_json() -> None:
    config = TrainConfig(steps=7, precision="bf16", max_minutes=1.5)
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    with pytest.raises(InputError, match="surprise"):
        TrainConfig.from_json({"surprise": 1})


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"keep_checkpoints": 0},
        {"image_fraction": 1.5},
        {"text_dropout": -0.1},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"gradient_clip": -1.0},
        {"gradient_clip": math.nan},
        {"weight_decay": -0.1},
        {"weight_decay": math.inf},
        {"warmup_steps": -1},
        {"precision": "fp16"},
    ],
)
def test_settings_no_run_can_have_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        dataclasses.replace(TrainConfig(), **changes)


def test_gradients_are_left_alone_by_inf_and_zero_says_so() -> None:
    """0, which is "off" elsewhere, would multiply every gradient by zero."""
    with pytest.raises(InputError, match=r"gradient_clip: got 0\.0.*inf to turn it off"):
        TrainConfig(gradient_clip=0.0)
    network = network_of()
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    clip_gradients(network, TrainConfig(gradient_clip=math.inf).gradient_clip)
    assert all(bool((p.grad == 100).all()) for p in network.parameters() if p.grad is not None)
