"""`imagen-video train`: train one stage of a cascade, or all of them, or go on with a run."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from imagen_video.errors import BundleError, InputError
from imagen_video.training.config import TrainConfig

ALL_STAGES = "all"
SHEET_CLIPS = 3
"""Clips on a sample sheet."""
VALIDATION_CLIPS = 8
"""Most clips in a batch of held-out clips."""

if TYPE_CHECKING:
    from torch import nn

    from imagen_video.cascade.spec import CascadeSpec, StageSpec
    from imagen_video.data.batches.batch import BatchSource
    from imagen_video.text.base import TextEncoder
    from imagen_video.training.processes import Processes


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Train one stage; interrupt it at any time and give the same command to go on."""

    stage: str
    """Stage to train: base, tsr1, ssr1, ...; all = every stage, one job each (see --launch)."""
    run_dir: Path
    """Folder of the run: logs, checkpoints, samples. A run found there is resumed."""
    preset: str = "emoji"
    """Cascade to train a stage of: a preset's name, or FILE.py:FUNCTION."""
    data: Path | None = None
    """Shards made by `imagen-video data prepare`; the demo corpus if not given."""
    validation_data: Path | None = None
    """Shards of held-out clips, for the validation loss and the sample sheets."""
    corpus: Path = Path("build/corpus")
    """Sprite store of the demo, made by `imagen-video corpus build`."""
    init_from: str | None = None
    """Bundle whose weights of this stage the run starts from: a folder, a built-in name or a hub
    id. Undistilled: a student takes other inputs, or knows one number of steps."""
    made_inputs: Path | None = None
    """Inputs as the cascade makes them, from `imagen-video corpus inputs` (demo corpus)."""
    made_fraction: float = 0.5
    """Share of the clips, and of a spatial stage's images, that have such an input."""
    kinds: tuple[str, ...] = ()
    """Kinds of scenes of the demo corpus to train on; all by default."""
    launch: str | None = None
    """With --stage all: "local", "slurm nodes=1 gpus=8 time=24:00:00" or "ray workers=8 gpus=1"."""
    dry_run: bool = False
    """With --stage all: print the job scripts and start nothing."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=TrainConfig
    )
    """How the run proceeds."""


def run(argv: list[str]) -> int:
    """Parse the words after `train` and train."""
    options = tyro.cli(
        TrainOptions, args=argv, prog="imagen-video train", description=TrainOptions.__doc__
    )
    if options.stage == ALL_STAGES:
        return train_all(options, argv)
    if options.launch is not None or options.dry_run:
        raise InputError(
            "--launch" if options.launch is not None else "--dry-run",
            f"stage {options.stage}",
            f"--stage {ALL_STAGES}, whose jobs it starts",
            "start one stage with torchrun or accelerate launch",
        )
    train_stage(options)
    return 0


def train_all(options: TrainOptions, argv: list[str]) -> int:
    """Write a job script for every stage, and start them; return the exit code."""
    from imagen_video.training.launch import engine_of, jobs_of, start_all, write_scripts

    cascade = _cascade(options.preset)
    engine = engine_of(options.launch or "local")
    jobs = jobs_of(argv, [stage.name for stage in cascade.stages], options.run_dir)
    if options.dry_run:
        for job in jobs:
            print(f"# {job.folder / job.stage}{engine.suffix}\n{engine.script(job)}")
        return 0
    scripts = write_scripts(jobs, engine)
    for script in scripts:
        print(f"starting {script}", file=sys.stderr)
    codes = start_all(jobs, scripts, engine)
    for stage, code in codes.items():
        print(f"{stage}: {'done' if code == 0 else f'exit code {code}, see its log'}")
    return 0 if not any(codes.values()) else 1


def train_stage(options: TrainOptions) -> None:
    """Build the network, the data and the objective of a stage, and run the loop.

    Raises:
        InputError: for an unknown preset or stage, or data that is not there.
    """
    import torch

    from imagen_video.training.processes import Processes

    cascade = _cascade(options.preset)
    cascade.stage(options.stage)  # refuse an unknown one before any work
    processes = Processes.join(options.config)
    try:
        torch.manual_seed(options.config.seed)
        _train(options, cascade, processes)
    finally:
        processes.leave()


def _train(options: TrainOptions, cascade: CascadeSpec, processes: Processes) -> None:
    from imagen_video.data.batches.scene_clips import Prefetched
    from imagen_video.training.loop import train
    from imagen_video.training.objective import StageObjective
    from imagen_video.training.sheets import SampleSheet
    from imagen_video.training.validation import LossByNoise, Validation

    stage, config = cascade.stage(options.stage), options.config
    batches = Prefetched(_batches(options, cascade, clips=config.clips))
    network = _network(options, cascade, processes)
    encoder = _encoder(options, cascade)
    source = cascade.input_of(stage.name)
    noise_levels = LossByNoise()
    objective = StageObjective(
        stage=stage,
        source=source,
        encoder=encoder,
        text_dropout=config.text_dropout,
        middle_times=config.middle_times,
        gather_at=config.gather_at,
        device=processes.device,
        record=noise_levels.add,
    )
    # no more at a time than training has, but a row for every process
    clips = max(min(VALIDATION_CLIPS, config.clips), processes.ranks)
    held_out = _held_out(options, cascade, clips)
    shown = _held_out(options, cascade, SHEET_CLIPS)
    _announce(options, cascade, network, processes)
    train(
        network,
        objective,
        batches,
        config,
        options.run_dir,
        meta={
            "cascade": cascade.name,
            "stage": dataclasses.asdict(stage),
            "data": _about_data(options),
        },
        on_sample=SampleSheet(
            stage=stage,
            source=source,
            batches=shown or _batches(options, cascade, clips=SHEET_CLIPS, image_fraction=0.0),
            encoder=encoder,
            run_dir=options.run_dir,
            bf16=config.precision == "bf16",
            write=processes.is_main,
        ),
        validation=None
        if held_out is None
        else Validation(objective=objective, batches=held_out, bf16=config.precision == "bf16"),
        loss_by_noise=noise_levels,
        processes=processes,
    )


def _cascade(text: str) -> CascadeSpec:
    from imagen_video.presets.user import load_preset

    return load_preset(text)


def _network(options: TrainOptions, cascade: CascadeSpec, processes: Processes) -> nn.Module:
    """Build the stage's network; several processes bring it to their devices when they split it."""
    from imagen_video.models.unet import VideoUNet

    stage = cascade.stage(options.stage)
    if options.init_from is None:
        network = VideoUNet(stage.unet)
    else:
        from imagen_video.models.growth import grown

        network = grown(_stored(options.init_from, stage), stage.unet, options.config.seed)
    network.gradient_checkpointing = options.config.gradient_checkpointing
    return network.to(processes.device) if processes.ranks == 1 else network


def _stored(bundle: str, wanted: StageSpec) -> nn.Module:
    """Load the weights that a run starts from.

    Raises:
        BundleError: if there are none, or they are another network's or a student's.
    """
    from imagen_video.cascade.bundle import Bundle
    from imagen_video.cascade.resolve_bundle import find_bundle
    from imagen_video.models.growth import can_grow

    opened = Bundle.open(find_bundle(bundle))
    found = opened.spec.stage(wanted.name)
    where = f"--init-from {bundle}, stage {wanted.name!r}"
    if found.distilled is not None:
        raise BundleError(
            where,
            f"a student: {found.distilled}",
            "weights that were trained, not distilled",
            "give the bundle of its teachers (of the demo's: recipes/emoji.py --teachers)",
        )
    if not can_grow(found.unet, wanted.unet):
        names = [field.name for field in dataclasses.fields(wanted.unet)]
        differing = [n for n in names if getattr(found.unet, n) != getattr(wanted.unet, n)]
        raise BundleError(
            where,
            f"a network with another {', '.join(differing)}",
            "the network of the preset, or one that lacks only an input of it",
            "give the preset that the bundle was trained with, or leave --init-from out",
        )
    return opened.network(wanted.name)


def _batches(
    options: TrainOptions,
    cascade: CascadeSpec,
    *,
    clips: int,
    image_fraction: float | None = None,
    held_out: bool = False,
) -> BatchSource:
    """Training data at the stage's geometry: shards, or scenes of the demo corpus.

    Raises:
        InputError: if it is not there.
    """
    config = options.config
    settings: dict[str, Any] = {
        "clips": clips,
        "images": config.images,
        "image_fraction": config.image_fraction if image_fraction is None else image_fraction,
        "seed": config.seed,
    }
    data = options.validation_data if held_out else options.data
    if data is not None and options.made_inputs is not None:
        raise InputError(
            "--made-inputs",
            f"{options.made_inputs} beside --data",
            "scenes of the demo corpus",
            "leave one of them out",
        )
    if data is not None:
        from imagen_video.data.batches.shard_batches import ShardBatches

        packed = 0.0 if held_out else config.packed_images
        return ShardBatches.open(data, cascade, options.stage, packed_images=packed, **settings)
    if config.packed_images:
        raise InputError(
            "--packed-images",
            f"{config.packed_images} with the demo corpus",
            "0, or prepared shards",
            "mix whole batches of images in with --image-fraction",
        )
    from imagen_video.corpus.scenes import SceneSource
    from imagen_video.corpus.sprites import SpriteStore
    from imagen_video.data.batches.scene_clips import SceneBatches

    source = SceneSource(
        SpriteStore.open(options.corpus),
        seed=config.seed,
        split="held_out" if held_out else "train",
        kinds=options.kinds or None,
    )
    batches = SceneBatches.of(cascade, options.stage, source, **settings)
    if options.made_inputs is None or held_out:
        return batches
    return batches.with_made(cascade, options.made_inputs, options.made_fraction)


def _held_out(options: TrainOptions, cascade: CascadeSpec, clips: int) -> BatchSource | None:
    """Clips that training does not show; None if the user gave shards to train on only."""
    if options.data is not None and options.validation_data is None:
        return None
    return _batches(options, cascade, clips=clips, image_fraction=0.0, held_out=True)


def _about_data(options: TrainOptions) -> dict[str, Any]:
    if options.data is not None:
        return {"shards": str(options.data)}
    about: dict[str, Any] = {"corpus": str(options.corpus), "kinds": list(options.kinds)}
    if options.made_inputs is not None:
        made = {"folder": str(options.made_inputs), "fraction": options.made_fraction}
        about["made_inputs"] = made
    return about


def _encoder(options: TrainOptions, cascade: CascadeSpec) -> TextEncoder | None:
    """The text encoder; None for a cascade without text, and for shards, which hold its states."""
    from imagen_video.text.cache import CachedEncoder
    from imagen_video.text.registry import build_text_encoder

    if cascade.text_encoder is None or options.data is not None:
        return None
    return CachedEncoder(build_text_encoder(dict(cascade.text_encoder)))


def _announce(
    options: TrainOptions, cascade: CascadeSpec, network: nn.Module, processes: Processes
) -> None:
    if not processes.is_main:
        return
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    device = str(processes.device.type)
    if processes.ranks > 1:
        kind = "fsdp" if processes.sharded else "ddp"
        device = f"{processes.ranks} x {device} ({kind})"
    print(
        f"training {cascade.name}/{options.stage} ({millions:.2f}M parameters) on {device} "
        f"in {options.run_dir}",
        file=sys.stderr,
    )
