"""A trained network gains an input: it goes on as it was, and learns to hear the new one."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from imagen_video.models.spec import UNetSpec
from imagen_video.models.unet import VideoUNet

GAINED = ("guidance_weight", "frame_position")
"""Inputs of `UNetSpec` that a network may gain: they begin silent."""


def can_grow(old: UNetSpec, new: UNetSpec) -> bool:
    """Whether `new` is `old`, or `old` with more of the inputs `GAINED`."""
    more = {name: True for name in GAINED if getattr(new, name)}
    return dataclasses.replace(old, **more) == new


def grown(network: nn.Module, spec: UNetSpec, seed: int) -> VideoUNet:
    """Build a network of `spec` with the weights of another.

    Args:
        network: of the same spec, or of one without some of the inputs `GAINED`.
        spec: of the new network.
        seed: of the first layers of new embeddings; their last ones are zero.

    Returns:
        A network on the CPU whose outputs are those of `network`, whatever the new inputs say.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        new = VideoUNet(spec)
    found = new.load_state_dict(network.state_dict(), strict=False)
    assert not found.unexpected_keys
    prefixes = (*(f"embedding.{name}." for name in GAINED), "guidance_output.")
    assert all(name.startswith(prefixes) for name in found.missing_keys)
    return new
