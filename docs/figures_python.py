"""Draw the picture of docs/python.md: one strip of frames for each way to call a pipeline.

    python docs/figures_python.py          # a minute

The picture is what the weights of the package make, with the seeds that are written here.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from small_png import save

from imagen_video import ImagenVideoPipeline

PROMPT = "a panda on a blue background"
SEED = 1
COLUMNS = 8
COLOURS = 128


def main() -> None:
    """Call the pipeline in every way, and draw frames of each result."""
    pipe = ImagenVideoPipeline.from_pretrained("emoji")
    picture = pipe.image(PROMPT, seed=SEED, until="ssr2", output_type="pil").images[0]
    clip = pipe(PROMPT, seed=SEED, until="ssr1")
    frames = clip.frames[0]
    begun = pipe(PROMPT, seed=SEED, image=picture, until="ssr1")
    larger = pipe.upscale(frames, PROMPT, fps=clip.fps, only="ssr2")
    smoother = pipe.interpolate(frames, PROMPT, fps=clip.fps, only="tsr2")
    longer = pipe.extend(frames, PROMPT, seconds=3, fps=clip.fps, until="ssr1")
    _draw(
        [
            ("image(prompt)", [np.asarray(picture)]),
            ("pipe(prompt)", _spread(frames, len(frames))),
            ("pipe(image=...)", _spread(begun.frames[0], len(begun.frames[0]))),
            ("upscale", _spread(larger.frames[0], len(frames))),
            ("interpolate", list(smoother.frames[0][:COLUMNS])),
            ("extend", _spread(longer.frames[0], len(longer.frames[0]))),
        ]
    )


def _spread(frames: Sequence[np.ndarray], until: int) -> list[np.ndarray]:
    """Return frames at even distances."""
    return [frames[int(i)] for i in np.linspace(0, until - 1, COLUMNS)]


def _draw(rows: list[tuple[str, list[np.ndarray]]]) -> None:
    figure, axes = plt.subplots(len(rows), COLUMNS, figsize=(9, 4.6), layout="constrained")
    for (name, frames), line in zip(rows, axes, strict=True):
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.set_frame_on(False)
        for axis, frame in zip(line, frames, strict=False):
            axis.imshow(frame)
        line[0].set_ylabel(name, size=8, rotation=0, ha="right", va="center")
    save(figure, "python", colours=COLOURS)


if __name__ == "__main__":
    main()
