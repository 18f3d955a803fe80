"""The checks of `doctor` that make something: codecs, the encoder, the weights, a short video."""

from __future__ import annotations

import tempfile
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagen_video.cli.checks import Check

if TYPE_CHECKING:
    from imagen_video.cascade.spec import CascadeSpec

PROMPT = "a panda on a blue background"
LAST_STAGE = "ssr1"
MOST_STEPS = 8
CODEC_ERROR = 12.0
"""Most mean difference that H.264 may leave in a smooth test picture, of 255 levels."""


def codecs() -> Check:
    """Write a few frames as the videos are written, and read them back."""
    import numpy as np

    from imagen_video.media.video_io import probe_video, read_video
    from imagen_video.media.video_writer import write_video

    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    frames = np.stack([np.tile(np.roll(ramp, 4 * index), (48, 1)) for index in range(4)])
    frames = np.repeat(frames[..., None], 3, axis=3)
    with tempfile.TemporaryDirectory(prefix="imagen-video-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the missing codec: the check says it itself
        path = Path(folder) / "codec.mp4"
        write_video(path, frames, 24)
        codec = probe_video(path).codec
        back, _ = read_video(path)
    apart = float(np.abs(back.astype(int) - frames.astype(int)).mean())
    found = f"{codec} written and read with av {metadata.version('av')}"
    if back.shape != frames.shape or apart > CODEC_ERROR:
        return Check(
            name="codecs",
            status="failed",
            found=f"{found}: frames came back as {back.shape}, {apart:.1f} levels off",
            fix="pip install --force-reinstall av",
        )
    if codec != "h264":
        return Check(
            name="codecs",
            status="failed",
            found=f"{found}: this build of av has no H.264 encoder; browsers will not play it",
            fix="pip install --force-reinstall --only-binary av av",
        )
    return Check(name="codecs", status="ok", found=found)


def text_encoder(spec: CascadeSpec) -> Check:
    """Load the bundle's text encoder, which compares its files with their SHA-256."""
    identity = spec.text_encoder
    if identity is None:
        return Check(name="text encoder", status="ok", found="none: this cascade hears no text")
    if identity.get("encoder") == "t5":
        found = f"T5 from {identity.get('source')}, loaded at the first prompt; not tried here"
        return Check(name="text encoder", status="note", found=found)
    from imagen_video.text.registry import build_text_encoder

    encoder = build_text_encoder(dict(identity))
    encoder.encode([PROMPT])
    digest = str(identity.get("weights_sha256", ""))[:12]
    found = f"{identity['encoder']}, SHA-256 {digest}..., {encoder.width} wide"
    return Check(name="text encoder", status="ok", found=found)


def weights(name: str) -> Check:
    """Compare every stage's file with its spec and its recorded SHA-256."""
    from imagen_video.cascade.bundle import Bundle
    from imagen_video.cascade.resolve_bundle import find_bundle

    bundle = Bundle.open(find_bundle(name))
    stages = [stage.name for stage in bundle.spec.stages]
    there = [stage for stage in stages if bundle.has_weights(stage)]
    for stage in there:
        bundle.check_weights(stage)
    found = f"{bundle.spec.name}, digest {bundle.digest[:12]}..., {', '.join(there) or 'no stage'}"
    if there != stages:
        missing = ", ".join(stage for stage in stages if stage not in there)
        return Check(
            name="weights",
            status="note" if there else "failed",
            found=f"{found}; no weights for {missing}",
            fix="fetch or export the bundle again if they should be there",
        )
    return Check(name="weights", status="ok", found=found)


def generation(name: str) -> Check:
    """Make a short video with the first stages, on the device that `generate` would take."""
    import torch

    from imagen_video.cascade.pipeline import ImagenVideoPipeline
    from imagen_video.cli.generation import choose_device, choose_precision

    started = time.monotonic()
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    pipe = ImagenVideoPipeline.from_pretrained(name)
    pipe.to(device, torch.bfloat16 if precision == "bf16" else torch.float32)
    made: Any = pipe(**_short_run(pipe.spec), seed=1, output_type="pt")
    video = torch.as_tensor(made.frames).float().cpu()
    finite = bool(video.isfinite().all())
    spread = float(video.std()) if finite else 0.0
    size = "x".join(map(str, (video.shape[1], *video.shape[-2:])))
    last = made.reports[-1].name
    found = f"{size} through {last} in {time.monotonic() - started:.1f} s on {device}, {precision}"
    if not finite or spread < 0.01:
        fault = f"a spread of {spread:.4f}" if finite else "values that are not finite"
        return Check(
            name="generation",
            status="failed",
            found=f"{found}: {fault}",
            fix="try generate --device cpu --precision fp32, and report it with these lines",
        )
    return Check(name="generation", status="ok", found=f"{found}, spread {spread:.2f}")


def _short_run(spec: CascadeSpec) -> dict[str, Any]:
    """Return the arguments of a run of seconds: an eighth of the frames, few steps."""
    from imagen_video.cascade.options import StageOptions

    names = [stage.name for stage in spec.stages]
    until = LAST_STAGE if LAST_STAGE in names else names[min(2, len(names) - 1)]
    stages = spec.stages[: names.index(until) + 1]
    base = stages[0].output.frames
    growth = stages[-1].output.frames // base
    return {
        "prompt": PROMPT if any(stage.unet.text_width for stage in spec.stages) else None,
        "until": until,
        "num_frames": max(1, base // 8) * growth,
        "stages": {  # a distilled stage is made for its own number
            stage.name: StageOptions(steps=min(MOST_STEPS, stage.sampling.steps))
            for stage in stages
            if stage.distilled is None
        },
    }
