"""Gaussian noise that depends on who asks for it, never on how.

Every frame has its own random stream, a pure function of (seed, stage, purpose, step, frame index):

    key     = first 16 bytes of SHA-256 over the UTF-8 text
              "imagen-video noise 1|{seed}|{purpose}|{stage}", as two little-endian 64-bit words
    counter = four 64-bit words (0, 0, frame, step), least significant first
    stream  = NumPy `Philox` (4x64, 10 rounds) with that key and counter
    values  = `Generator.standard_normal(dtype=float32)`, filled in C order over (c, h, w)

The two low counter words count blocks within a frame: 2^128 of them, so streams never overlap.
Hence a sample has bit-equal noise alone, in a batch of 32, tiled, on any number of threads or
devices. Noise is drawn on the CPU and moved. A test pins the values; NumPy states that it may
change the float conversion between versions, and the test would say so.

Source: Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from jaxtyping import Float

from imagen_video.errors import InputError
from imagen_video.tensor_types import Video

Purpose: TypeAlias = Literal["initial", "step", "augmentation"]
"""initial: z at t = 1; step: added by a sampler; augmentation: on the low-resolution input."""

_PREFIX = "imagen-video noise 1"
# Starting threads costs about as much as drawing this many values.
_VALUES_WORTH_A_THREAD = 1 << 16


def frame_noise(
    seed: int, stage: str, purpose: Purpose, step: int, frame: int, shape: tuple[int, int, int]
) -> Float[np.ndarray, "c h w"]:
    """Standard normal noise of one frame.

    Args:
        seed: the sample's seed, any integer.
        stage: stage name, for example "ssr1".
        purpose: "initial", "step" or "augmentation".
        step: sampler step, from 0; 0 where the purpose has no steps.
        frame: index of the frame in the stage's whole output, from 0.
        shape: (c, h, w) of the whole frame; a tile is cut out of it afterwards.

    Returns:
        float32 array.

    Raises:
        InputError: for an unknown purpose or a negative step or frame.
    """
    out = np.empty(shape, dtype=np.float32)
    _fill(out, _key(seed, stage, purpose), step, frame)
    return out


def video_noise(
    seeds: Sequence[int],
    stage: str,
    purpose: Purpose,
    step: int,
    frames: range,
    shape: tuple[int, int, int],
) -> Video:
    """Standard normal noise of a batch, or of some frames of it.

    Args:
        seeds: one per example.
        stage: stage name.
        purpose: "initial", "step" or "augmentation".
        step: sampler step, from 0.
        frames: which frames of the stage's output; `range(8, 16)` gives what the full video has
            there.
        shape: (c, h, w) of a whole frame.

    Returns:
        float32 CPU tensor `(b, f, c, h, w)`. As many threads as torch uses share the frames.

    Raises:
        InputError: for an unknown purpose or a negative step or frame.
    """
    # said aloud: the default device may be another
    noise = torch.empty((len(seeds), len(frames), *shape), dtype=torch.float32, device="cpu")
    array = noise.numpy()
    jobs = [
        (array[i, j], key, step, frame)
        for i, key in enumerate([_key(seed, stage, purpose) for seed in seeds])
        for j, frame in enumerate(frames)
    ]
    threads = min(torch.get_num_threads(), len(jobs), 1 + noise.numel() // _VALUES_WORTH_A_THREAD)
    if threads <= 1:
        for job in jobs:
            _fill(*job)
        return noise
    with ThreadPoolExecutor(threads) as pool:
        # NumPy releases the GIL while it fills, and every frame has a stream of its own.
        list(pool.map(lambda job: _fill(*job), jobs))
    return noise


def _key(seed: int, stage: str, purpose: Purpose) -> np.ndarray:
    """Hash to two words for Philox. The free text comes last, so no two triples read the same."""
    if purpose not in get_args(Purpose):
        raise InputError("noise purpose", repr(purpose), f"one of {get_args(Purpose)}", "name one")
    text = f"{_PREFIX}|{operator.index(seed)}|{purpose}|{stage}"
    digest = hashlib.sha256(text.encode()).digest()
    return np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)


def _fill(out: np.ndarray, key: np.ndarray, step: int, frame: int) -> None:
    """Fill one frame in place."""
    if step < 0 or frame < 0:
        raise InputError("noise", f"step {step}, frame {frame}", "both at least 0", "count from 0")
    counter = np.array([0, 0, frame, step], dtype=np.uint64)
    stream = np.random.Generator(np.random.Philox(key=key, counter=counter))
    stream.standard_normal(dtype=np.float32, out=out)
