"""`imagen-video inspect`: the stages of a cascade, their size and cost, found without weights."""

from __future__ import annotations

import dataclasses
import json
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

import tyro

from imagen_video.errors import BundleError

if TYPE_CHECKING:
    from imagen_video.cascade.spec import CascadeSpec, StageSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """Show the stages, size and cost of a preset or bundle; no weights are loaded."""

    name: tyro.conf.Positional[str]
    """paper, emoji, tiny or another preset; else the folder or hub id of a bundle."""
    json: bool = False
    """Print JSON instead of a table."""


def run(argv: list[str]) -> int:
    """Parse the words after `inspect` and print the table.

    Raises:
        InputError: if there is no such preset or bundle.
    """
    options = tyro.cli(
        InspectOptions,
        args=argv,
        prog="imagen-video inspect",
        description=cleandoc(InspectOptions.__doc__ or ""),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    found = describe(options.name)
    if options.json:
        print(json.dumps(found))
    else:
        _print_table(found)
    return 0


def describe(name: str) -> dict[str, Any]:
    """Describe a preset, or else a bundle, as JSON values.

    Raises:
        BundleError: if there is neither.
    """
    spec = _find(name)
    stages = [describe_stage(stage, spec) for stage in spec.stages]
    return {
        "name": spec.name,
        "text_encoder": None if spec.text_encoder is None else dict(spec.text_encoder),
        "stages": stages,
        "parameters": sum(stage["parameters"] for stage in stages),
    }


def describe_stage(stage: StageSpec, spec: CascadeSpec) -> dict[str, Any]:
    """Describe one stage.

    A step is one network evaluation for one video, of a batch of two where the stage is guided.
    The memory is what one step of the whole, untiled clip takes in fp32, weights included.
    """
    from imagen_video.models.cost import flops, inference_bytes, num_parameters

    clip, unet = stage.output, stage.unet
    batch = stage.rows_a_sample(stage.sampling)
    before = spec.input_of(stage.name)
    parameters = num_parameters(unet)
    pixels = clip.frames * clip.height * clip.width
    if before is not None:
        pixels += before.frames * before.height * before.width
    shape = (batch, clip.frames, clip.height, clip.width)
    held = 4 * (parameters + unet.channels * pixels)
    return {
        "name": stage.name,
        "kind": stage.kind,
        "frames": clip.frames,
        "height": clip.height,
        "width": clip.width,
        "fps": clip.fps,
        "parameters": parameters,
        "flops_per_step": flops(unet, *shape),
        "peak_memory_bytes": held + inference_bytes(unet, *shape),
        "tileable": unet.tileable,
        "halo_pixels": unet.halo_pixels if unet.tileable else None,
        "halo_frames": unet.halo_frames if unet.tileable else None,
        "sampler": stage.sampling.sampler,
        "steps": stage.sampling.steps,
        "rows_per_step": batch,
        "guidance_weight": stage.sampling.guidance_weight,
        "distilled": None if stage.distilled is None else dataclasses.asdict(stage.distilled),
    }


def _find(name: str) -> CascadeSpec:
    from imagen_video.cascade.bundle import Bundle
    from imagen_video.cascade.resolve_bundle import BUILT_IN, find_bundle
    from imagen_video.presets import PRESETS

    # of a preset with weights that ship, what `generate` runs: some stages of it are distilled
    if name in PRESETS and name not in BUILT_IN:
        return PRESETS[name]()
    try:
        folder = find_bundle(name)
    except BundleError as error:
        if "/" in name:  # of a folder or a hub id, and no misspelt preset
            raise
        known = f"a preset ({', '.join(PRESETS)}), or {error.expected}"
        raise BundleError(error.where, error.got, known, error.fix) from error
    return Bundle.open(folder).spec


def _print_table(found: dict[str, Any]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    title = f"{found['name']}: {_count(found['parameters'])} parameters"
    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("stage", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for column in ("output", "fps", "params", "FLOPs", "steps", "untiled", "halo"):
        table.add_column(column, justify="right", no_wrap=True)
    for stage in found["stages"]:
        halo = f"{stage['halo_frames']} fr {stage['halo_pixels']} px"
        table.add_row(
            stage["name"],
            stage["kind"],
            f"{stage['frames']}x{stage['height']}x{stage['width']}",
            f"{stage['fps']:g}",
            _count(stage["parameters"]),
            _count(stage["flops_per_step"]),
            f"{stage['steps']}{'*' if stage['distilled'] else ''}",
            _bytes(stage["peak_memory_bytes"]),
            halo if stage["tileable"] else "runs whole",
        )
    table.caption = "FLOPs and memory are those of one step of the whole clip"
    if any(stage["distilled"] for stage in found["stages"]):
        table.caption += "; * distilled: made for these steps"
    Console().print(table)


def _count(number: float) -> str:
    """Write a number with three digits and a letter: 5.58B."""
    for letter in ("", "k", "M", "B", "T", "P"):
        if number < 1000 or letter == "P":
            return f"{number:.3g}{letter}"
        number /= 1000
    raise AssertionError("the last letter takes everything")


def _bytes(number: float) -> str:
    """Write a size in MiB, or in GiB from one on."""
    return f"{number / 2**20:.0f} MiB" if number < 2**30 else f"{number / 2**30:.1f} GiB"
