from __future__ import annotations

import contextlib
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from imagen_video.errors import DataError, InputError, ResourceError
from imagen_video.training.checkpoint import newest_checkpoint, save_checkpoint
from unit.training.small_runs import (
    assert_equal,
    config_of,
    network_of,
    run,
    stage_meta,
    weights,
)


def save(run_dir: Path, step: int, keep: int = 2, network: nn.Module | None = None) -> Path:
    network = network or network_of(seed=step)
    optimizer = torch.optim.AdamW(network.parameters())
    return save_checkpoint(
        run_dir,
        step=step,
        network=network,
        ema=network,
        optimizer=optimizer,
        meta={"stage": None},
        keep=keep,
    )


def names(run_dir: Path) -> list[str]:
    return sorted(p.name for p in (run_dir / "checkpoints").iterdir())


def test_the_newest_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    network = network_of(seed=9)
    save(tmp_path, 3)
    save(tmp_path, 20, network=network)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 20
    assert_equal(found.network, weights(network))


def test_only_the_newest_few_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 100):
        save(tmp_path, step, keep=2)
    assert names(tmp_path) == ["step-00000010", "step-00000100"]


def test_an_empty_run_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("part", ["network.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["cut", "missing", "flipped"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, part: str, how: str
) -> None:
    save(tmp_path, 1)
    file = save(tmp_path, 2) / part
    raw = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
    elif how == "cut":
        file.write_bytes(raw[: len(raw) // 2])
    else:
        raw[0 if part == "state.json" else -1] ^= 1
        file.write_bytes(raw)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1


def test_nothing_but_damaged_checkpoints_is_an_error(tmp_path: Path) -> None:
    for step in (1, 2):
        (save(tmp_path, step) / "ema.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match="2 damaged"):
        newest_checkpoint(tmp_path)


@contextlib.contextmanager
def room_for(num_bytes: int) -> Iterator[None]:
    """Let no file grow larger; the system then reports what a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("num_bytes", [0, 3000, 20_000])
def test_a_full_disk_is_said_and_leaves_the_older_checkpoints(
    tmp_path: Path, num_bytes: int
) -> None:
    save(tmp_path, 1)
    with room_for(num_bytes), pytest.raises(ResourceError, match="large"):
        save(tmp_path, 2)
    assert names(tmp_path) == ["step-00000001"]
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1


def test_what_a_killed_run_left_half_written_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / "checkpoints" / ".step-00000009.123"
    left.mkdir(parents=True)
    (left / "network.safetensors").write_bytes(b"half")
    assert newest_checkpoint(tmp_path) is None
    save(tmp_path, 1)
    assert names(tmp_path) == ["step-00000001"]


def test_a_run_of_another_stage_is_refused(tmp_path: Path) -> None:
    run(tmp_path, config_of(steps=1))
    with pytest.raises(InputError, match="another stage spec"):
        run(tmp_path, config_of(steps=2), meta=stage_meta("tsr1"))


def test_a_run_may_change_how_its_stage_is_sampled(tmp_path: Path) -> None:
    run(tmp_path, config_of(steps=1))
    meta = stage_meta()
    meta["stage"]["sampling"]["steps"] += 1
    run(tmp_path, config_of(steps=2), meta=meta)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 2


def test_a_checkpoint_says_what_was_trained_and_how(tmp_path: Path) -> None:
    run(tmp_path, config_of(steps=1))
    state = json.loads((tmp_path / "checkpoints/step-00000001/state.json").read_text())
    assert state["meta"]["config"]["steps"] == 1
    assert state["meta"]["stage"]["name"] == "base"


def test_a_damaged_checkpoint_of_a_later_update_takes_no_place(tmp_path: Path) -> None:
    """A run goes on from 100 and saves 150: of 100, 150 and a damaged 200 the good one stays."""
    save(tmp_path, 100)
    (save(tmp_path, 200) / "ema.safetensors").write_bytes(b"")
    save(tmp_path, 150, keep=1)
    assert names(tmp_path) == ["step-00000150"]
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 150


def test_older_checkpoints_go_only_when_the_new_one_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        assert (tmp_path / "checkpoints/step-00000001").is_dir()
        fsync(descriptor)

    save(tmp_path, 1)
    monkeypatch.setattr(os, "fsync", noted)
    save(tmp_path, 2, keep=1)
    parts = [f"{part}.safetensors" for part in ("network", "ema", "optimizer")]
    assert flushed[:4] == [*parts, "state.json"]
    assert flushed[4].startswith(".step-00000002")
    assert flushed[5] == "checkpoints"
    assert names(tmp_path) == ["step-00000002"]
