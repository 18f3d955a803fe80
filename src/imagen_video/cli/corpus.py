"""`imagen-video corpus`: build the sprite store of the demo, and look at scenes made from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from imagen_video.cli.main import say
from imagen_video.errors import InputError
from imagen_video.training.config import MadeInputsConfig

if TYPE_CHECKING:
    from imagen_video.corpus.build import Report

DEFAULT_STORE = Path("build/corpus")
SHEET_FRAMES = 8
"""Frames of each scene on a sheet."""
FRAME_STRIDE = 16
"""Source frames between two of them: the 128 of a scene in eight steps."""
MAX_SCENES = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """Fetch the packages, check them, and write the sprite store."""

    out: Path = DEFAULT_STORE
    """Folder of the store; about 4.5 GB."""
    packages: Path | None = None
    """Folder with the packages already installed; fetched into build/packages if left out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SheetOptions:
    """Draw scenes with their captions on one picture."""

    out: Path
    """The picture, a name that ends in .png."""
    corpus: Path = DEFAULT_STORE
    """Sprite store, made by `imagen-video corpus build`."""
    count: int = 12
    """Number of scenes."""
    held_out: bool = False
    """Show the evaluation scenes, which training never sees, instead of training scenes."""
    seed: int = 0
    """Of the training scenes."""
    height: int = 96
    """Height of a frame in pixels."""
    width: int = 160
    """Width of a frame in pixels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputsOptions:
    """Make inputs of a super-resolution stage with the stages before it, to train it on.

    `imagen-video train --made-inputs` takes the folder, finished or not; the same command goes on.
    """

    out: Path
    """Folder for them."""
    bundle: str = "emoji"
    """The cascade: a built-in name, a bundle folder, or a hub id."""
    corpus: Path = DEFAULT_STORE
    """Sprite store, made by `imagen-video corpus build`."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the hardware multiplies it."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto: the fastest there is."""
    config: Annotated[MadeInputsConfig, tyro.conf.arg(name="")]
    """What is made."""


Verb = (
    Annotated[BuildOptions, tyro.conf.subcommand("build")]
    | Annotated[SheetOptions, tyro.conf.subcommand("sheet")]
    | Annotated[InputsOptions, tyro.conf.subcommand("inputs")]
)


def run(argv: list[str]) -> int:
    """Parse the words after `corpus` and build or draw.

    Raises:
        InputError: for anything that cannot be used.
        ResourceError: if the disk is full.
    """
    options = tyro.cli(
        Verb,
        args=argv,
        prog="imagen-video corpus",
        description="Build and look at the demo's training corpus.",
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    if isinstance(options, BuildOptions):
        build(options)
    elif isinstance(options, SheetOptions):
        sheet(options)
    else:
        inputs(options)
    return 0


def build(options: BuildOptions) -> None:
    """Build the store and say what is in it."""
    from imagen_video.corpus.build import build_corpus

    print(_summary(options.out, build_corpus(options.out, options.packages)))


def sheet(options: SheetOptions) -> None:
    """Draw scenes, one a row, and write the picture."""
    if not 1 <= options.count <= MAX_SCENES:
        raise InputError("--count", f"{options.count}", f"1 to {MAX_SCENES}", "correct it")
    if options.out.suffix.lower() != ".png":
        raise InputError("--out", str(options.out), "a name that ends in .png", "rename it")
    from imagen_video.corpus.render import render
    from imagen_video.corpus.scenes import SceneSource, held_out_prompts
    from imagen_video.corpus.sprites import SpriteStore
    from imagen_video.media.sheets import contact_sheet, write_png

    store = SpriteStore.open(options.corpus)
    if options.held_out:
        scenes = held_out_prompts(store, options.count)
    else:
        source = SceneSource(store, seed=options.seed, split="train")
        scenes = [source.scene(index) for index in range(options.count)]
    frames = range(0, SHEET_FRAMES * FRAME_STRIDE, FRAME_STRIDE)
    clips = [render(scene, store, frames, options.height, options.width) for scene in scenes]
    captions = [scene.caption for scene in scenes]
    write_png(options.out, contact_sheet(clips, columns=SHEET_FRAMES, labels=captions))
    print(f"wrote {options.out}")


def inputs(options: InputsOptions) -> None:
    """Make what is missing, with a line every now and then."""
    import torch

    from imagen_video.cascade.pipeline import ImagenVideoPipeline
    from imagen_video.cli.generation import choose_device, choose_precision
    from imagen_video.cli.progress import SECONDS_BETWEEN_LINES
    from imagen_video.corpus.sprites import SpriteStore
    from imagen_video.media.atomic import check_writable
    from imagen_video.text.registry import build_text_encoder
    from imagen_video.training.made_inputs import InputMaker

    check_writable(options.out)
    device = choose_device(options.device)
    bf16 = choose_precision(options.precision, device) == "bf16"
    pipeline = ImagenVideoPipeline.from_pretrained(options.bundle)
    pipeline.to(device, torch.bfloat16 if bf16 else torch.float32)
    identity = pipeline.spec.text_encoder
    encoder = None if identity is None else build_text_encoder(dict(identity), device=device)
    maker = InputMaker(pipeline, SpriteStore.open(options.corpus), options.config, encoder)
    said = 0.0

    def on_clip(made: int, seconds: float) -> None:
        nonlocal said
        if made >= options.config.count or seconds >= said + SECONDS_BETWEEN_LINES:
            said = seconds
            say(f"{made} of {options.config.count} clips, {seconds:.0f} s")

    maker.write(options.out, on_clip)
    print(f"wrote {options.out}")


def _summary(folder: Path, report: Report) -> str:
    sprites = ", ".join(f"{count} {style}" for style, count in sorted(report.sprites.items()))
    return (
        f"wrote {folder}: {report.subjects} subjects, {sprites}, {report.frames} frames, "
        f"{report.bytes / 1e9:.2f} GB in {report.seconds:.0f} s; {len(report.dropped)} left out"
    )
