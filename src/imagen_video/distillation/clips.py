"""Making the clips of the report, each once, and keeping what is judged.

WORK/stages/KEY.safetensors   a stage's output that another cell or the longer chain goes on from
     clips/KEY.safetensors    the judged frames of a finished chain, uint8
     .../KEY.json             seconds by stage

KEY hashes everything that determines the result (`comparison.chain_key`), so the report can be
stopped and goes on clip by clip, and a base that two rows share is sampled once.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imagen_video.cascade.options import StageOptions
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.request import Request
from imagen_video.cascade.resample import resize
from imagen_video.cascade.weights_file import write_tensors
from imagen_video.distillation.comparison import Link, Owner, chain_key
from imagen_video.media.atomic import replacing
from imagen_video.media.frames import to_float, to_uint8

JUDGED_STRIDE = 8
"""Source frames between two judged frames: those of the base."""
LARGEST = (192, 320)
"""Larger clips are judged at this size."""


@dataclasses.dataclass(frozen=True)
class MadeClip:
    """A clip as it is judged."""

    frames: np.ndarray
    """uint8 `(f, h, w, 3)`."""
    seconds: Mapping[str, float]
    """By stage, without loading weights."""
    path: Path
    """Where the frames are kept."""


class ClipMaker:
    """Samples chains, stage by stage."""

    def __init__(
        self,
        pipelines: Mapping[Owner, ImagenVideoPipeline],
        work: Path,
        *,
        memory: int | None = None,
    ) -> None:
        """Start with what is in the folder.

        Args:
            pipelines: of the teacher and the student bundle.
            work: folder for clips.
            memory: bytes that the process may use; None = no bound.
        """
        self.pipelines = pipelines
        self.work = work
        self.memory = memory

    def clip(
        self, links: tuple[Link, ...], prompt: str, seed: int, *, keep_stages: bool = False
    ) -> MadeClip:
        """Make a clip, or find it.

        Args:
            links: the chain.
            prompt: its caption.
            seed: of all noise.
            keep_stages: keep every stage, for longer chains; the base is always kept.
        """
        path = self._path("clips", links, prompt, seed)
        found = _load(path, "frames")
        if found is not None:
            return MadeClip(found[0].numpy(), found[1], path)
        video, seconds = None, {}
        for number in range(1, len(links) + 1):
            part = links[:number]
            kept = self._path("stages", part, prompt, seed)
            cached = _load(kept, "video")
            if cached is not None:
                video, seconds = cached
                continue
            video, took = self._sample(part[-1], video, prompt, seed)
            seconds = {**seconds, part[-1].stage.name: took}
            if number == 1 or keep_stages:
                _save(kept, "video", video, seconds)
        assert video is not None
        last = links[-1]
        stride = self.pipelines[last.owner].spec.frame_stride(last.stage.name)
        frames = judged_frames(video, stride)
        _save(path, "frames", torch.from_numpy(frames), seconds)
        return MadeClip(frames, seconds, path)

    def _sample(
        self, link: Link, video: Tensor | None, prompt: str, seed: int
    ) -> tuple[Tensor, float]:
        """Run one stage on the output of the one before."""
        pipeline, name = self.pipelines[link.owner], link.stage.name
        pipeline.network(name)  # loaded before the clock starts
        output = pipeline.run(
            Request(
                prompts=(prompt,),
                seeds=(seed,),
                start=name,
                until=name,
                video=video,
                options={name: StageOptions(**dataclasses.asdict(link.sampling))},
            ),
            memory=self.memory,
            output_type="pt",
        )
        return output.frames, output.reports[0].seconds

    def _path(self, kind: str, links: tuple[Link, ...], prompt: str, seed: int) -> Path:
        asked: dict[str, Any] = {"prompt": prompt, "seed": seed}
        bf16 = self.pipelines[links[-1].owner].bf16
        key = chain_key(links, **asked, precision="bf16" if bf16 else "fp32")
        return self.work / kind / f"{key}.safetensors"


def judged_times(frames: int, stride: int) -> list[int]:
    """Return the source frames (24 fps) that are judged of a clip."""
    step = max(1, JUDGED_STRIDE // stride)
    return [stride * index for index in range(0, frames, step)]


def judged_frames(video: Tensor, stride: int) -> np.ndarray:
    """Return the judged frames of a video `(1, f, c, h, w)`, uint8, no larger than `LARGEST`."""
    index = [time // stride for time in judged_times(video.shape[1], stride)]
    video = video[:, index].float().cpu()
    if video.shape[-2] > LARGEST[0]:
        video = resize(video, *LARGEST)
    return np.ascontiguousarray(to_uint8(video)[0])


def reduced(frames: np.ndarray) -> np.ndarray:
    """Shrink frames `(f, h, w, 3)` above `LARGEST` as `judged_frames` does."""
    if frames.shape[1] <= LARGEST[0]:
        return frames
    return to_uint8(resize(to_float(frames)[None], *LARGEST))[0]


def _save(path: Path, name: str, tensor: Tensor, seconds: Mapping[str, float]) -> None:
    """Write the times first: what has a tensor is whole."""
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(dict(seconds)), encoding="utf-8")
    with replacing(path) as temporary:
        write_tensors({name: tensor.contiguous()}, temporary)


def _load(path: Path, name: str) -> tuple[Tensor, dict[str, float]] | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        seconds = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return load_file(path)[name], seconds
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
