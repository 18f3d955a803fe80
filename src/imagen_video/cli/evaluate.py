"""`imagen-video evaluate`: how good are the videos of a cascade, by a pinned protocol."""

from __future__ import annotations

import dataclasses
import shlex
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from imagen_video.errors import InputError


def _shown(metavar: str) -> Any:
    """Show an optional option as --name METAVAR, without "default: None"."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Measure the videos of a cascade against real renders of the same prompts.

    Generates into OUT/videos what is not there yet, or takes videos made earlier (--videos). Prints
    one table; writes OUT/evaluation.json with every setting and OUT/evaluation.png. The same
    command goes on where it was stopped. Needs the extras eval and corpus, and the demo corpus.

    FVD, FID and CLIP score need the weights of their networks: without them they are left out, and
    the table says what stands in. See docs/evaluation.md.
    """

    out: Annotated[Path | None, _shown("DIR")] = None
    """Folder for videos and results."""
    bundle: str = "emoji"
    """Trained cascade: a built-in name, a folder, or a hub id."""
    prompts: str = "held-out"
    """held-out (for results), development (for choosing settings), or a file of prompts."""
    count: int = 100
    """The first so many prompts."""
    kinds: Annotated[tuple[str, ...], _shown("KIND ...")] = ()
    """Only prompts of these kinds: subject, word, solid, pair, "solid pair"."""
    until: Annotated[str | None, _shown("STAGE")] = None
    """Last stage to run: base, tsr1, ssr1, ssr2, tsr2, tsr3 or ssr3."""
    seed: int = 0
    """Of the first prompt's noise; the others follow."""
    steps: Annotated[str | None, _shown("N|STAGE=N,...")] = None
    """Sampling steps: a number for all stages that can take it (distilled ones keep their own), or
    by stage: ssr3=4,base=32."""
    guidance_weight: Annotated[float | None, _shown("W")] = None
    """The paper's w of the base."""
    videos: Annotated[Path | None, _shown("FOLDER")] = None
    """Judge these videos instead, made by `generate` or otherwise: each needs a JSON file of the
    same name with its "prompt"."""
    list_prompts: bool = False
    """Print the prompts, one a line, and stop."""
    metrics: Annotated[tuple[str, ...], _shown("NAME ...")] = ()
    """Only these: lite0, concept, ground, motion, words, views, pairs, time, fvd, fvd-videomae,
    fid, clip. All that can be measured by default."""
    i3d: Annotated[str | None, _shown("FILE")] = None
    """I3D weights for FVD: safetensors, or a hub id."""
    videomae: Annotated[str | None, _shown("FOLDER")] = None
    """VideoMAE for FVD: a transformers folder, or a hub id."""
    inception: Annotated[str | None, _shown("FILE")] = None
    """Inception weights for FID: safetensors, or a hub id."""
    clip: Annotated[str | None, _shown("FOLDER")] = None
    """CLIP: a transformers folder, or a hub id."""
    corpus: Path = Path("build/corpus")
    """Sprite store, made by `imagen-video corpus build`."""
    reference: int = 256
    """Real renders of other scenes that the distances compare with."""
    names: int = 100
    """Subjects that retrieval chooses among."""
    renders: int = 10
    """Real renders of each of them to learn from."""
    work: Path = Path("runs/evaluate")
    """Folder for scores and features of clips, shared by evaluations."""
    memory: str = "4GB"
    """Memory that the process may use, such as 900MB or 4GB, or none for no bound."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto is bf16 where the processor multiplies it in hardware, else fp32."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes cuda where there is one."""


def run(argv: list[str]) -> int:
    """Parse the words after `evaluate` and measure.

    Raises:
        InputError: for anything that cannot be used, before anything is generated.
        MissingExtraError: if what a metric needs is not installed.
        ResourceError: if memory or disk do not suffice.
    """
    options = tyro.cli(
        EvaluateOptions,
        args=argv,
        prog="imagen-video evaluate",
        description=cleandoc(EvaluateOptions.__doc__ or ""),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    _check(options)
    # Only now what is heavy: --help and mistakes answer at once.
    from imagen_video.cli.evaluation import evaluate, print_prompts

    if options.list_prompts:
        return print_prompts(options)
    return evaluate(options, shlex.join(["imagen-video", "evaluate", *argv]))


def _check(options: EvaluateOptions) -> None:
    """Refuse what can be refused without loading anything."""
    if options.out is None and not options.list_prompts:
        raise InputError("--out", "none", "a folder for the results", "add --out DIR")
    if not 0 <= options.seed < 2**62:
        raise InputError("--seed", str(options.seed), "0 to 2^62 - 1", "correct it")
    for name in ("reference", "names", "renders"):
        number = getattr(options, name)
        if not 2 <= number <= 100_000:
            raise InputError(f"--{name}", str(number), "2 to 100000", "correct it")
