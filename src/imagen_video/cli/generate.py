"""`imagen-video generate`: sentences in, videos out."""

from __future__ import annotations

import dataclasses
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from imagen_video.errors import InputError


def _shown(metavar: str, name: str | None = None) -> Any:
    """Show an optional option as --name METAVAR, without "default: None"."""
    return tyro.conf.arg(name=name, metavar=metavar, help_behavior_hint="")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """Turn sentences into videos.

    Writes DIR/SLUG-SEED.mp4, a contact sheet .png and a .json with every setting. Ctrl-C keeps the
    finished stages; --resume DIR goes on from them.
    """

    prompt: Annotated[tyro.conf.Positional[tuple[str, ...]], _shown("PROMPT ...")] = ()
    """What to show, in quotes; several make several videos, one after another."""
    prompts_file: Annotated[Path | None, _shown("FILE", name="prompts")] = None
    """File with one more prompt a line."""
    out: Annotated[Path | None, _shown("DIR")] = None
    """Folder for the files."""
    seed: int = 0
    """Of the noise: the same seed gives the same video. Every prompt gets it."""
    class_id: Annotated[tuple[int, ...], _shown("ID ...")] = ()
    """For cascades of classes: which one; several make several videos."""
    vector: Annotated[tuple[str, ...], _shown("NUMBER,... ...")] = ()
    """For cascades of numbers: those of a video, with commas; several words, several videos."""
    bundle: str = "emoji"
    """Trained cascade: a built-in name, a folder, or a hub id."""
    until: Annotated[str | None, _shown("STAGE")] = None
    """Last stage to run: base, tsr1, ssr1, ssr2, tsr2, tsr3 or ssr3."""
    start_stage: Annotated[str | None, _shown("STAGE")] = None
    """First stage to run, on the video given by --from-video."""
    from_video: Annotated[Path | None, _shown("FILE")] = None
    """Video to raise in resolution or frame rate, from --start-stage on."""
    image: Annotated[Path | None, _shown("FILE")] = None
    """Picture that the video begins with."""
    negative_prompt: Annotated[str | None, _shown("TEXT")] = None
    """What guidance leads away from."""
    steps: Annotated[str | None, _shown("N|STAGE=N,...")] = None
    """Sampling steps: a number for all stages that can take it (distilled ones keep their own), or
    by stage: ssr3=4,base=32."""
    guidance_weight: Annotated[float | None, _shown("W")] = None
    """The paper's w of the base: 0 follows the prompt least, large values follow it strictly."""
    num_frames: Annotated[int | None, _shown("N")] = None
    """Frames of the result; the last stage's own by default."""
    height: Annotated[int | None, _shown("PIXELS")] = None
    """Height of the result in pixels."""
    width: Annotated[int | None, _shown("PIXELS")] = None
    """Width of the result in pixels."""
    memory: str = "4GB"
    """Memory that the whole process may use, such as 900MB or 4GB, or none for no bound; where a
    GPU computes, of its memory: give it most of what it has."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto is bf16 where the processor multiplies it in hardware, else fp32."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes cuda where there is one."""
    keep_stages: bool = False
    """Keep every stage: as DIR/SLUG-SEED-STAGE.mp4, and its exact values in DIR/.work."""
    resume: Annotated[Path | None, _shown("DIR")] = None
    """Go on with the unfinished videos of this folder; only --memory, --device, --keep-stages and
    --json are taken from the command line then."""
    json: bool = False
    """Print the JSON of each video as one line of stdout."""


def run(argv: list[str]) -> int:
    """Parse the words after `generate` and make the videos.

    Raises:
        InputError: for anything that cannot be used, before anything is computed.
        ResourceError: if memory or disk do not suffice.
    """
    options = tyro.cli(
        GenerateOptions,
        args=argv,
        prog="imagen-video generate",
        description=cleandoc(GenerateOptions.__doc__ or ""),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    _check_together(options)
    # Only now what is heavy: --help and mistakes answer at once.
    from imagen_video.cli.generation import generate

    return generate(options)


_BESIDE_RESUME = ("resume", "memory", "device", "keep_stages", "json")
"""Options that say how a video is made, and not which: an interrupted run may go on with others."""


def _check_together(options: GenerateOptions) -> None:
    """Refuse combinations of options that say nothing or too much."""
    has_prompts = bool(options.prompt or options.prompts_file or options.class_id or options.vector)
    if options.resume is not None:
        _check_resumed(options)
        return
    if not has_prompts:
        raise InputError(
            "prompt",
            "none",
            "at least one sentence, --class-id or --vector",
            'write one: imagen-video generate "a panda dancing" --out demo',
        )
    if options.out is None:
        raise InputError("--out", "none", "a folder for the files", "add --out DIR")
    if not 0 <= options.seed < 2**63:
        raise InputError("--seed", f"{options.seed}", "0 to 2^63 - 1", "correct it")


def _check_resumed(options: GenerateOptions) -> None:
    """Refuse what would be ignored: the folder says which videos to make, and how.

    An option with its default value cannot be told from one that is left out.
    """
    changed = [
        field.name
        for field in dataclasses.fields(options)
        if field.name not in _BESIDE_RESUME and getattr(options, field.name) != field.default
    ]
    if changed:
        words = {"prompt": "a prompt", "prompts_file": "--prompts"}
        told = [words.get(name, f"--{name.replace('_', '-')}") for name in changed]
        raise InputError(
            "--resume",
            f"{', '.join(told)} beside it",
            "--memory, --device, --keep-stages and --json at most: the rest is in the folder",
            "leave the others out, or start anew without --resume",
        )
