"""Inputs of a super-resolution stage as the stages before it make them, each beside its scene.

    FOLDER/made.json             what they were made with, from which scenes
           00000.safetensors     one scene: the output of the stage before, uint8 `(f, h, w, 3)`

`training.made_inputs` writes them. Trained on real clips shrunk, a stage never sees what a cascade
does to edges; here is that, and the real clip says what should have come of it.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from torch import Tensor

from imagen_video.corpus.digest import corpus_digest
from imagen_video.corpus.scenes import SceneSource
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.errors import DataError
from imagen_video.media.frames import to_float

INDEX = "made.json"
FRAMES = "frames"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MadeInputs:
    """A folder of them, opened."""

    folder: Path
    """Where they are."""
    scenes: SceneSource
    """The list whose first scenes they are of."""
    count: int
    """How many were there when it was opened."""
    shape: tuple[int, int, int]
    """Frames, height and width of each."""

    @classmethod
    def open(
        cls, folder: Path, store: SpriteStore, stage: str, shape: tuple[int, int, int]
    ) -> MadeInputs:
        """Open a folder for a stage.

        Args:
            folder: what `imagen-video corpus inputs` wrote.
            store: what scenes are drawn from.
            stage: whose input is wanted.
            shape: frames, height and width of that input.

        Raises:
            DataError: if the folder is none, unfinished, of another stage or of another corpus.
        """
        where = f"inputs in {folder}"
        try:
            about = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            found = (str(about["stage"]), *(int(n) for n in about["shape"]))
            seed, corpus = int(about["seed"]), str(about["corpus"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                where,
                f"{type(error).__name__}: {error}"[:120],
                f"a folder with {INDEX}",
                "make it: `imagen-video corpus inputs`",
            ) from error
        if found != (stage, *shape):
            raise DataError(
                where,
                f"inputs of {found[0]}, {'x'.join(map(str, found[1:]))}",
                f"of {stage}, {'x'.join(map(str, shape))}",
                "make them for this stage",
            )
        here = corpus_digest(store.folder)
        if corpus != here:
            raise DataError(
                where,
                f"inputs from the scenes of corpus {corpus[:12]}",
                f"of {here[:12]}, which is in {store.folder}",
                "name the corpus that they were made from, or make them again",
            )
        count = 0
        while (folder / f"{count:05d}.safetensors").exists():
            count += 1
        if not count:
            raise DataError(where, "no clip yet", "at least one", "give the command again")
        return cls(
            folder=folder,
            scenes=SceneSource(store, seed=seed),
            count=count,
            shape=shape,
        )

    def clip(self, number: int) -> Tensor:
        """Read one, `(f, c, h, w)` in [-1, 1].

        Raises:
            DataError: if its file is missing, cut off or of another shape.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.folder / f"{number:05d}.safetensors"
        frames, height, width = self.shape
        try:
            stored = load_file(path).get(FRAMES)
        except (OSError, SafetensorError) as error:
            raise DataError(
                str(path), f"{error}"[:120], "a clip", "give the command that made it again"
            ) from error
        shape = (frames, height, width, 3)
        if stored is None or stored.dtype != torch.uint8 or tuple(stored.shape) != shape:
            raise DataError(
                str(path),
                "no frames" if stored is None else f"{stored.dtype} {tuple(stored.shape)}",
                f"uint8 {shape}",
                "make them again",
            )
        return to_float(stored.numpy())
