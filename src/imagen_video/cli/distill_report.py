"""`imagen-video distill report`: a student beside its teacher, as in the paper's Table 1."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from imagen_video.cli.settings import parse_memory
from imagen_video.distillation.report_settings import ReportConfig, Settings

if TYPE_CHECKING:
    from imagen_video.cascade.bundle import Bundle
    from imagen_video.cascade.pipeline import ImagenVideoPipeline


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Compare a distilled cascade with its teacher: quality, time and FLOPs.

    Writes OUT/report.md, report.json and contact sheets. The same command goes on where it was
    stopped; needs the extras eval and corpus, and the demo corpus.
    """

    teacher: str
    """The undistilled cascade: a built-in name, a bundle folder, or a hub id."""
    bundle: str
    """The distilled one."""
    out: Path
    """Folder for the report."""
    work: Path = Path("runs/distill-report")
    """Folder for clips and features, shared by reports."""
    corpus: Path = Path("build/corpus")
    """Sprite store, made by `imagen-video corpus build`."""
    memory: str = "4GB"
    """Memory that the process may use, such as 900MB or 4GB, or none for no bound."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto is bf16 where the processor multiplies it in hardware, else fp32."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=Settings
    )
    """How the teachers are sampled."""
    config: Annotated[ReportConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=ReportConfig
    )
    """What is measured."""


def run(argv: list[str]) -> int:
    """Parse the words after `distill report` and write the report.

    Raises:
        InputError: for bundles that do not belong together, before anything is computed.
        MissingExtraError: if the features' network is not installed.
    """
    options = tyro.cli(
        ReportOptions,
        args=argv,
        prog="imagen-video distill report",
        description=cleandoc(ReportOptions.__doc__ or ""),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    write_report(options, shlex.join(["imagen-video", "distill", "report", *argv]))
    return 0


def write_report(options: ReportOptions, command: str) -> None:
    """Measure, and write the report.

    Raises:
        InputError: as `run`.
    """
    from imagen_video.cascade.bundle import Bundle
    from imagen_video.cascade.resolve_bundle import find_bundle
    from imagen_video.corpus.sprites import SpriteStore
    from imagen_video.distillation.comparison import cells_of
    from imagen_video.distillation.report import Reporter
    from imagen_video.distillation.tables import markdown, write_sheets
    from imagen_video.evaluation.features.lite0 import Lite0
    from imagen_video.media.atomic import replacing

    bundles = [Bundle.open(find_bundle(name)) for name in (options.teacher, options.bundle)]
    cells = cells_of(bundles[0], bundles[1], options.settings)
    options.config.check(bundles[0].spec)
    teacher, student = (_pipeline(bundle, options.precision) for bundle in bundles)
    reporter = Reporter(
        pipelines={"teacher": teacher, "student": student},
        cells=cells,
        store=SpriteStore.open(options.corpus),
        features=Lite0().frames,
        config=options.config,
        settings=options.settings,
        work=options.work,
        memory=parse_memory(options.memory),
        say=_say,
    )
    result, depths = reporter.run()
    options.out.mkdir(parents=True, exist_ok=True)
    sheets = write_sheets(depths, options.out, options.config.sheets)
    result["command"] = command
    for name, text in (
        ("report.json", json.dumps(result, indent=1) + "\n"),
        ("report.md", markdown(result, command, sheets)),
    ):
        with replacing(options.out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(f"wrote {options.out / 'report.md'}")


def _pipeline(bundle: Bundle, precision: str) -> ImagenVideoPipeline:
    import torch

    from imagen_video.cascade.pipeline import ImagenVideoPipeline
    from imagen_video.cli.generation import choose_device, choose_precision

    device = choose_device("auto")
    chosen = choose_precision(precision, device)
    pipeline = ImagenVideoPipeline(
        bundle.spec, bundle.network, provenance=bundle.provenance, digest=bundle.digest
    )
    return pipeline.to(device, torch.bfloat16 if chosen == "bf16" else torch.float32)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
