"""The one code path of a sample: a step takes a row and returns a row.

    row -> text -> base -> ... -> last stage, which writes the video -> row

A row is a dict of NumPy arrays and strings, so that it can travel: a local run hands it from one
step to the next, Ray Data hands it from actor to actor through the object store. Between stages it
holds the float32 output, `frames * 3 * height * width * 4` bytes (the shipped cascade: 0.2 MB
after `base`, 24 MB after `ssr2`, 94 MB after `tsr3`); after the last stage only what a manifest
needs, as the video has been written by then.

A step never raises for a bad sample: the row carries the error past the later steps.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imagen_video.cascade.bundle import Bundle
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.request import Request
from imagen_video.cascade.resolve_bundle import find_bundle
from imagen_video.cascade.run_plan import plan_run
from imagen_video.distributed.attempts import Attempts
from imagen_video.distributed.sample import TEXT, Failed, Made, Outcome, Sample
from imagen_video.errors import BundleError, InputError, ResourceError
from imagen_video.media.digest import file_sha256
from imagen_video.media.video_writer import VideoWriter
from imagen_video.text import registry
from imagen_video.text.base import TextEmbedding

Row = dict[str, Any]
MAX_ERROR = 1000
"""Characters of an error that are kept."""
_EMPTY: Row = {
    "text_states": np.zeros((0, 0, 0), np.float32),
    "text_mask": np.zeros((0, 0), np.bool_),
    "video": np.zeros((0, 0, 0, 0), np.float32),
}
"""What nobody needs to carry any further. Every row has the same columns."""
BLANK: Row = {"reports": "[]", "failed": "", "made": "", **_EMPTY}
"""A row before the first step, but for its sample."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What every step needs to know; plain values, so that it can travel as well."""

    bundle: str
    """Built-in name, folder that all machines see, or hub id."""
    bundle_sha256: str
    """Digest that it must have there too."""
    stages: tuple[str, ...]
    """Stages to run, in order."""
    folder: str
    """Absolute path of the folder for the videos, which all machines see."""
    precision: str
    """fp32 or bf16."""
    device: str
    """Of the stages: cpu, cuda, cuda:1."""
    memory: int | None = None
    """Bytes that each process may use."""
    deaths: int | None = None
    """How often a process may die over one step of a sample; None where a death ends everything."""

    def open(self) -> Bundle:
        """Open the bundle.

        Raises:
            BundleError: if it is not there, damaged, or another one.
        """
        bundle = Bundle.open(find_bundle(self.bundle))
        if bundle.digest != self.bundle_sha256:
            raise BundleError(
                f"bundle {self.bundle} on {socket.gethostname()}",
                f"digest {bundle.digest[:12]}",
                f"{self.bundle_sha256[:12]}, as where the batch was started",
                "bring the same bundle to all machines",
            )
        return bundle

    @property
    def steps(self) -> tuple[str, ...]:
        """All steps in order: the text, then the stages."""
        return (TEXT, *self.stages)

    def step(self, name: str) -> Step:
        """Load one step.

        Raises:
            BundleError: if its weights cannot be loaded.
        """
        return TextStep(self) if name == TEXT else StageStep(self, name)


class Step:
    """One step: what is common to text and stages."""

    def __init__(self, work: Work, name: str) -> None:
        """Remember what is to be done; subclasses load what they need for it."""
        self.work = work
        self.name = name
        self.attempts = Attempts(Path(work.folder), work.deaths)

    def __call__(self, row: Row) -> Row:
        """Do this step of a sample, or let an earlier error pass."""
        if row["failed"]:
            return row
        started = time.monotonic()
        sample = Sample(**json.loads(row["sample"]))
        try:
            with self.attempts.counted(sample.id, self.name) as attempt:
                changes = self.run(sample, row)
        except Exception as error:  # whatever it is: one bad sample must not stop the others
            return row | {"failed": _failure(sample.id, self.name, error)} | _EMPTY
        seconds = round(time.monotonic() - started, 4)
        report = {"name": self.name, "seconds": seconds, "host": socket.gethostname()}
        reports = [*json.loads(row["reports"]), report | {"attempt": attempt}]
        return row | {"reports": json.dumps(reports)} | changes

    def run(self, sample: Sample, row: Row) -> Row:
        """Return what changes in the row."""
        raise NotImplementedError


class TextStep(Step):
    """Encodes the prompts, so that no other process needs the text encoder."""

    def __init__(self, work: Work) -> None:
        """Load the text encoder, if the cascade hears text."""
        super().__init__(work, TEXT)
        spec = work.open().spec
        hears = any(stage.unet.text_width for stage in spec.stages)
        identity = spec.text_encoder if hears else None
        self.encoder = None if identity is None else registry.build_text_encoder(dict(identity))

    def run(self, sample: Sample, row: Row) -> Row:
        """Put token states `(n, l, w)` and their mask `(n, l)` into the row, n prompts."""
        if self.encoder is None:
            return {}
        # One by one, as `generate` does: a shared padding could change the rounding.
        texts = [self.encoder.encode([prompt]) for prompt in sample.prompts]
        length = max(text.num_tokens for text in texts)
        padded = [text.pad_to(length).to("cpu", torch.float32) for text in texts]
        return {
            "text_states": np.concatenate([text.states.numpy() for text in padded]),
            "text_mask": np.concatenate([text.mask.numpy() for text in padded]),
        }


class StageStep(Step):
    """Runs one stage; the last one writes the video."""

    def __init__(self, work: Work, name: str) -> None:
        """Load the stage's network."""
        super().__init__(work, name)
        bundle = work.open()
        self.text = _CarriedText()
        self.pipeline = ImagenVideoPipeline(bundle.spec, bundle.network, self.text)
        self.pipeline.to(work.device, torch.bfloat16 if work.precision == "bf16" else torch.float32)
        self.pipeline.network(name)
        self.is_base = bundle.spec.stage(name).kind == "base"
        self.is_last = name == work.stages[-1]

    def run(self, sample: Sample, row: Row) -> Row:
        """Put the stage's output `(f, c, h, w)`, or what was written, into the row."""
        self.text.take(sample.prompts, row)
        # Copied: what Ray hands over cannot be written to, and torch wants to be able to.
        video = None if self.is_base else torch.from_numpy(np.array(row["video"]))[None]
        request = sample.request(self.pipeline.spec, self.name, video)
        if self.is_last:
            return self._write(sample, request)
        output = self.pipeline.run(request, memory=self.work.memory, output_type="pt")
        return {"video": output.frames[0].to(torch.float32).numpy()}

    def _write(self, sample: Sample, request: Request) -> Row:
        name = f"{sample.id}.mp4"
        path = Path(self.work.folder) / name
        clip = plan_run(self.pipeline.spec, request).clips[self.name]
        with VideoWriter(path, clip.fps, sample.metadata) as writer:
            self.pipeline.run(
                request,
                memory=self.work.memory,
                output_type="none",
                on_frames=lambda _, frames: writer.write(frames[0]),
            )
        made = {"id": sample.id, "video": name, "sha256": file_sha256(path)}
        made |= {"num_bytes": path.stat().st_size, "clip": dataclasses.asdict(clip)}
        return {"made": json.dumps(made)} | _EMPTY


class _CarriedText:
    """A text encoder that knows the prompts of one row: they were encoded a step before."""

    width = 0
    max_tokens = 0

    def __init__(self) -> None:
        self._known: dict[str, TextEmbedding] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """None of its own."""
        return {}

    def take(self, prompts: Sequence[str], row: Row) -> None:
        """Remember the states of a row."""
        states, mask = np.array(row["text_states"]), np.array(row["text_mask"])
        self._known = {
            prompt: TextEmbedding(states=torch.from_numpy(s)[None], mask=torch.from_numpy(m)[None])
            for prompt, s, m in zip(prompts, states, mask, strict=False)
        }

    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Return the states of prompts, each without padding."""
        known = [self._known[prompt] for prompt in prompts]
        return TextEmbedding.from_rows([text.rows()[0] for text in known])


def first_row(sample: Sample) -> Row:
    """Return the row that a sample begins with."""
    return BLANK | {"sample": json.dumps(dataclasses.asdict(sample))}


def outcome_of(row: Row) -> Outcome:
    """Read the row that a sample ends with."""
    if row["failed"]:
        return Failed(**json.loads(row["failed"]))
    return Made(**json.loads(row["made"]), stages=tuple(json.loads(row["reports"])))


def _failure(sample: str, step: str, error: Exception) -> str:
    """Put an error into a row."""
    known = isinstance(error, InputError)
    text = str(error) if known else f"{type(error).__name__}: {error}"
    failed = Failed(
        id=sample,
        stage=step,
        error=" ".join(text.split())[:MAX_ERROR],
        # The user's mistakes stay mistakes; a machine that gave out may recover.
        can_retry=not known or type(error) is ResourceError,
        stops=type(error) is ResourceError and error.where.startswith("writing "),
    )
    return json.dumps(dataclasses.asdict(failed))
