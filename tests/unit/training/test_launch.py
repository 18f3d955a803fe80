"""One job a stage, as a script that can be read, handed to an engine that exists."""

from __future__ import annotations

import ast
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from imagen_video.errors import InputError, ResourceError
from imagen_video.training.launch import (
    Local,
    Ray,
    Slurm,
    engine_of,
    jobs_of,
    start_all,
    write_scripts,
)

STAGES = ("base", "tsr1")
ARGV = [
    "--stage", "all", "--preset=tiny", "--run-dir", "runs/x", "--launch", "slurm gpus=8",
    "--steps", "7", "--kinds", "a b", "c", "--dry-run", "--no-compile",
]  # fmt: skip


def test_a_stages_command_is_the_command_for_all_with_its_own_stage_and_folder() -> None:
    jobs = jobs_of(ARGV, STAGES, Path("runs/x"))
    rest = ("--preset=tiny", "--steps", "7", "--kinds", "a b", "c", "--no-compile")
    assert [job.words for job in jobs] == [
        ("--stage", stage, "--run-dir", f"runs/x/{stage}", *rest) for stage in STAGES
    ]
    written_otherwise = [
        "--stage=all", "--run_dir=runs/x", "--preset=tiny", "--dry_run", "--launch=local",
    ]  # fmt: skip
    assert jobs_of(written_otherwise, ("base",), Path("runs/x"))[0].words == (
        "--stage", "base", "--run-dir", "runs/x/base", "--preset=tiny",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("local", Local()),
        ("local processes=2", Local(processes=2)),
        ("slurm", Slurm()),
        (
            "slurm nodes=2 gpus=8 time=24:00:00 --partition=a100",
            Slurm(nodes=2, gpus=8, options=(("time", "24:00:00"), ("partition", "a100"))),
        ),
        ("ray workers=8 gpus=1", Ray(workers=8, gpus=1)),
    ],
)
def test_engines_are_named_with_their_options(text: str, engine: object) -> None:
    text = text.replace("--partition", "partition")
    assert engine_of(text) == engine


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cron",
        "local gpus=2",
        "local processes=0",
        "local processes=two",
        "ray time=1",
        "slurm nodes",
        "slurm 'comment=a\nrm -rf x'",
        "slurm 'comment=two words'",
        "slurm Time=1",
    ],
)
def test_engines_and_options_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--launch"):
        engine_of(text)


def test_scripts_lie_in_the_run_folder_and_are_valid(tmp_path: Path) -> None:
    jobs = jobs_of(ARGV, STAGES, tmp_path)
    for engine in (Local(), Local(processes=2), Slurm(gpus=4), Ray(workers=2)):
        for path in write_scripts(jobs, engine):
            assert path.parent == tmp_path / "jobs"
            if path.suffix == ".py":
                ast.parse(path.read_text())
            else:
                subprocess.run(["bash", "-n", path], check=True)


def test_a_slurm_job_starts_torchrun_on_every_node_and_goes_on_when_requeued(
    tmp_path: Path,
) -> None:
    engine = engine_of("slurm nodes=2 gpus=8 time=24:00:00")
    text = engine.script(jobs_of(ARGV, STAGES, tmp_path)[0])
    for line in ("nodes=2", "ntasks-per-node=1", "gpus-per-node=8", "time=24:00:00", "requeue"):
        assert f"#SBATCH --{line}\n" in text
    assert "--nproc-per-node 8" in text
    assert f"--stage base --run-dir {tmp_path}/base" in text


def test_several_local_processes_are_started_by_torchrun(tmp_path: Path) -> None:
    job = jobs_of(ARGV, STAGES, tmp_path)[0]
    last = shlex.split(Local(processes=3).script(job).splitlines()[-1])
    assert last[:2] == ["exec", sys.executable]
    assert last[3:7] == ["torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    alone = shlex.split(Local().script(job).splitlines()[-1])
    assert alone[2:5] == ["-m", "imagen_video", "train"]


def test_with_gpus_the_stages_take_turns_in_getting_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    jobs = jobs_of(ARGV, ("base", "tsr1", "ssr1"), tmp_path)
    devices = [
        line.split("=")[1]
        for job in jobs
        for line in Local(processes=2).script(job).splitlines()
        if line.startswith("export CUDA_VISIBLE_DEVICES")
    ]
    assert devices == ["0,1", "2,3", "0,1"]


def test_without_gpus_the_stages_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 12)
    job = jobs_of(ARGV, ("base", "tsr1", "ssr1"), tmp_path)[1]
    assert 'OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"' in Local(processes=2).script(job)


def test_local_jobs_run_side_by_side_and_each_exit_code_is_told(tmp_path: Path) -> None:
    jobs = jobs_of(ARGV, STAGES, tmp_path)
    engine = Local()
    scripts = write_scripts(jobs, engine)
    scripts[0].write_text("touch $0.here; while [ ! -e $(dirname $0)/tsr1.sh.here ]; do :; done")
    scripts[1].write_text("touch $0.here; echo said; exit 3")
    assert start_all(jobs, scripts, engine) == {"base": 0, "tsr1": 3}
    assert (tmp_path / "jobs" / "tsr1.log").read_text() == "said\n"


def test_sbatch_is_given_every_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "sbatch").write_text("#!/bin/bash\necho Submitted $(basename $1)\n")
    (bin_ / "sbatch").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{bin_}{os.pathsep}{os.environ['PATH']}")
    jobs = jobs_of(ARGV, STAGES, tmp_path)
    engine = Slurm()
    assert start_all(jobs, write_scripts(jobs, engine), engine) == {"base": 0, "tsr1": 0}
    told = capfd.readouterr().out.split("\n")
    assert set(told) == {"Submitted base.sbatch", "Submitted tsr1.sbatch", ""}


def test_an_engine_that_is_not_here_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    jobs = jobs_of(ARGV, STAGES, tmp_path)
    with pytest.raises(ResourceError, match=r"sbatch.*--dry-run"):
        start_all(jobs, write_scripts(jobs, Slurm()), Slurm())


def test_a_ray_driver_runs_the_stages_command_in_every_worker(tmp_path: Path) -> None:
    """With a stand-in for Ray that has one worker, which is this process."""
    for name, text in {
        "ray/__init__.py": "",
        "ray/train/__init__.py": (
            "class _Any:\n    def __init__(self, **options): self.options = options\n"
            "class FailureConfig(_Any): pass\nclass RunConfig(_Any): pass\n"
            "class ScalingConfig(_Any): pass\n"
        ),
        "ray/train/torch.py": (
            "class TorchTrainer:\n"
            "    def __init__(self, work, **options): self.work, self.options = work, options\n"
            "    def fit(self):\n"
            "        print(self.options['scaling_config'].options)\n"
            "        self.work()\n"
        ),
        "imagen_video/__init__.py": "",
        "imagen_video/cli/__init__.py": "",
        "imagen_video/cli/train.py": "def run(argv): print(argv)\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    jobs = jobs_of(ARGV, ("base",), tmp_path / "run")
    (script,) = write_scripts(jobs, Ray(workers=4, gpus=1))
    done = subprocess.run(
        [sys.executable, script],
        env={"PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    scaling, argv = done.stdout.splitlines()
    assert ast.literal_eval(scaling) == {
        "num_workers": 4, "use_gpu": True, "resources_per_worker": {"CPU": 1, "GPU": 1},
    }  # fmt: skip
    assert ast.literal_eval(argv) == list(jobs[0].words)
