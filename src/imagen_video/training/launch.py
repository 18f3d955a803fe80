"""Every stage of a cascade at once: one job script a stage, handed to an engine that exists.

    local [processes=N]                          here, side by side; several processes by torchrun
    slurm [nodes=N] [gpus=N] [processes=N] [...] sbatch; whatever else is an option of sbatch
    ray [workers=N] [gpus=N] [cpus=N]            Ray Train; RAY_ADDRESS names the cluster

The stages of a cascade are trained independently of one another (paper, section 2.5), so nothing
needs to be scheduled. The scripts lie in RUN/jobs and can be read, changed and started by hand;
starting one again goes on with its run.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from imagen_video.errors import InputError, ResourceError
from imagen_video.media.atomic import replacing

NOT_PASSED_ON = {"stage": 1, "run-dir": 1, "launch": 1, "dry-run": 0}
"""Options of the command that starts all stages which a stage's own command gets anew or not at
all, and how many words follow each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One stage to train."""

    stage: str
    words: tuple[str, ...]
    """What follows `imagen-video train`."""
    folder: Path
    """Where job scripts and their output go."""
    number: int = 0
    """Which of the jobs."""
    of: int = 1
    """How many there are."""


class Engine(Protocol):
    """Something that runs job scripts."""

    suffix: ClassVar[str]

    def script(self, job: Job) -> str:
        """Return the job script."""
        ...

    def start(self, job: Job, script: Path) -> subprocess.Popen[bytes]:
        """Start what runs the script, or hands it over."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Local:
    """Processes of this machine."""

    suffix: ClassVar[str] = ".sh"
    processes: int = 1
    """How many a stage has."""

    def script(self, job: Job) -> str:
        """A shell script. Stages take turns in getting GPUs, or share the processor's cores."""
        lines = ["#!/bin/bash", f"# trains stage {job.stage}", f"cd {shlex.quote(str(Path.cwd()))}"]
        devices = _visible_devices(job.number, self.processes)
        if devices:
            lines.append(f"export CUDA_VISIBLE_DEVICES={devices}")
        else:
            threads = max(1, (os.cpu_count() or 1) // (job.of * self.processes))
            lines.append(f'export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-{threads}}}"')
        start = [sys.executable, "-m"]
        if self.processes > 1:
            start += ["torch.distributed.run", "--standalone"]
            start += ["--nproc-per-node", str(self.processes), "-m"]
        command = shlex.join([*start, "imagen_video", "train", *job.words])
        return "\n".join([*lines, f"exec {command}", ""])

    def start(self, job: Job, script: Path) -> subprocess.Popen[bytes]:
        """Run it, its output beside it."""
        return _run(["bash", str(script)], job)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slurm:
    """Batch jobs of a Slurm cluster; the run folder must be seen by all nodes."""

    suffix: ClassVar[str] = ".sbatch"
    nodes: int = 1
    gpus: int = 0
    """A node."""
    processes: int | None = None
    """A node; one a GPU if not said."""
    options: tuple[tuple[str, str], ...] = ()
    """Further options of sbatch: time, partition, account, mem, ..."""

    def script(self, job: Job) -> str:
        """One torchrun a node. A job that was preempted is queued again and goes on."""
        log = job.folder / f"{job.stage}-%j.log"
        settings = [("job-name", f"train-{job.stage}"), ("output", str(log.resolve()))]
        settings += [("nodes", str(self.nodes)), ("ntasks-per-node", "1")]
        settings += [("gpus-per-node", str(self.gpus))] * bool(self.gpus)
        settings += [("chdir", str(Path.cwd())), ("open-mode", "append"), *self.options]
        count = str(self.processes or max(1, self.gpus))
        start = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", count)
        command = shlex.join(start)
        train = shlex.join(["-m", "imagen_video", "train", *job.words])
        return "\n".join(
            [
                "#!/bin/bash",
                *(f"#SBATCH --{name}={value}" for name, value in settings),
                "#SBATCH --requeue",
                'first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
                "port=$((20000 + SLURM_JOB_ID % 20000))",
                f'srun {command} --nnodes "$SLURM_NNODES" --rdzv-id "$SLURM_JOB_ID" \\',
                f'    --rdzv-backend c10d --rdzv-endpoint "$first:$port" {train}',
                "",
            ]
        )

    def start(self, job: Job, script: Path) -> subprocess.Popen[bytes]:
        """Hand it to sbatch, which says the job's number."""
        return _run(["sbatch", str(script)], job, show=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ray:
    """Ray Train on the cluster that RAY_ADDRESS names; all nodes see the run folder."""

    suffix: ClassVar[str] = ".py"
    workers: int = 1
    gpus: int = 0
    """A worker."""
    cpus: int = 1
    """A worker."""

    def script(self, job: Job) -> str:
        """A driver: Ray Train starts the workers, each runs the command of the stage."""
        resources = {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}
        return f'''"""Trains stage {job.stage} with Ray Train."""

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def work():
    import os

    os.chdir({str(Path.cwd())!r})
    from imagen_video.cli.train import run

    run({list(job.words)!r})


TorchTrainer(
    work,
    scaling_config=ScalingConfig(
        num_workers={self.workers}, use_gpu={bool(self.gpus)}, resources_per_worker={resources!r}
    ),
    run_config=RunConfig(
        name={job.stage!r},
        storage_path={str((job.folder / "ray").resolve())!r},
        failure_config=FailureConfig(max_failures=3),  # each goes on from the last checkpoint
    ),
).fit()
'''

    def start(self, job: Job, script: Path) -> subprocess.Popen[bytes]:
        """Run the driver, its output beside it."""
        return _run([sys.executable, str(script)], job)


ENGINES: dict[str, type[Local] | type[Slurm] | type[Ray]] = {
    "local": Local,
    "slurm": Slurm,
    "ray": Ray,
}


def engine_of(text: str) -> Engine:
    """Read `slurm nodes=2 gpus=8 time=24:00:00`.

    Raises:
        InputError: for an unknown engine or an option it does not have.
    """
    name, *words = shlex.split(text) or [""]
    if name not in ENGINES:
        raise InputError("--launch", repr(name), f"one of {sorted(ENGINES)}", "name an engine")
    kind = ENGINES[name]
    known = {field.name for field in dataclasses.fields(kind)} - {"options"}
    numbers: dict[str, Any] = {}
    others: list[tuple[str, str]] = []
    for word in words:
        key, _, value = word.removeprefix("--").partition("=")
        if key in known and value.isdecimal() and int(value) > 0:
            numbers[key] = int(value)
        elif kind is Slurm and key not in known and re.fullmatch(r"[a-z][a-z-]*=[!-~]+", word):
            others.append((key, value))
        else:
            raise InputError(
                "--launch",
                repr(word),
                f"{name} with {', '.join(f'{k}=N' for k in sorted(known))}",
                "correct the option",
            )
    engine = kind(**numbers)
    return dataclasses.replace(engine, options=tuple(others)) if others else engine


def jobs_of(argv: Sequence[str], stages: Sequence[str], run_dir: Path) -> list[Job]:
    """Make one job a stage out of the command that asked for all of them.

    Args:
        argv: the words after `imagen-video train`.
        stages: names of the stages.
        run_dir: folder of all runs; a stage's own is inside it.
    """
    kept = _without(argv, NOT_PASSED_ON)
    return [
        Job(
            stage=stage,
            words=("--stage", stage, "--run-dir", str(run_dir / stage), *kept),
            folder=run_dir / "jobs",
            number=number,
            of=len(stages),
        )
        for number, stage in enumerate(stages)
    ]


def write_scripts(jobs: Sequence[Job], engine: Engine) -> list[Path]:
    """Write the job scripts; return where they lie.

    Raises:
        InputError: if the folder cannot be written to.
    """
    paths = []
    for job in jobs:
        paths.append(job.folder / f"{job.stage}{engine.suffix}")
        with replacing(paths[-1]) as temporary:
            temporary.write_text(engine.script(job), encoding="utf-8")
    return paths


def start_all(jobs: Sequence[Job], scripts: Sequence[Path], engine: Engine) -> dict[str, int]:
    """Start all jobs and wait for what was started; return the exit code of each stage.

    Ctrl-C reaches every job: each makes a checkpoint and ends.

    Raises:
        ResourceError: if the engine is not on this machine.
    """
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for job, script in zip(jobs, scripts, strict=True):
            started[job.stage] = engine.start(job, script)
    except FileNotFoundError as error:
        for process in started.values():
            process.terminate()
        raise ResourceError(
            "--launch", f"no {error.filename} here", "its commands", "use --dry-run, or another"
        ) from error
    try:
        return {stage: process.wait() for stage, process in started.items()}
    except KeyboardInterrupt:  # the terminal has told the jobs as well; a second time is too often
        for process in started.values():
            process.wait()
        raise


def _run(command: list[str], job: Job, *, show: bool = False) -> subprocess.Popen[bytes]:
    if show:
        return subprocess.Popen(command)
    with (job.folder / f"{job.stage}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def _without(argv: Sequence[str], options: dict[str, int]) -> list[str]:
    """Leave options and the words that belong to them out of a command line."""
    kept, skip = [], 0
    for word in argv:
        if skip:
            skip -= 1
            continue
        name, equals, _ = word.removeprefix("--").partition("=")
        name = name.replace("_", "-")
        if word.startswith("--") and name in options:
            skip = 0 if equals else options[name]
            continue
        kept.append(word)
    return kept


def _visible_devices(number: int, processes: int) -> str:
    """GPUs of a job, in turn; empty without GPUs."""
    import torch

    count = torch.cuda.device_count()
    first = number * processes
    return ",".join(str((first + i) % count) for i in range(processes)) if count else ""
