"""Training and judging an arm with the project's own engine: no second trainer is written here.

A training is a folder named after everything that decides its outcome, so that two experiments
that ask for the same training share it, and a stopped one goes on.

    TRAINING/checkpoints/            of the trainer, which deletes old ones
            /milestones/STEP...      averaged weights at every number of updates that was asked for
            /again/                  the same training from its start, for a milestone it has passed
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from _frame import DIGITS, OutOfTimeError, Session
from _small import STRIDE
from safetensors.torch import load_file
from torch import Tensor, nn

from imagen_video.cascade.conditioning import low_res_of
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import Clip, StageSpec
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.corpus.digest import corpus_digest
from imagen_video.corpus.scenes import Scene, SceneSource, Split, held_out_prompts
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.data.batches.batch import BatchSource
from imagen_video.data.batches.scene_clips import SceneBatches
from imagen_video.diffusion.loss import LossKind
from imagen_video.evaluation.material.real_renders import real_video
from imagen_video.media.atomic import replacing
from imagen_video.media.frames import to_uint8
from imagen_video.media.pictures import write_png
from imagen_video.media.sheets import contact_sheet
from imagen_video.models.spec import UNetSpec
from imagen_video.models.unet import VideoUNet
from imagen_video.presets.emoji import TEXT_ENCODER
from imagen_video.text.base import TextEncoder
from imagen_video.text.cache import CachedEncoder
from imagen_video.text.registry import build_text_encoder
from imagen_video.training.checkpoint import newest_checkpoint
from imagen_video.training.config import TrainConfig
from imagen_video.training.loop import train
from imagen_video.training.objective import StageObjective
from imagen_video.training.processes import Processes
from imagen_video.training.validation import Validation

HELD_OUT_SEED = 1
"""Of the clips on which errors are measured."""
SHOWN = 4
"""Clips on a contact sheet."""

CONFIG = TrainConfig(
    clips=8,
    image_fraction=0.0,
    learning_rate=1e-3,
    warmup_steps=50,
    cooldown_fraction=0.0,
    ema_decay=0.98,
    validate_every=0,
    sample_minutes=0.0,
    checkpoint_minutes=1.0,
    keep_checkpoints=20,
    log_every=50,
)
"""Of every arm unless its experiment says otherwise. The rate is constant, so that the weights at
every milestone are comparable; the average over about 50 updates stands in for a cool-down."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """One network to train."""

    stage: StageSpec
    """What."""
    source: Clip | None
    """Shape of its input; None for a base."""
    seed: int
    """Of the data, the noise and the initial weights."""
    config: TrainConfig = CONFIG
    """How; the seed and the number of updates are put in."""
    build: Callable[[UNetSpec], nn.Module] = VideoUNet
    """Network of a spec."""
    encoder: TextEncoder | None = None
    """Text; the laboratory's MiniLM if None."""
    batches: BatchSource | None = None
    """Clips; training scenes of subjects if None."""
    data: str = "subjects"
    """Names the batches and the encoder, where they are not the usual ones."""

    @property
    def key(self) -> str:
        """Name of everything that decides the outcome, but for how far it went."""
        config = self.config.to_json()
        for name in ("steps", "max_minutes", "checkpoint_minutes", "log_every", "seed"):
            config.pop(name)
        if self.config.cooldown_fraction:
            config["steps"] = self.config.steps
        known = {
            "stage": dataclasses.asdict(self.stage) | {"sampling": None},
            "config": config,
            "seed": self.seed,
            "build": self.build.__name__,
            "data": self.data,
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


class Laboratory:
    """The corpus, the text encoder and the trained networks of a session."""

    def __init__(self, session: Session) -> None:
        """Open nothing yet."""
        self.session = session

    @cached_property
    def store(self) -> SpriteStore:
        """The sprites."""
        return SpriteStore.open(self.session.corpus)

    @cached_property
    def encoder(self) -> TextEncoder:
        """The frozen MiniLM."""
        return CachedEncoder(build_text_encoder(dict(TEXT_ENCODER)))

    def scenes(self, count: int) -> list[Scene]:
        """Return held-out scenes of one subject."""
        return held_out_prompts(self.store, count, kinds={"subject": 1.0})

    def real(self, scenes: Sequence[Scene], clip: Clip, stride: int = STRIDE) -> Tensor:
        """Render scenes `(b, f, 3, h, w)` as a stage should make them."""
        times = [float(stride * frame) for frame in range(clip.frames)]
        size = (clip.height, clip.width)
        return torch.cat([real_video(scene, self.store, times, *size) for scene in scenes])

    def batches(self, training: Training, split: Split = "train") -> SceneBatches:
        """Return scenes of one subject at the stage's size; held-out ones know no seed."""
        seed = HELD_OUT_SEED if split == "held_out" else training.seed
        source = SceneSource(self.store, seed=seed, split=split, kinds={"subject": 1.0})
        return SceneBatches(
            source=source,
            stage=training.stage,
            frame_stride=STRIDE,
            clips=training.config.clips,
            images=training.config.images,
            image_fraction=training.config.image_fraction,
            seed=seed,
        )

    def objective(self, training: Training) -> StageObjective:
        """Return the loss of a training."""
        return StageObjective(
            stage=training.stage,
            source=training.source,
            encoder=training.encoder or self.encoder,
            text_dropout=training.config.text_dropout,
        )

    def trained(self, training: Training, updates: int) -> nn.Module:
        """Train until a number of updates, or load what was trained; return the averaged network.

        Raises:
            OutOfTimeError: if the budget ends before; the next call goes on.
        """
        corpus = corpus_digest(self.session.corpus)[:DIGITS]
        run_dir = self.session.out / "trainings" / f"{training.key}-{corpus}"
        milestone = run_dir / "milestones" / f"step-{updates:08d}.safetensors"
        torch.manual_seed(training.seed)
        network = training.build(training.stage.unet)
        if not milestone.exists():
            weights = self._checkpoint(training, network, updates, run_dir)
            with replacing(milestone) as path:
                shutil.copyfile(weights, path)
        network.load_state_dict(load_file(milestone))
        return network.eval()

    def _checkpoint(
        self, training: Training, network: nn.Module, updates: int, run_dir: Path
    ) -> Path:
        """Train until a checkpoint at a number of updates; return the averaged weights in it.

        Raises:
            OutOfTimeError: if the budget ends before.
        """
        folder = run_dir / "checkpoints" / f"step-{updates:08d}"
        # a training that is past a milestone never comes by it again: another one has to
        while not folder.exists() and _past(run_dir, updates):
            run_dir = run_dir / "again"
            folder = run_dir / "checkpoints" / folder.name
        if not folder.exists():
            config = dataclasses.replace(
                training.config,
                steps=updates,
                seed=training.seed,
                max_minutes=self.session.minutes_left,
            )
            train(
                network,
                self.objective(training),
                training.batches or self.batches(training),
                config,
                run_dir,
                meta={"stage": dataclasses.asdict(training.stage)},
            )
        if not folder.exists():
            raise OutOfTimeError
        return folder / "ema.safetensors"

    def validation_loss(
        self, training: Training, network: nn.Module, clips: int, loss: LossKind = "v"
    ) -> float:
        """Return an error on held-out clips, a mean over eight noise levels."""
        rows = min(8, clips)
        batches = dataclasses.replace(
            self.batches(training, "held_out"), clips=rows, image_fraction=0.0
        )
        stage = dataclasses.replace(training.stage, loss=loss)
        objective = dataclasses.replace(self.objective(training), stage=stage)
        measure = Validation(
            objective=objective, batches=batches, num_batches=max(1, clips // rows)
        )
        return measure(network.eval(), Processes())["validation"]

    def sample(
        self,
        training: Training,
        network: nn.Module,
        scenes: Sequence[Scene],
        *,
        low_res: Tensor | None = None,
        sampling: SamplingSpec | None = None,
        captions: Sequence[str] | None = None,
    ) -> Tensor:
        """Make one clip a scene, sample i from seed i."""
        text = None
        if training.stage.unet.text_width is not None:
            encoder = training.encoder or self.encoder
            text = encoder.encode(captions or [scene.caption for scene in scenes])
        request: dict[str, Any] = {
            "seeds": list(range(len(scenes))),
            "clip": training.stage.output,
            "text": text,
            "low_res": low_res,
        }
        sampling = self.sampling(sampling or training.stage.sampling)
        return sample_stage(training.stage, network, StageInput(**request), sampling)

    def sampling(self, sampling: SamplingSpec) -> SamplingSpec:
        """Return the settings, with two steps in a quick session."""
        return dataclasses.replace(sampling, steps=2) if self.session.quick else sampling

    def show(self, name: str, scenes: Sequence[Scene], made: Tensor) -> None:
        """Write a contact sheet of the first clips beside the results, to look at."""
        clips = list(to_uint8(made[:SHOWN]))
        labels = [scene.caption for scene in scenes[:SHOWN]]
        sheet = contact_sheet(clips, columns=8, cell_width=120, labels=labels)
        write_png(self.session.out / "sheets" / f"{name}.png", sheet)

    def low_res(self, training: Training, real: Tensor) -> Tensor:
        """Shrink real clips to a stage's input."""
        assert training.source is not None
        return low_res_of(real, training.source, training.stage.output)


def _past(run_dir: Path, updates: int) -> bool:
    """Whether a training has more updates behind it than these."""
    newest = newest_checkpoint(run_dir)
    return newest is not None and newest.step > updates
