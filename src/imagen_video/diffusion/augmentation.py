"""Noise-conditioning augmentation of a low-resolution input.

    c' = alpha(lambda') c + sigma(lambda') eps,    lambda' given to the network

In training lambda' is random, in sampling one fixed small level. The augmentation closes the gap
between real low-resolution videos and the previous stage's output.
Source: Imagen Video (2210.02303) section on noise conditioning augmentation; form from Imagen
(2205.11487).
"""

from __future__ import annotations

import torch

from imagen_video.diffusion.loss import stratified_times
from imagen_video.diffusion.parameterization import diffuse
from imagen_video.diffusion.schedule import logsnr_from_t
from imagen_video.tensor_types import LogSNR, PerExample, Video


def augment(low_res: Video, eps: Video, logsnr: LogSNR) -> Video:
    """Add noise to the (upsampled) low-resolution video.

    Args:
        low_res: conditioning video in [-1, 1].
        eps: standard normal noise of the same shape, independent of the main noise.
        logsnr: lambda' per example or frame, the same values that the network is told.

    Returns:
        alpha low_res + sigma eps.
    """
    return diffuse(low_res, eps, logsnr)


def sample_augmentation_logsnr(
    batch: int, generator: torch.Generator, low_t: float = 0.0, high_t: float = 1.0
) -> PerExample:
    """Draw augmentation levels for training.

    Args:
        batch: number of examples.
        generator: source of randomness. Draw from it after (or apart from) the main times; the
            order within the batch is random, so the two are independent.
        low_t: cleanest augmentation time.
        high_t: noisiest augmentation time.

    Returns:
        lambda' = lambda(t'), t' ~ U[low_t, high_t] stratified over the batch; float32, `(batch,)`.

    Raises:
        InputError: unless 0 <= low_t <= high_t <= 1.
    """
    # Assumption: uniform in time over [0, 1], independent of the main time and noise. The paper
    # gives no distribution; Imagen draws its augmentation level uniformly.
    return logsnr_from_t(stratified_times(batch, generator, low=low_t, high=high_t))
