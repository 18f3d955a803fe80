from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from packaging.version import Version

from imagen_video.cascade.spec import CascadeSpec
from imagen_video.planning.memory import Choice, MemoryPlan, Sharding, predict, step_of
from imagen_video.planning.state import gathered_bytes, parameter_bytes
from imagen_video.presets.tiny import tiny
from imagen_video.training.config import Precision
from unit.planning.fake_processes import one_of, sharded_step_bytes

ROOT = Path(__file__).resolve().parents[3]
CASCADE = tiny()
TOKENS = 64


def planned(
    sharding: Sharding = "none",
    ranks: int = 1,
    rows: int = 2,
    *,
    checkpointing: bool = False,
    accumulate: bool = False,
    on_gpu: bool = False,
) -> MemoryPlan:
    choice = Choice(sharding=sharding, checkpointing=checkpointing, precision="fp32")
    return predict(
        CASCADE,
        "base",
        choice,
        ranks=ranks,
        rows=rows,
        accumulate=accumulate,
        on_gpu=on_gpu,
    )


def test_copies_add_their_buckets_and_nothing_else() -> None:
    alone, copied = planned(), planned("ddp", ranks=8)
    assert copied.copies == alone.parameters
    assert copied.step_peak == alone.step_peak + alone.parameters


def test_a_split_network_divides_all_that_is_held_between_steps() -> None:
    alone, split = planned(), planned("fsdp", ranks=8)
    for part in ("parameters", "gradients", "optimizer", "ema"):
        assert getattr(split, part) < 0.2 * getattr(alone, part)
    assert split.activations == alone.activations


def test_accumulating_keeps_all_gradients_beside_the_activations() -> None:
    plan = planned(accumulate=True)
    held = plan.parameters + plan.optimizer + plan.ema
    assert plan.step_peak == held + plan.gradients + plan.activations
    assert plan.step_peak > planned().step_peak


def test_a_gpu_loses_some_memory() -> None:
    assert planned(on_gpu=True).peak - planned().peak > 1 << 30


def test_a_sheet_of_several_clips_may_need_more_than_a_step_of_one() -> None:
    plan = planned(rows=1, checkpointing=True)
    assert plan.peak == plan.sheet_peak > plan.step_peak


@pytest.mark.skipif(
    Version(torch.__version__) < Version("2.13"),
    reason="torch 2.10 has no fake implementation of FSDP's all-gather",
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_plan_of_a_split_network_holds_for_fsdp2_itself(
    precision: Precision, checkpointing: bool
) -> None:
    """What FSDP2 gathers, keeps and reduces, followed through a step of one of 64 processes."""
    choice = Choice(sharding="fsdp", checkpointing=checkpointing, precision=precision)
    spec, rows = CASCADE.stage("base"), 8
    with one_of(64) as mesh:
        taken = sharded_step_bytes(
            CASCADE,
            "base",
            mesh,
            rows,
            TOKENS,
            checkpointing=checkpointing,
            bf16=precision == "bf16",
        )
    step = step_of(CASCADE, "base", choice, rows)
    planned = step.activations + gathered_bytes(spec) + parameter_bytes(spec, 64)
    assert taken == pytest.approx(planned, rel=0.15)


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("ssr1", {"clips": 48}),
        ("ssr2", {"clips": 32, "gradient_checkpointing": True}),
    ],
)
def test_a_process_that_trains_takes_what_was_planned(stage: str, settings: dict) -> None:
    """Peak resident memory of the engine's own step; more specs in benchmarks/memory.py."""
    given = {"preset": "tiny", "stage": stage, "tokens": TOKENS, **settings}
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "_memory_worker.py"), json.dumps(given)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )
    choice = Choice(
        sharding="none",
        checkpointing=settings.get("gradient_checkpointing", False),
        precision="fp32",
    )
    plan = predict(CASCADE, stage, choice, ranks=1, rows=settings["clips"], on_gpu=False)
    assert json.loads(done.stdout)["grown"] == pytest.approx(plan.step_peak, rel=0.15)


def test_the_benchmarked_cascade_is_the_tested_one() -> None:
    assert isinstance(CASCADE, CascadeSpec)
    assert CASCADE.text_encoder is not None
    assert CASCADE.text_encoder["max_tokens"] == TOKENS
