"""Runs groups of training processes and leaves their run folders to look at.

    python groups.py OUT SEED

Everything is imported once and each group is forked from here, so starting a process costs nothing.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from imagen_video.errors import ResourceError
from imagen_video.training.checkpoint import newest_checkpoint, restore, save_checkpoint
from imagen_video.training.config import TrainConfig
from imagen_video.training.processes import Processes
from imagen_video.training.state import TrainState
from imagen_video.training.validation import Validation
from integration.tiny_runs import (
    DrawsFromGlobalGenerators,
    TinyClips,
    config_of,
    network_of,
    objective_of,
    run,
)

STEPS = 10
"""Of the run that is killed."""
KILLED: dict[str, Any] = {"steps": STEPS, "checkpoint_minutes": 0.0}
FOUR: dict[str, Any] = {"steps": 2, "parallel": "fsdp"}

Work = Callable[[Path], None]


def start(work: Work, ranks: int, out: Path) -> list[Any]:
    """Start a group of processes that find one another."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def member(rank: int) -> None:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(ranks),
            LOCAL_WORLD_SIZE=str(ranks),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
        )
        sys.stdout = (out / f"{work.__name__}-{rank}.txt").open("w", encoding="utf-8")
        work(out)
        Processes.join(TrainConfig()).leave()

    context = multiprocessing.get_context("fork")
    members = [context.Process(target=member, args=(rank,)) for rank in range(ranks)]
    for process in members:
        process.start()
    return members


def finish(members: list[Any], code: int = 0) -> None:
    """Wait for a group; one that fails takes the others with it."""
    for process in members:
        process.join(timeout=100)
    codes = [process.exitcode for process in members]
    for process in members:
        process.kill()
    assert codes == [code] * len(members), codes


def pairs(out: Path) -> None:
    """Two processes: copies, parts, accumulation, optimisers, samples, signals, a full disk."""
    run(out / "ddp", config_of(accumulate=2))
    run(out / "ddp-tsr1", config_of(steps=3), "tsr1")
    parts = config_of(
        parallel="fsdp", accumulate=2, gradient_checkpointing=True, sample_minutes=60.0,
        validate_every=3,
    )  # fmt: skip
    run(
        out / "fsdp",
        parts,
        on_sample=lambda network, step: samples(out, network, step),
        validation=Validation(objective=objective_of("base"), batches=TinyClips(), num_batches=1),
    )
    adafactor = config_of(steps=3, parallel="fsdp", optimizer="adafactor", learning_rate=1e-2)
    run(out / "fsdp-tsr1", adafactor, "tsr1")
    run(out / "muon-fsdp", config_of(steps=3, parallel="fsdp", optimizer="muon"))
    run(out / "muon-ddp", config_of(steps=3, optimizer="muon"))
    run(out / "bf16", config_of(steps=3, parallel="fsdp", precision="bf16"))
    run(out / "never-killed", config_of(**KILLED), objective=DrawsFromGlobalGenerators("base"))
    one_is_told_to_stop(out)
    disk_is_full(out)


def samples(out: Path, network: nn.Module, step: int) -> None:
    """Run the averaged network in every process, as a sampler does."""
    from imagen_video.models.conditions import Conditions

    made = network(torch.ones(1, 4, 3, 6, 10), torch.zeros(1), Conditions())
    rank = Processes.join(TrainConfig()).rank
    (out / f"sample-{rank}.json").write_text(json.dumps([step, made.double().sum().item()]))


def one_is_told_to_stop(out: Path) -> None:
    """A signal reaches one process only; both stop after the same update, with a checkpoint."""
    rank = Processes.join(TrainConfig()).rank

    def on_batch(step: int) -> None:
        if rank == 1 and step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        run(out / "told", config_of(), batches=TinyClips(on_batch=on_batch))
    except KeyboardInterrupt:
        (out / f"told-{rank}").touch()


def disk_is_full(out: Path) -> None:
    """The main process cannot write; both say so, and the checkpoint before it stays."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    rank = Processes.join(TrainConfig()).rank
    run(out / "full", config_of(steps=1, parallel="fsdp"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        run(out / "full", config_of(steps=2, parallel="fsdp"))
    except ResourceError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        (out / f"full-{rank}.txt").write_text(str(error), encoding="utf-8")


def killed(out: Path) -> None:
    """Two processes that save after every update and are killed at some moment."""
    rank = Processes.join(TrainConfig()).rank
    objective = DrawsFromGlobalGenerators("base")
    with (out / f"killed-at-{rank}").open("a", encoding="utf-8") as seen:

        def on_batch(step: int) -> None:
            print(step, file=seen, flush=True)
            if step == STEPS - 1:  # however fast the machine is, the end is not reached
                time.sleep(60)

        batches = TinyClips(on_batch=on_batch)
        run(out / "killed", config_of(**KILLED), batches=batches, objective=objective)


def fours(out: Path) -> None:
    """Four processes save parts."""
    run(out / "four", config_of(**FOUR))


def goes_on(out: Path) -> None:
    """Two other processes go on with what was killed, and with what four have saved."""
    objective = DrawsFromGlobalGenerators("base")
    run(out / "killed", config_of(**KILLED), network=network_of(seed=9), objective=objective)
    config = config_of(**FOUR)
    state = TrainState.start(network_of(seed=9), config, Processes.join(config))
    found = newest_checkpoint(out / "four")
    assert found is not None
    restore(found, state.network, state.ema.network, state.optimizer)
    save_checkpoint(
        out / "again",
        step=found.step,
        network=state.network,
        ema=state.ema.network,
        optimizer=state.optimizer,
        meta={},
        keep=1,
        processes=state.processes,
    )
    run(out / "four", config_of(**{**FOUR, "steps": 4}), network=network_of(seed=9))


def kill_at_random(out: Path, draw: random.Random) -> None:
    """Start two processes and kill them, one first, somewhere between two of the first steps."""
    members = start(killed, 2, out)
    last = draw.randrange(2, STEPS - 4)
    seen = out / "killed-at-0"
    while not (seen.exists() and str(last) in seen.read_text().split()):
        assert all(process.is_alive() for process in members)
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 0.2))
    draw.shuffle(members)
    for process in members:
        process.kill()
    finish(members, -signal.SIGKILL)


def main() -> None:
    """Run the groups one after the other."""
    torch.set_num_threads(1)
    for module in ("accelerate", "torch.distributed.fsdp", "torch.utils.tensorboard.writer"):
        importlib.import_module(module)
    out, draw = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    finish(start(pairs, 2, out))
    kill_at_random(out, draw)
    finish(start(fours, 4, out))
    finish(start(goes_on, 2, out))


if __name__ == "__main__":
    main()
