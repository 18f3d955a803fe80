"""Making the inputs of a super-resolution stage with the stages before it, out of real clips.

    real clip at the size of the base -> noise of a drawn level -> the base denoises the rest
                                      -> the stages between     -> the stage's input

A clip made of noise alone has no real one beside it. One that the base only finishes (SDEdit,
2108.01073) shows its scene still, drawn in the base's own hand: a pair of what a cascade gives the
stage and of what should come of it. `data.batches.made_inputs` reads them in training. Deviation:
the paper adds noise to real inputs and nothing else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.request import Request
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.cascade.weights_file import write_tensors
from imagen_video.corpus.digest import corpus_digest
from imagen_video.corpus.scenes import SceneSource
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.data.batches.batch import Batch
from imagen_video.data.batches.made_inputs import FRAMES, INDEX
from imagen_video.data.batches.scene_clips import SceneBatches
from imagen_video.errors import InputError
from imagen_video.media.atomic import replacing
from imagen_video.media.frames import to_uint8
from imagen_video.text.base import TextEncoder
from imagen_video.training.config import MadeInputsConfig

OnClip = Callable[[int, float], None]
"""Called with the number of finished clips and the seconds since the first."""


class InputMaker:
    """Makes them; what lies in the folder already is left there, so it can be stopped."""

    def __init__(
        self,
        pipeline: ImagenVideoPipeline,
        store: SpriteStore,
        config: MadeInputsConfig,
        encoder: TextEncoder | None,
    ) -> None:
        """Prepare.

        Args:
            pipeline: the cascade, at least up to the stage before.
            store: the demo's sprites.
            config: what is made.
            encoder: of the captions; None for a cascade without text.

        Raises:
            InputError: if the stage is unknown or the base.
        """
        spec = pipeline.spec
        source = spec.input_of(config.stage)
        if source is None:
            raise InputError("stage", repr(config.stage), "one after the base", "choose another")
        self.pipeline, self.config, self.source = pipeline, config, source
        self.base = spec.stages[0]
        self.until = spec.stages[spec.index(config.stage) - 1].name
        self.encoder = encoder
        self.corpus = corpus_digest(store.folder)
        self.batches = SceneBatches.of(
            spec,
            self.base.name,
            SceneSource(store, seed=config.seed),
            clips=config.together,
            images=1,
            image_fraction=0.0,
            seed=config.seed,
        )

    @property
    def about(self) -> dict[str, Any]:
        """What `made.json` says."""
        config = self.config
        return {
            "stage": config.stage,
            "shape": [self.source.frames, self.source.height, self.source.width],
            "seed": config.seed,
            "noise": list(config.noise),
            "together": config.together,
            "corpus": self.corpus,
            "bundle": self.pipeline.digest,
            "bf16": self.pipeline.bf16,
        }

    def write(self, folder: Path, on_clip: OnClip | None = None) -> None:
        """Make what is missing in a folder.

        Raises:
            InputError: if the folder holds others.
            OSError: if it cannot be written to.
        """
        index = folder / INDEX
        if index.exists():
            try:
                found = dict(json.loads(index.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                raise InputError(
                    str(index), f"{error}"[:120], "what this command writes", "remove the folder"
                ) from error
            if found != self.about:
                differing = [name for name in self.about if found.get(name) != self.about[name]]
                raise InputError(
                    str(folder),
                    f"inputs with another {', '.join(differing)}",
                    "none, or some of these",
                    "choose another folder",
                )
        with replacing(index) as temporary:
            temporary.write_text(json.dumps(self.about, indent=1) + "\n", encoding="utf-8")
        started = time.monotonic()
        for group in range(-(-self.config.count // self.config.together)):
            numbers = range(group * self.config.together, (group + 1) * self.config.together)
            paths = [folder / f"{number:05d}.safetensors" for number in numbers]
            if not all(path.exists() for path in paths):
                for path, clip in zip(paths, self.made(group), strict=True):
                    with replacing(path) as temporary:
                        write_tensors({FRAMES: torch.from_numpy(to_uint8(clip))}, temporary)
            if on_clip is not None:
                on_clip(numbers.stop, time.monotonic() - started)

    def made(self, group: int) -> Tensor:
        """Make the inputs of some scenes, `(b, f, c, h, w)`."""
        batch = self.batches.batch(group)
        seeds = tuple(group * len(batch) + i for i in range(len(batch)))
        video = self._finished(batch, seeds, group)
        if self.until == self.base.name:
            return video
        return self.pipeline.run(
            Request(
                prompts=tuple(str(caption) for caption in batch.captions),
                seeds=seeds,
                start=self.pipeline.spec.stages[1].name,
                until=self.until,
                video=video,
            ),
            output_type="pt",
        ).frames.float()

    def _finished(self, batch: Batch, seeds: tuple[int, ...], group: int) -> Tensor:
        """Let the base finish real clips from a noise level that is drawn."""
        low, high = self.config.noise
        t = float(np.random.default_rng((self.config.seed, 3, group)).uniform(low, high))
        steps = self.base.sampling.steps
        captions = [str(caption) for caption in batch.captions]
        made = sample_stage(
            self.base,
            self.pipeline.network(self.base.name),
            StageInput(
                seeds=seeds,
                clip=self.base.output,
                text=None if self.encoder is None else self.encoder.encode(captions),
                begun=batch.video,
                first_step=min(steps - 1, round((1 - t) * steps)),
            ),
            bf16=self.pipeline.bf16,
        )
        return made.clamp(-1, 1)
