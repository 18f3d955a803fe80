"""A training process that is killed goes on as if nothing had happened."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from imagen_video.training.checkpoint import newest_checkpoint
from unit.training.small_runs import assert_equal, config_of, network_of, run, weights

STEPS = 20
SCRIPT = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import torch
torch.set_num_threads(1)
from unit.training.small_runs import ColourClips, config_of, run

class Slow(ColourClips):
    def batch(self, step):
        print(step, flush=True)
        time.sleep(0.01)
        return super().batch(step)

run(Path(sys.argv[1]), config_of(steps=20, checkpoint_minutes=0.0), batches=Slow())
"""


def test_a_run_killed_at_any_moment_and_resumed_ends_bit_equal(tmp_path: Path) -> None:
    seed = int(os.environ.get("IMAGEN_VIDEO_KILL_SEED", time.time_ns() % 10**6))
    print(f"IMAGEN_VIDEO_KILL_SEED={seed}")
    draw = random.Random(seed)
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, tmp_path / "cut", root / "src", root / "tests"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    kill_at = draw.randrange(2, STEPS - 5)
    for line in process.stdout:
        if line.strip() == str(kill_at):
            break
    time.sleep(draw.uniform(0, 0.1))
    process.kill()
    process.wait()
    process.stdout.close()
    found = newest_checkpoint(tmp_path / "cut")
    assert found is not None
    assert kill_at - 1 <= found.step < STEPS

    config = config_of(steps=STEPS, checkpoint_minutes=60.0)
    resumed, whole = network_of(seed=77), network_of()
    average = weights(run(tmp_path / "cut", config, network=resumed))
    assert_equal(average, weights(run(tmp_path / "whole", config, network=whole)))
    assert_equal(weights(resumed), weights(whole))
