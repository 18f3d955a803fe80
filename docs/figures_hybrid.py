"""Draw the picture of docs/hub_and_diffusers.md: foreign frames through our super-resolution.

    python recipes/emoji.py --teachers build/teachers
    python docs/figures_hybrid.py          # some seconds

The base is no model: it draws a turning cube and is called as the pipelines of diffusers are. The
picture is what the undistilled stages make of it with seed 1.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from small_png import save
from torch import Tensor

from imagen_video import ImagenVideoPipeline, StageOptions
from imagen_video.cascade.resample import resize
from imagen_video.corpus.meshes import cube
from imagen_video.corpus.solids import turntable
from imagen_video.interop.hybrid import HybridPipeline
from imagen_video.media.frames import to_uint8

PROMPT = "a red cube rotating on a blue background"
LEVELS = (None, 1.0)
"""Log SNR of the noise on the base's frames; None = the stage's own."""


def main() -> None:
    """Draw the frames that are given and what the stages make of them."""
    pipe = ImagenVideoPipeline.from_pretrained("build/teachers")  # students take no more noise
    hybrid = HybridPipeline(paint, pipe, start="ssr1", fps=6)
    given = hybrid.draft(PROMPT)
    rows = [
        ("the base", resize(given.to_float(), 24, 40)[0]),
        ("bilinear", resize(resize(given.to_float(), 24, 40), 192, 320)[0]),
    ]
    for level in LEVELS:
        options = {}
        if level is not None:
            options["ssr1"] = StageOptions(augmentation_logsnr=level, temperature=1.0)
        made: Any = hybrid.refine(
            given, PROMPT, seed=1, until="ssr2", stages=options, output_type="pt"
        )
        rows.append(("ssr1, ssr2" if level is None else f"log SNR {level:g}", made.frames[0]))
    _draw(rows)


def paint(*, prompt: list[str], generator: Any, output_type: str) -> Any:
    """Return frames of a cube, as diffusers would with `output_type="np"`."""
    turn = turntable(cube(), 96, frames=32)[:8:2].astype(np.float32) / 255
    tint, accent = np.array((0.85, 0.2, 0.15)), np.array((0.45, 0.05, 0.05))
    shares, cover = turn[..., :3], turn[..., 3:]
    drawn = shares[..., :1] * tint + shares[..., 1:2] * accent + shares[..., 2:]
    frames = np.empty((len(prompt), len(turn), 120, 200, 3), dtype=np.float32)
    frames[:] = (0.2, 0.45, 0.85)
    inner = frames[:, :, 12:108, 52:148]
    inner[:] = inner * (1 - cover) + drawn
    return SimpleNamespace(frames=np.clip(frames, 0, 1))


def _draw(rows: list[tuple[str, Tensor]]) -> None:
    columns = len(rows[0][1])
    figure, axes = plt.subplots(len(rows), columns, figsize=(7, 4.4), layout="constrained")
    for (name, clip), line in zip(rows, axes, strict=True):
        line[0].set_ylabel(name, size=8)
        for axis, picture in zip(line, to_uint8(clip), strict=True):
            axis.set(xticks=[], yticks=[])
            axis.imshow(picture)
    save(figure, "hybrid")


if __name__ == "__main__":
    main()
