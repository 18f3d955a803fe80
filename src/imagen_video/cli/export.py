"""`imagen-video export`: run folders in, a bundle that `generate` takes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from imagen_video.errors import InputError

if TYPE_CHECKING:
    from imagen_video.cascade.spec import CascadeSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Make a bundle of trained stages, for `imagen-video generate --bundle`.

    Taken are the averaged weights of the newest whole checkpoint of each run, as 16-bit floats.
    Stages without a run are in the bundle without weights: `generate --until` stops before them.
    """

    preset: str
    """Cascade the runs trained: a preset's name, or FILE.py:FUNCTION."""
    run_dir: Annotated[tuple[str, ...], tyro.conf.arg(metavar="STAGE=DIR|DIR ...")]
    """Run folders: base=runs/base ssr1=runs/ssr1; or one folder with a run a stage inside."""
    out: Path
    """Folder of the bundle; a bundle found there is replaced."""
    note: str | None = None
    """What to say about data and licence, for whoever gets the bundle."""


def run(argv: list[str]) -> int:
    """Parse the words after `export` and write the bundle.

    Raises:
        InputError: for an unknown preset or stage, or a folder without a run.
    """
    options = tyro.cli(
        ExportOptions,
        args=argv,
        prog="imagen-video export",
        description=cleandoc(ExportOptions.__doc__ or ""),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    from imagen_video.presets.user import load_preset
    from imagen_video.training.export import export_bundle

    cascade = load_preset(options.preset)
    runs = runs_of(options.run_dir, cascade)
    note = {} if options.note is None else {"note": options.note}
    bundle = export_bundle(cascade, runs, options.out, note)
    trained = bundle.provenance["training"]
    for stage in cascade.stages:
        about = "no run: no weights"
        if stage.name in runs:
            about = f"{trained[stage.name]['updates']} updates, from {runs[stage.name]}"
        print(f"{stage.name}: {about}")
    print(f"wrote {options.out}")
    return 0


def runs_of(words: Sequence[str], cascade: CascadeSpec) -> dict[str, Path]:
    """Return the run folder of every stage that has one.

    Args:
        words: STAGE=DIR, or a folder whose subfolders are called like the stages.
        cascade: whose stages they are.

    Raises:
        InputError: for an unknown stage, a folder without a run, or a stage that is named twice.
    """
    runs: dict[str, Path] = {}
    for stage, folder in _pairs(words, cascade):
        cascade.stage(stage)  # refuses an unknown one
        if stage in runs:
            raise InputError(
                "--run-dir", f"stage {stage} twice", "one run a stage", "leave one out"
            )
        if not (folder / "checkpoints").is_dir():
            raise InputError(
                f"--run-dir {stage}={folder}",
                "no checkpoints there",
                "a folder that `train --run-dir` made",
                "check the path, or train the stage first",
            )
        runs[stage] = folder
    return runs


def _pairs(words: Sequence[str], cascade: CascadeSpec) -> Iterator[tuple[str, Path]]:
    names = [stage.name for stage in cascade.stages]
    for word in words:
        stage, equals, folder = word.partition("=")
        if equals:
            yield stage, Path(folder)
            continue
        found = [name for name in names if (Path(word) / name / "checkpoints").is_dir()]
        if not found:
            raise InputError(
                f"--run-dir {word}",
                "no run of a stage in it",
                f"STAGE=DIR, or a folder that holds {', '.join(names)}",
                "check the path",
            )
        for name in found:
            yield name, Path(word) / name
