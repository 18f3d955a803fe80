"""`imagen-video plan`: what training a stage takes, what fits, and the command that starts it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from inspect import cleandoc
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from imagen_video.errors import InputError

if TYPE_CHECKING:
    from imagen_video.planning.choose import Option, Wish

EXIT_NOTHING_FITS = 1


def _shown(metavar: str) -> Any:
    """Show an optional option as --name METAVAR, without "default: None"."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Predict the memory of training a stage, and print the command for the fastest way that fits.

    Nothing is downloaded or trained, and no GPU is needed: the training step runs without data.
    """

    preset: str
    """Cascade: a preset's name, or FILE.py:FUNCTION."""
    stage: str
    """Stage to train: base, tsr1, ssr1, ..."""
    gpus: int = 1
    """How many GPUs train it."""
    gpu_memory: str = "80GB"
    """Memory of each, such as 24GB or 80GB."""
    gpus_per_node: int = 8
    """GPUs of one machine, for the command."""
    batch: Annotated[int | None, _shown("CLIPS")] = None
    """Clips of an update over all GPUs; as many as fit, up to 8 a GPU, if not given."""
    sharding: Annotated[Literal["none", "ddp", "fsdp"] | None, _shown("{none,ddp,fsdp}")] = None
    """none: one GPU; ddp: a copy on each; fsdp: a part of each tensor on each. All if not given."""
    checkpointing: bool = False
    """Recompute activations in the backward pass. Both ways are tried if neither is given."""
    no_checkpointing: bool = False
    """Keep activations for the backward pass."""
    precision: Annotated[Literal["bf16", "fp32"] | None, _shown("{bf16,fp32}")] = None
    """bf16 is autocast. Both are tried if not given."""
    optimizer: Literal["adamw", "muon", "adafactor"] = "adamw"
    """Whose tensors lie beside the weights."""
    data: Annotated[str | None, _shown("SHARDS")] = None
    """Shards for the command; the demo corpus if not given and the preset is emoji."""
    json: bool = False
    """Print JSON instead of a table."""


def run(argv: list[str]) -> int:
    """Parse the words after `plan` and print the plan.

    Returns:
        0, or 1 if nothing fits.

    Raises:
        InputError: for an unknown preset or stage, or choices that exclude one another.
    """
    options = tyro.cli(
        PlanOptions,
        args=argv,
        prog="imagen-video plan",
        description=cleandoc(PlanOptions.__doc__ or ""),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    from imagen_video.planning.choose import fastest
    from imagen_video.planning.choose import options as ways

    wish = _wish(options)
    if sys.stderr.isatty():
        print("running the training step without data ...", file=sys.stderr)
    found = list(ways(wish))
    best = fastest(found)
    command = None if best is None else _command(options, wish, best)
    if options.json:
        print(json.dumps(_to_json(wish, found, best, command)))
    else:
        _print_table(wish, found)
        if best is None or command is None:
            print(_too_large(wish, found))
        else:
            less = "" if best.sheets else "; sample sheets do not fit and are left out"
            print(f"the fastest that fits: {best.choice}{less}\n\n{command}")
    return EXIT_NOTHING_FITS if best is None else 0


def _wish(options: PlanOptions) -> Wish:
    from imagen_video.cli.settings import parse_memory
    from imagen_video.planning.choose import Wish
    from imagen_video.presets.user import load_preset

    if options.gpus_per_node < 1 or (
        options.gpus > options.gpus_per_node and options.gpus % options.gpus_per_node
    ):
        raise InputError(
            "--gpus-per-node",
            f"{options.gpus_per_node} for {options.gpus} GPUs",
            "a divisor of --gpus",
            "give the number of GPUs of one machine",
        )
    if options.checkpointing and options.no_checkpointing:
        raise InputError(
            "--checkpointing", "--no-checkpointing beside it", "one of them", "leave one out"
        )
    gpu_memory = parse_memory(options.gpu_memory, "--gpu-memory")
    if gpu_memory is None:
        raise InputError("--gpu-memory", "none", "a size such as 80GB", "say how much there is")
    return Wish(
        cascade=load_preset(options.preset),
        stage=options.stage,
        gpus=options.gpus,
        gpu_memory=gpu_memory,
        batch=options.batch,
        sharding=options.sharding,
        checkpointing=options.checkpointing
        if options.checkpointing or options.no_checkpointing
        else None,
        precision=options.precision,
        optimizer=options.optimizer,
    )


def _command(options: PlanOptions, wish: Wish, best: Option) -> str:
    from imagen_video.planning.command import launch_command, train_words

    data = options.data
    if data is None and options.preset != "emoji":
        data = "SHARDS"
    words = train_words(wish, best, preset=options.preset, data=data)
    return launch_command(wish, words, options.gpus_per_node)


def _to_json(
    wish: Wish, found: Sequence[Option], best: Option | None, command: str | None
) -> dict[str, Any]:
    from imagen_video.models.cost import num_parameters

    return {
        "cascade": wish.cascade.name,
        "stage": wish.stage,
        "parameters": num_parameters(wish.cascade.stage(wish.stage).unet),
        "gpus": wish.gpus,
        "gpu_memory": wish.gpu_memory,
        "options": [option.to_json() for option in found],
        "chosen": None if best is None else found.index(best),
        "command": command,
    }


def _print_table(wish: Wish, found: Sequence[Option]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from imagen_video.models.cost import num_parameters

    stage = wish.cascade.stage(wish.stage)
    millions = num_parameters(stage.unet) / 1e6
    size = f"{millions:.3g}M" if millions < 1000 else f"{millions / 1000:.3g}B"
    title = (
        f"{wish.cascade.name}/{stage.name}: {size} parameters, "
        f"{wish.gpus} x {_size(wish.gpu_memory)}; memory of one GPU:"
    )
    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0), title_justify="left")
    table.add_column("way", no_wrap=True)
    names = (
        "clips",
        "weights",
        "grads",
        "optim",
        "EMA",
        "copies",
        "activ.",
        "peak",
        "fits",
        "most",
    )
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for option in found:
        memory = option.memory
        parts = (memory.parameters, memory.gradients, memory.optimizer, memory.ema, memory.copies)
        table.add_row(
            _way(option),
            f"{option.rows}x{option.accumulate}" if option.accumulate > 1 else f"{option.rows}",
            *map(_size, (*parts, memory.activations, option.peak)),
            "yes" if option.fits else "no",
            str(option.most_rows),
        )
    table.caption = (
        "clips: a GPU works through at once (x accumulated); most: that would fit; "
        "copies: DDP's buckets or FSDP's gathered weights"
    )
    table.caption_justify = "left"
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _way(option: Option) -> str:
    choice = option.choice
    again = "recompute" if choice.checkpointing else "keep"
    return f"{choice.precision} {choice.sharding} {again}"


def _too_large(wish: Wish, found: Sequence[Option]) -> str:
    """Say how far the smallest way is from fitting."""
    least = min(found, key=lambda option: option.peak)
    return (
        f"nothing fits in {_size(wish.gpu_memory)}: the least, {least.choice}, takes "
        f"{_size(least.peak)} for {least.rows} clip(s) a GPU; use more GPUs (fsdp), "
        "GPUs with more memory, --optimizer adafactor, or fewer train_frames in the stage's spec"
    )


def _size(number: float) -> str:
    """Write bytes as MB, or as GB from one on: decimal, as memory of GPUs is sold."""
    return f"{number / 1e6:.0f}M" if number < 1e9 else f"{number / 1e9:.1f}G"
