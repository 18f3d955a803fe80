"""`imagen-video batch`: a file of prompts in, a folder of videos out; `batch plan`: which pools.

What is heavy (torch, Ray) is imported after the options have been read.
"""

from __future__ import annotations

import dataclasses
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from imagen_video.errors import InputError


def _shown(metavar: str) -> Any:
    """Show an optional option as --name METAVAR, without "default: None"."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """Make the videos of a file of prompts, here or on a Ray cluster.

    Writes DIR/ID.mp4 and DIR/manifest.jsonl. Give the same command again to go on: finished samples
    are skipped. `batch plan --help` says how many actors each stage needs.
    """

    prompts: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PROMPTS")]
    """A prompt a line; or .jsonl: objects with prompt, class_id or vector, and, as you like, id,
    seed, negative_prompt, steps, guidance_weight."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the videos; on a cluster, one that all machines see."""
    samples: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Videos of each prompt: with its seed, its seed + 1, and so on."""
    seed: int = 0
    """Seed of prompts that have none of their own."""
    bundle: str = "emoji"
    """Trained cascade: a built-in name, a folder that all machines see, or a hub id."""
    until: Annotated[str | None, _shown("STAGE")] = None
    """Last stage to run."""
    steps: Annotated[str | None, _shown("N|STAGE=N,...")] = None
    """Sampling steps: a number for all stages that can take it (distilled ones keep their own), or
    by stage. A line's own go first."""
    guidance_weight: Annotated[float | None, _shown("W")] = None
    """The paper's w of the base. A line's own goes first."""
    retries: Annotated[int, tyro.conf.arg(metavar="N")] = 2
    """More attempts for a sample that fails."""
    ray: Annotated[str | None, _shown("ADDRESS")] = None
    """Run on Ray: local, auto, or the address of a cluster. Without it: here, one by one."""
    pool: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], _shown("STAGE=N,...")] = ()
    """Actors of a stage, and of `text`; 1 each by default. May be repeated."""
    gpus: Annotated[str | None, _shown("N|STAGE=N,...")] = None
    """GPUs of an actor, such as 1,base=0.25; 1 where the cluster has any."""
    cpus: Annotated[str | None, _shown("N|STAGE=N,...")] = None
    """CPUs of an actor; 1, or an equal share where there are fewer CPUs than actors."""
    memory: str = "4GB"
    """Memory that each process may use, such as 900MB or 4GB, or none for no bound."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto is bf16 where the processor of this machine multiplies it in hardware, else fp32."""
    device: str = "auto"
    """Without --ray: cpu, cuda, cuda:1, ...; auto takes cuda where there is one."""
    dry_run: bool = False
    """Check everything that can be checked here, say what would be done, and stop."""
    json: bool = False
    """Print the JSON of each finished video as one line of stdout."""


def run(argv: list[str]) -> int:
    """Parse the words after `batch` and make the videos, or plan.

    Returns:
        The exit code: 1 if a sample failed to the end.

    Raises:
        InputError: for anything that cannot be used, before anything is computed.
        ResourceError: if memory, disk or the cluster give out.
    """
    if argv[:1] == ["plan"]:
        from imagen_video.cli.batch_plan import run as plan

        return plan(argv[1:])
    options = tyro.cli(
        BatchOptions,
        args=argv,
        prog="imagen-video batch",
        description=cleandoc(BatchOptions.__doc__ or ""),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    _check(options)
    from imagen_video.cli.batch_run import batch

    return batch(options)


def _check(options: BatchOptions) -> None:
    """Refuse numbers and combinations that say nothing."""
    if not 0 <= options.seed < 2**63:
        raise InputError("--seed", f"{options.seed}", "0 to 2^63 - 1", "correct it")
    if options.samples < 1:
        raise InputError("--samples", f"{options.samples}", "1 or more", "correct it")
    if options.retries < 0:
        raise InputError("--retries", f"{options.retries}", "0 or more", "correct it")
    for name in ("pool", "gpus", "cpus"):
        if options.ray is None and getattr(options, name):
            raise InputError(
                f"--{name}", "no --ray beside it", "--ray ADDRESS", "add --ray local, or leave it"
            )
    if options.ray is not None and options.device != "auto":
        raise InputError("--device", "--ray beside it", "neither, or --gpus", "leave --device out")
