"""`imagen-video batch --ray local` on two cores: one process is killed, and nothing is lost.

Ray runs in a process of its own, as it does for a user; it listens on this machine alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imagen_video.distributed.attempts import FOLDER
from imagen_video.distributed.manifest import NAME
from imagen_video.media.video_io import read_video
from integration.command_line import command

SECONDS = 500
"""Ray starts in seconds on an idle machine and in minutes on a busy one."""
NAMES = ["cat", "dog", "frog"]


@pytest.mark.timeout(SECONDS + 60)
def test_a_killed_actor_loses_nothing_and_results_are_those_of_a_local_run(
    bundle: Path, one_encoder: None, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    lines = [json.dumps({"id": name, "prompt": f"a {name}"}) for name in NAMES]
    prompts.write_text("\n".join(lines), encoding="utf-8")
    words = ["batch", str(prompts), "--bundle", str(bundle), "--precision", "fp32"]
    words += ["--until", "tsr1", "--steps", "tsr1=40"]  # long enough to be killed at
    assert command(*words, "--out", tmp_path / "here").code == 0

    out = tmp_path / "ray"
    on_ray = ["--out", str(out), "--ray", "local", "--pool", "base=1,tsr1=2"]
    with subprocess.Popen(
        [sys.executable, "-m", "imagen_video", *words, *on_ray],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A small object store: 1 % of the memory.
        env={**os.environ, "RAY_DEFAULT_OBJECT_STORE_MEMORY_PROPORTION": "0.01"},
    ) as process:
        try:
            killed = kill_one(out, process)
            said, _ = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0, said

    made, here = entries(out), entries(tmp_path / "here")
    assert set(made) == set(here)
    for name in made:
        frames, _ = read_video(out / f"{name}.mp4")
        local, _ = read_video(tmp_path / "here" / f"{name}.mp4")
        # Different samples are 5 to 7 levels apart; the encoder alone moves a fraction of one.
        assert np.abs(frames.astype(int) - local).mean() < 1, name
    assert sorted(made) == NAMES
    assert [stage["attempt"] for stage in made[killed]["stages"]] == [1, 1, 2]
    assert sorted(path.name for path in out.iterdir()) == [*(f"{n}.mp4" for n in NAMES), NAME]


def kill_one(out: Path, process: subprocess.Popen[str]) -> str:
    """Kill the process that works on the first sample to reach tsr1; return the sample."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for mark in (out / FOLDER).glob("*.tsr1"):
            try:
                number = int(mark.read_text("utf-8").split()[1])
                os.kill(number, signal.SIGKILL)
            except (OSError, IndexError):  # being written, or done already
                continue
            return mark.stem
        time.sleep(0.005)
    raise AssertionError("no sample came to tsr1: " + process.communicate()[0])


def entries(folder: Path) -> dict[str, dict]:
    lines = (folder / NAME).read_text("utf-8").splitlines()
    return {entry["id"]: entry for entry in map(json.loads, lines)}
