"""A training process that is killed, or runs out of disk, goes on as if nothing had happened."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from imagen_video.training.checkpoint import newest_checkpoint
from integration.tiny_runs import DrawsFromGlobalGenerators, config_of, network_of, run

ROOT = Path(__file__).parents[2]
STEPS = 20
SCRIPT = """
import resource, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from integration.tiny_runs import DrawsFromGlobalGenerators, TinyClips, config_of, run

def on_batch(step):
    print(step, flush=True)
    # however fast the machine is, a run that is to be killed does not reach its end
    time.sleep(60 if sys.argv[3:] == ["never ends"] and step == 19 else 0.01)
    if step == int(sys.argv[2]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # the disk is full from here

run(
    Path(sys.argv[1]),
    config_of(steps=20, checkpoint_minutes=0.0),
    batches=TinyClips(on_batch=on_batch),
    objective=DrawsFromGlobalGenerators("base"),
)
"""


def start(run_dir: Path, full_at: int = -1, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, run_dir, str(full_at), *words],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(run_dir: Path, seed: int) -> dict[str, Tensor]:
    """Go on, or start, in this process; return everything that was trained."""
    run(
        run_dir,
        config_of(steps=STEPS),
        network=network_of(seed=seed),
        objective=DrawsFromGlobalGenerators("base"),
    )
    found = newest_checkpoint(run_dir)
    assert found is not None
    assert found.step == STEPS
    parts = {"network": found.network, "ema": found.ema, "optimizer": found.optimizer}
    return {f"{part}.{name}": t for part, values in parts.items() for name, t in values.items()}


def assert_never_stopped(run_dir: Path, whole_dir: Path) -> None:
    resumed, whole = end(run_dir, seed=77), end(whole_dir, seed=0)
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_run_killed_at_any_moment_and_resumed_ends_bit_equal(tmp_path: Path) -> None:
    seed = int(os.environ.get("IMAGEN_VIDEO_KILL_SEED", time.time_ns() % 10**6))
    print(f"IMAGEN_VIDEO_KILL_SEED={seed}")
    draw = random.Random(seed)
    with start(tmp_path / "cut", -1, "never ends") as process:
        assert process.stdout is not None
        kill_at = draw.randrange(2, STEPS - 5)
        for line in process.stdout:
            if line.strip() == str(kill_at):
                break
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
    found = newest_checkpoint(tmp_path / "cut")
    assert found is not None
    assert kill_at - 1 <= found.step < STEPS
    assert_never_stopped(tmp_path / "cut", tmp_path / "whole")


def test_a_full_disk_ends_the_run_and_the_last_good_checkpoint_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path / "full", full_at=3)
    _, told = process.communicate()
    assert process.returncode != 0
    assert "ResourceError" in told
    assert "room on the disk" in told
    found = newest_checkpoint(tmp_path / "full")
    assert found is not None
    assert found.step == 3
    assert_never_stopped(tmp_path / "full", tmp_path / "whole")
