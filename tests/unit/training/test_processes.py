"""One process needs no group; a launcher that was told something else is not ignored."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from imagen_video.errors import InputError, MissingExtraError, ResourceError
from imagen_video.training.alarms import Alarms
from imagen_video.training.config import Parallel, Precision
from imagen_video.training.processes import Processes
from unit.training.small_runs import config_of


def test_a_process_alone_agrees_with_itself() -> None:
    alone = Processes()
    assert alone.is_main
    assert alone.sum(torch.tensor(0.5), 2.0) == [0.5, 2.0]
    assert alone.from_main({"a": [1, None]}) == {"a": [1, None]}
    assert alone.on_main(lambda: "done") == "done"
    with pytest.raises(ResourceError):
        alone.on_main(lambda: (_ for _ in ()).throw(ResourceError("a", "b", "c", "d")))
    alone.leave()


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_process_alone_holds_everything(
    parallel: Parallel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    joined = Processes.join(config_of(parallel=parallel))
    assert (joined.rank, joined.ranks, joined.sharded) == (0, 1, False)


@pytest.mark.parametrize(
    ("variable", "value", "parallel", "precision", "said"),
    [
        ("ACCELERATE_USE_FSDP", "true", "ddp", "fp32", "--parallel fsdp"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "ddp", "fp32", "--precision bf16"),
        ("ACCELERATE_MIXED_PRECISION", "fp16", "ddp", "bf16", "--precision fp16"),
        ("ACCELERATE_USE_FSDP", "true", "fsdp", "fp32", None),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "ddp", "bf16", None),
        ("ACCELERATE_MIXED_PRECISION", "no", "ddp", "bf16", None),
    ],
)
def test_what_accelerate_launch_was_told_is_done_or_refused(
    variable: str,
    value: str,
    parallel: Parallel,
    precision: Precision,
    said: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)
    config = config_of(parallel=parallel, precision=precision)
    if said is None:
        Processes.join(config)
        return
    with pytest.raises(InputError, match=said):
        Processes.join(config)


def test_several_processes_without_accelerate_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtraError, match=r"imagen-video\[train\]"):
        Processes.join(config_of())


def test_one_process_trains_without_loading_what_several_need() -> None:
    code = (
        "import sys, imagen_video.training.loop as loop;"
        "from imagen_video.training.processes import Processes;"
        "from imagen_video.training.config import TrainConfig;"
        "Processes.join(TrainConfig());"
        "assert not {'accelerate', 'torch.distributed.fsdp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_the_main_process_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("imagen_video.training.alarms.time.monotonic", lambda: now)
    config = config_of(checkpoint_minutes=1.0, sample_minutes=2.0, max_minutes=3.0)
    main, other = (Alarms(config, main=is_main) for is_main in (True, False))
    rung = []
    for now in (0.0, 61.0, 121.0, 181.0):  # noqa: B007 - the clock reads it
        rung.append(main.ring(stop_requested=False))
        assert other.ring(stop_requested=False) == (0.0, 0.0, 0.0)
    assert rung == [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)]
    assert other.ring(stop_requested=True) == (0.0, 0.0, 1.0)
    main.saved()
    main.sampled()
    assert main.ring(stop_requested=False) == (0, 0, 1)


def test_validation_and_log_are_due_by_the_number_of_updates() -> None:
    alarms = Alarms(config_of(validate_every=4, log_every=3), main=True)
    due = [alarms.due(step, 0, 0, 0) for step in range(1, 13)]
    assert [i + 1 for i, d in enumerate(due) if d.validation] == [4, 8, 12]
    assert [i + 1 for i, d in enumerate(due) if d.log] == [3, 6, 9, 12]
    never = Alarms(config_of(validate_every=0), main=True)
    assert not any(never.due(step, 0, 0, 0).validation for step in range(9))
    assert alarms.due(1, 1.0, 2.0, 1.0)[2:] == (True, True, True)
