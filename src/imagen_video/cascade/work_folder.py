"""Finished stages on disk, so that a stopped generation goes on where it was.

WORK/request.json          what was asked for: another request never picks these files up
     STAGE.safetensors     the stage's output, float32, written beside and renamed
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from imagen_video.cascade.weights_file import write_tensors
from imagen_video.errors import InputError
from imagen_video.media.atomic import replacing

REQUEST = "request.json"
DONE = "done"
"""A file of this name marks a finished request whose stages are kept."""


@dataclasses.dataclass(frozen=True)
class WorkFolder:
    """The folder of one request."""

    path: Path

    @classmethod
    def open(
        cls, path: Path, request: dict[str, Any], defaults: Mapping[str, Any] | None = None
    ) -> WorkFolder:
        """Make the folder, or go on with the one of the same request.

        Args:
            path: the folder.
            request: plain JSON values.
            defaults: what a key of the request means that the file lacks, because it was written
                before there was one.

        Raises:
            InputError: if the folder belongs to another request.
        """
        file = path / REQUEST
        wanted = json.loads(json.dumps(request))
        if file.is_file():
            try:
                found = json.loads(file.read_text(encoding="utf-8"))
            except ValueError:
                found = None
            known = {**(defaults or {}), **found} if isinstance(found, dict) else {}
            if known != wanted:
                keys = known.keys() | wanted.keys()
                differing = sorted(k for k in keys if known.get(k) != wanted.get(k))
                raise InputError(
                    str(path),
                    f"the work of another request (differs in {differing})",
                    "the same request",
                    "give the same options, or remove the folder",
                )
        else:
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
        return cls(path)

    def load(self, stage: str) -> torch.Tensor | None:
        """Return a finished stage's output `(b, f, c, h, w)`; None if it is missing or damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(self.path / f"{stage}.safetensors")["video"]
        except (OSError, SafetensorError, KeyError):
            return None

    def save(self, stage: str, video: torch.Tensor) -> None:
        """Write a finished stage's output.

        Raises:
            ResourceError: if the disk is full.
        """
        with replacing(self.path / f"{stage}.safetensors") as temporary:
            write_tensors(
                {"video": video.detach().to("cpu", torch.float32).contiguous()}, temporary
            )

    @property
    def finished(self) -> bool:
        """Whether the request is done and its stages were kept on purpose."""
        return (self.path / DONE).is_file()

    def finish(self) -> None:
        """Note that the request is done, where the stages are to be kept.

        Raises:
            ResourceError: if the disk is full.
        """
        with replacing(self.path / DONE) as temporary:
            temporary.write_text("", encoding="utf-8")

    def remove(self) -> None:
        """Delete the folder after the request is done."""
        shutil.rmtree(self.path, ignore_errors=True)
