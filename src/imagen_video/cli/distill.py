"""`imagen-video distill`: fewer steps and one pass a step; `distill report`: what it cost."""

from __future__ import annotations

import dataclasses
import sys
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from imagen_video.cli.settings import parse_steps
from imagen_video.distillation.config import DistillConfig
from imagen_video.errors import InputError

if TYPE_CHECKING:
    from imagen_video.cascade.bundle import Bundle
    from imagen_video.data.batches.batch import BatchSource
    from imagen_video.distillation.rounds import Route
    from imagen_video.distillation.run import StageTask
    from imagen_video.text.base import TextEncoder

PROBES = 4
"""Held-out batches on which a round's progress is measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillOptions:
    """Make a student that samples in a few steps with one network call each.

    Give the same command again to go on, at any moment. `distill report --help` compares a student
    with its teacher.
    """

    bundle: str
    """The teachers: a built-in name, a bundle folder, or a hub id."""
    stage: str
    """Stage to distil, or all: every stage that has something left to distil, in order."""
    run_dir: Path
    """Folder of the run: a folder a stage, in it one a round."""
    to: str = "8"
    """Steps of the student: a number, or by stage: 8,ssr3=1."""
    from_: Annotated[str | None, tyro.conf.arg(name="from", metavar="N|STAGE=N,...")] = None
    """Deterministic steps of the teacher to begin with; the stage's own number by default."""
    sampler: Literal["ddim", "few_step"] = "ddim"
    """ddim: deterministic. few_step: the paper's stochastic sampler, one round more."""
    weights: tuple[float, float] | None = None
    """Smallest and largest guidance weight that the student takes as an input; 0 0 for none. By
    default 0 15 where the stage is guided and 0 0 where it is not. With --stage all: of the stages
    that are guided."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Bundle to write; RUN_DIR/bundle by default."""
    corpus: Path = Path("build/corpus")
    """Sprite store, made by `imagen-video corpus build`."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Own clips instead of the corpus: shards made by `imagen-video data prepare`."""
    validation_data: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Shards of held-out clips, to measure the rounds on; some of --data if not given."""
    accept_best: bool = False
    """Where a round diverges, or has diverged: take its best weights as its student, and go on."""
    dry_run: bool = False
    """Show the rounds and stop."""
    config: Annotated[DistillConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=DistillConfig
    )
    """How the rounds proceed."""


def run(argv: list[str]) -> int:
    """Parse the words after `distill` and distil, or report.

    Raises:
        InputError: for anything that cannot be used, before anything is computed.
    """
    if argv[:1] == ["report"]:
        from imagen_video.cli.distill_report import run as report

        return report(argv[1:])
    options = tyro.cli(
        DistillOptions,
        args=argv,
        prog="imagen-video distill",
        description=cleandoc(DistillOptions.__doc__ or ""),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    return distill(options)


def distill(options: DistillOptions) -> int:
    """Run the rounds of the stages that the options name, and write the bundle.

    Raises:
        InputError: for stages or steps that cannot be, or a run of another teacher.
        BundleError: if a teacher's weights are missing.
    """
    from imagen_video.cascade.bundle import Bundle
    from imagen_video.cascade.resolve_bundle import find_bundle
    from imagen_video.distillation.assemble import StageRecord, assemble
    from imagen_video.distillation.run import check_bundle, distill_stage
    from imagen_video.media.atomic import check_writable

    check_writable(options.run_dir)
    bundle = Bundle.open(find_bundle(options.bundle))
    routes = plan_routes(bundle, options)
    for route in routes:
        check_bundle(bundle, route.stage.name)
        _say(describe(route, options.config))
    if options.dry_run:
        return 0
    # shards hold the states of their captions
    encoder = None if options.data is not None else _encoder(bundle)
    for route in routes:
        task = _task(bundle, route, options, encoder)
        StageRecord.of(task, distill_stage(task)).write(task.folder)
        # after every stage: what is done can be used while the rest goes on
        made, distilled = assemble(bundle, options.run_dir, options.out or default_out(options))
        print(f"wrote {made.path} ({', '.join(distilled)} distilled)")
    return 0


def default_out(options: DistillOptions) -> Path:
    """Where the bundle goes if nothing is said."""
    return options.run_dir / "bundle"


def plan_routes(bundle: Bundle, options: DistillOptions) -> list[Route]:
    """List the rounds of every stage to distil.

    Raises:
        InputError: for unknown stages, steps that no halving connects, or nothing to distil.
    """
    from imagen_video.distillation.rounds import is_guided, needs_rounds, plan_route

    names = [stage.name for stage in bundle.spec.stages]
    to = parse_steps(options.to, names, "--to")
    start = parse_steps(options.from_, names, "--from")
    chosen = [bundle.spec.stage(options.stage)] if options.stage != "all" else bundle.spec.stages
    missing = [stage.name for stage in chosen if stage.name not in to]
    if missing:
        raise InputError(
            "--to", f"{options.to!r}", f"steps for stage {missing[0]!r} as well", "add a number"
        )
    routes = []
    for stage in chosen:
        name = stage.name
        asked: dict[str, Any] = {"to": to[name], "start": start.get(name)}
        named = options.stage != "all" or is_guided(stage)
        asked |= {"sampler": options.sampler, "weights": options.weights if named else None}
        if options.stage == "all" and not needs_rounds(stage, **asked):
            _say(f"{name}: one call a step, {stage.sampling.steps} steps already; left as it is")
            continue
        routes.append(plan_route(stage, **asked))
    if not routes:
        raise InputError(
            "--stage all",
            f"no stage with more than --to {options.to} steps",
            "something to distil",
            "choose a smaller --to or a larger --from",
        )
    return routes


def describe(route: Route, config: DistillConfig) -> str:
    """Say in a line what will be done to a stage."""
    rounds = ", ".join(
        f"{round_.name} ({config.updates_of(round_)} updates)" for round_ in route.rounds
    )
    weights = f"w {route.min_weight:g} to {route.max_weight:g}" if route.max_weight else "no w"
    return f"{route.stage.name}: {rounds}; {weights}"


def _task(
    bundle: Bundle, route: Route, options: DistillOptions, encoder: TextEncoder | None
) -> StageTask:
    import torch

    from imagen_video.data.batches.scene_clips import Prefetched
    from imagen_video.distillation.run import StageTask

    held_out = _batches(bundle, route, options, split="held_out")
    return StageTask(
        bundle=bundle,
        route=route,
        folder=options.run_dir / route.stage.name,
        config=options.config,
        batches=Prefetched(_batches(bundle, route, options)),
        probes=[held_out.batch(number) for number in range(PROBES)],
        encoder=encoder,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        accept_best=options.accept_best,
        say=_say,
    )


def _batches(
    bundle: Bundle,
    route: Route,
    options: DistillOptions,
    split: Literal["train", "held_out"] = "train",
) -> BatchSource:
    """Clips of the corpus, or the user's own, at the stage's geometry.

    Raises:
        InputError: if they are not there.
    """
    config, stage = options.config, route.stage.name
    shape: dict[str, Any] = {
        "clips": config.clips,
        "images": config.images,
        "image_fraction": config.image_fraction if split == "train" else 0.0,
    }
    if options.data is not None:
        from imagen_video.data.batches.shard_batches import ShardBatches

        held_out = split == "held_out"
        folder = (options.validation_data if held_out else None) or options.data
        seed = config.seed + int(held_out)
        return ShardBatches.open(folder, bundle.spec, stage, **shape, seed=seed)
    from imagen_video.corpus.scenes import SceneSource
    from imagen_video.corpus.sprites import SpriteStore
    from imagen_video.data.batches.scene_clips import SceneBatches

    source = SceneSource(SpriteStore.open(options.corpus), seed=config.seed, split=split)
    return SceneBatches.of(bundle.spec, stage, source, **shape, seed=config.seed)


def _encoder(bundle: Bundle) -> TextEncoder | None:
    from imagen_video.text.cache import CachedEncoder
    from imagen_video.text.registry import build_text_encoder

    identity = bundle.spec.text_encoder
    return None if identity is None else CachedEncoder(build_text_encoder(dict(identity)))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
