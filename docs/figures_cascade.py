"""Draw the pictures of docs/concepts.md that the shipped cascade makes.

    python recipes/emoji.py --teachers build/teachers
    python docs/figures_cascade.py [--teachers build/teachers]     # on two idle cores a minute

Every picture is what the weights of the package give with seed 1, or their teachers where noise or
guidance is shown that students do not take: nothing is picked by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from small_png import save
from torch import Tensor

from imagen_video import ImagenVideoPipeline
from imagen_video.cascade.options import StageOptions
from imagen_video.cascade.request import Request
from imagen_video.cascade.resample import reduce_to, resize
from imagen_video.corpus.meshes import cube
from imagen_video.corpus.render import accent_of
from imagen_video.corpus.solids import turntable
from imagen_video.diffusion.augmentation import augment
from imagen_video.diffusion.parameterization import diffuse, v_target
from imagen_video.diffusion.schedule import logsnr_from_t
from imagen_video.media.frames import to_uint8

PROMPT = "a panda on a blue background"


def main() -> None:
    """Draw all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--teachers", type=Path, default=Path("build/teachers"))
    teachers = ImagenVideoPipeline.from_pretrained(parser.parse_args().teachers)
    cascade(ImagenVideoPipeline.from_pretrained("emoji"))
    prediction()
    augmentation(teachers)
    thresholding(teachers)


def cascade(pipe: ImagenVideoPipeline) -> None:
    """Draw the outputs of all stages for a clip whose base has two frames, at equal times."""
    keep = [stage.name for stage in pipe.spec.stages]
    request = Request(prompts=(PROMPT,), seeds=(1,), num_frames=16)
    made = pipe.run(request, keep=keep, output_type="none")
    columns = 16
    figure, axes = plt.subplots(len(keep), columns, figsize=(11, 3.7))
    for row, name in zip(axes, keep, strict=True):
        frames = to_uint8(made.stages[name][0])
        every = columns // len(frames)
        for index, axis in enumerate(row):
            axis.axis("off")
            if index % every == 0:
                axis.imshow(_small(frames[index // every]), interpolation="nearest")
        count, height, width = frames.shape[:3]
        clip = pipe.spec.stage(name).output
        label = f"{name}\n{width}x{height}, {clip.fps:g} fps"
        row[0].text(-0.1, 0.5, label, transform=row[0].transAxes, ha="right", va="center", size=7)
        assert count == 16 // every
    figure.subplots_adjust(0.09, 0.005, 0.995, 0.995, wspace=0.04, hspace=0.06)
    save(figure, "concept-cascade")


def prediction() -> None:
    """Draw picture, noisy picture, and what the network is to predict, at five times."""
    x = _cube(48, 80)
    eps = torch.randn(x.shape, generator=torch.manual_seed(0))
    times = (0.0, 0.25, 0.5, 0.75, 1.0)
    figure, axes = plt.subplots(2, len(times), figsize=(9, 2.5), layout="constrained")
    for column, t in enumerate(times):
        logsnr = logsnr_from_t(torch.tensor([t]))
        for axis, video in zip(
            axes[:, column], (diffuse(x, eps, logsnr), v_target(x, eps, logsnr)), strict=True
        ):
            axis.imshow(_picture(video[0, 0]))
            axis.set(xticks=[], yticks=[])
        axes[0, column].set_title(f"t = {t:g}", size=9)
    axes[0, 0].set_ylabel("z: input", size=9)
    axes[1, 0].set_ylabel("v: target", size=9)
    save(figure, "concept-prediction")


def augmentation(pipe: ImagenVideoPipeline) -> None:
    """Draw ssr1's input at several noise levels, and what it makes of it."""
    real = _cube(48, 80).repeat(1, 4, 1, 1, 1)
    low_res = reduce_to(real, 4, 24, 40)
    levels = (20.0, 6.0, 3.0, 1.0)
    figure, axes = plt.subplots(2, len(levels) + 1, figsize=(9, 2.4), layout="constrained")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    axes[0, 0].imshow(_picture(low_res[0, 0]))
    axes[0, 0].set_title("24x40", size=9)
    axes[1, 0].imshow(_picture(real[0, 0]))
    axes[1, 0].set_xlabel("real render", size=9)
    eps = torch.randn(real.shape, generator=torch.manual_seed(0))
    for column, level in enumerate(levels, start=1):
        noisy = augment(resize(low_res, 48, 80), eps, torch.tensor([level]))
        request = Request(
            prompts=("a red cube rotating on a blue background",),
            seeds=(1,),
            start="ssr1",
            until="ssr1",
            video=low_res,
            options={"ssr1": StageOptions(augmentation_logsnr=level, temperature=1.0)},
        )
        made: Any = pipe.run(request, output_type="pt")
        axes[0, column].imshow(_picture(noisy[0, 0]))
        axes[0, column].set_title(f"log SNR {level:g}", size=9)
        axes[1, column].imshow(_picture(torch.as_tensor(made.frames)[0, 0]))
    axes[0, 1].set_ylabel("input", size=9)
    axes[1, 1].set_ylabel("ssr1", size=9)
    save(figure, "concept-augmentation")


def thresholding(pipe: ImagenVideoPipeline) -> None:
    """Draw the base's frames for three weights, clipped and dynamically thresholded."""
    weights = (0.0, 3.0, 15.0)
    figure, axes = plt.subplots(2, len(weights), figsize=(7, 2.7), layout="constrained")
    for row, rule in zip(axes, ("static", "dynamic"), strict=True):
        for axis, weight in zip(row, weights, strict=True):
            options = StageOptions(threshold=rule, guidance_weight=weight)
            request = Request(
                prompts=(PROMPT,), seeds=(1,), until="base", num_frames=2, options={"base": options}
            )
            made: Any = pipe.run(request, output_type="pt")
            frame = torch.as_tensor(made.frames)[0, 0]
            axis.imshow(_picture(frame), interpolation="nearest")
            full = float((frame.abs() > 0.99).float().mean())
            axis.set_title(f"w = {weight:g}: {full:.0%} at the limit", size=8)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(rule, size=9)
    save(figure, "concept-thresholding")


def _cube(height: int, width: int) -> Tensor:
    """Draw a red cube on blue ground, `(1, 1, 3, h, w)` in [-1, 1]: a real render of the corpus."""
    tint, ground = (226, 40, 48), np.array([58, 123, 213.0])
    side = int(0.8 * height)
    shares = turntable(cube(), side, frames=9)[2].astype(float) / 255
    colours = np.stack([np.array(tint), np.array(accent_of(tint)), np.full(3, 255.0)])
    frame = np.tile(ground, (height, width, 1))
    top, left = (height - side) // 2, (width - side) // 2
    part = frame[top : top + side, left : left + side]
    part[:] = shares[..., :3] @ colours + (1 - shares[..., 3:]) * part
    return torch.from_numpy(frame.transpose(2, 0, 1) / 127.5 - 1).float()[None, None]


def _picture(frame: Tensor) -> np.ndarray:
    """Turn `(c, h, w)` in [-1, 1] into a picture; what is outside is clipped."""
    return to_uint8(frame[None].clamp(-1, 1))[0]


def _small(frame: np.ndarray) -> np.ndarray:
    """Keep every nth pixel of what is larger than a cell of the figure."""
    step = max(1, frame.shape[0] // 96)
    return frame[::step, ::step]


if __name__ == "__main__":
    main()
