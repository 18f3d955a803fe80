"""`imagen-video train`: train one stage of a cascade, or go on with a run."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from imagen_video.errors import InputError
from imagen_video.training.config import TrainConfig

SHEET_CLIPS = 3
"""Clips on a sample sheet."""

if TYPE_CHECKING:
    from torch import nn

    from imagen_video.cascade.spec import CascadeSpec
    from imagen_video.corpus.scenes import Split
    from imagen_video.data.scene_clips import SceneBatches
    from imagen_video.text.base import TextEncoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Train one stage; interrupt it at any time and give the same command to go on."""

    stage: str
    """Stage to train: base, tsr1, ssr1, ..."""
    run_dir: Path
    """Folder of the run: logs, checkpoints, samples. A run found there is resumed."""
    preset: str = "emoji"
    """Cascade to train a stage of."""
    corpus: Path = Path("build/corpus")
    """Sprite store, made by `imagen-video corpus build`."""
    init_from: Path | None = None
    """Bundle whose weights of this stage the run starts from."""
    kinds: tuple[str, ...] = ()
    """Kinds of scenes to train on; all by default."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=TrainConfig
    )
    """How the run proceeds."""


def run(argv: list[str]) -> int:
    """Parse the words after `train` and train."""
    options = tyro.cli(
        TrainOptions, args=argv, prog="imagen-video train", description=TrainOptions.__doc__
    )
    train_stage(options)
    return 0


def train_stage(options: TrainOptions) -> None:
    """Build the network, the data and the objective of a stage, and run the loop.

    Raises:
        InputError: for an unknown preset or stage, or a corpus that is not there.
    """
    import torch

    from imagen_video.data.scene_clips import Prefetched
    from imagen_video.models.unet import VideoUNet
    from imagen_video.presets import preset
    from imagen_video.training.loop import train
    from imagen_video.training.objective import StageObjective
    from imagen_video.training.sheets import SampleSheet

    cascade = preset(options.preset)
    stage = cascade.stage(options.stage)
    config = options.config
    batches = Prefetched(_batches(options, cascade, config))
    sheet = dataclasses.replace(config, clips=SHEET_CLIPS, image_fraction=0.0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)
    network = VideoUNet(stage.unet)
    network.gradient_checkpointing = config.gradient_checkpointing
    if options.init_from is not None:
        _load_weights(network, options.init_from, stage.name)
    network.to(device)
    encoder = _encoder(cascade)
    source = cascade.input_of(stage.name)
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    print(
        f"training {cascade.name}/{stage.name} ({millions:.2f}M parameters) on {device} "
        f"in {options.run_dir}",
        file=sys.stderr,
    )
    train(
        network,
        StageObjective(
            stage=stage,
            source=source,
            encoder=encoder,
            text_dropout=config.text_dropout,
            device=device,
        ),
        batches,
        config,
        options.run_dir,
        meta={"cascade": cascade.name, "stage": dataclasses.asdict(stage)},
        on_sample=SampleSheet(
            stage=stage,
            source=source,
            batches=_batches(options, cascade, sheet, split="held_out"),
            encoder=encoder,
            run_dir=options.run_dir,
            bf16=config.precision == "bf16",
        ),
    )


def _batches(
    options: TrainOptions, cascade: CascadeSpec, config: TrainConfig, split: Split = "train"
) -> SceneBatches:
    """Scenes of the corpus at the stage's geometry.

    Raises:
        InputError: if the corpus is not there.
    """
    from imagen_video.corpus.scenes import SceneSource
    from imagen_video.corpus.sprites import SpriteStore
    from imagen_video.data.scene_clips import SceneBatches

    source = SceneSource(
        SpriteStore.open(options.corpus),
        seed=config.seed,
        split=split,
        kinds=options.kinds or None,
    )
    return SceneBatches.of(
        cascade,
        options.stage,
        source,
        clips=config.clips,
        images=config.images,
        image_fraction=config.image_fraction,
        seed=config.seed,
    )


def _encoder(cascade: CascadeSpec) -> TextEncoder:
    from imagen_video.text.cache import CachedEncoder
    from imagen_video.text.registry import build_text_encoder

    if cascade.text_encoder is None:
        raise InputError(
            "preset",
            f"{cascade.name} without text",
            "a text cascade",
            "use a preset with a text encoder",
        )
    return CachedEncoder(build_text_encoder(dict(cascade.text_encoder)))


def _load_weights(network: nn.Module, bundle: Path, stage: str) -> None:
    from imagen_video.cascade.bundle import Bundle

    network.load_state_dict(Bundle.open(bundle).network(stage).state_dict())
