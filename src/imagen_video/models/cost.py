"""What a network costs, found on the meta device without weights: parameters, FLOPs, memory.

FLOPs are torch's own count (2 per multiply-add of convolutions, matrix products and attention).
Memory is the largest sum of live tensors while the forward pass runs, seen by following every
allocation.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from imagen_video.models.conditions import Conditions
from imagen_video.models.spec import UNetSpec
from imagen_video.models.unet import VideoUNet

WORKSPACE = 1.7
"""Measured memory over counted live tensors: reordered convolution inputs, and holes between them
where freed memory is kept (`cascade.memory.keep_freed`)."""
TEXT_TOKENS = 16
"""Prompt length assumed for costs."""


@functools.lru_cache(maxsize=256)
def num_parameters(spec: UNetSpec) -> int:
    """Count the parameters of a network."""
    return sum(parameter.numel() for parameter in _on_meta(spec).parameters())


@functools.lru_cache(maxsize=256)
def flops(spec: UNetSpec, batch: int, frames: int, height: int, width: int) -> int:
    """Count the floating-point operations of one forward pass."""
    counter = FlopCounterMode(display=False)
    with counter:
        _forward(spec, batch, frames, height, width)
    return counter.get_total_flops()


@functools.lru_cache(maxsize=1024)
def inference_bytes(spec: UNetSpec, batch: int, frames: int, height: int, width: int) -> int:
    """Predict the peak memory of an fp32 forward pass without gradients: inputs, no weights."""
    follower = LiveBytes()
    with follower, _FusedAttention():
        _forward(spec, batch, frames, height, width)
    return int(follower.peak * WORKSPACE)


class _FusedAttention(TorchFunctionMode):
    """Makes attention cost its result only, as fused kernels do.

    The meta device would take the unfused path, whose matrix of all pairs of positions is many
    times larger than everything else.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


class LiveBytes(TorchDispatchMode):
    """Follows the sizes of all storages that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._follow(leaf.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata  # the identity of the storage behind Python's wrappers
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


@functools.lru_cache(maxsize=8)
def _on_meta(spec: UNetSpec) -> VideoUNet:
    with torch.device("meta"):
        return VideoUNet(spec).eval()


def _forward(spec: UNetSpec, batch: int, frames: int, height: int, width: int) -> None:
    """Run the network once on the meta device, with the conditions that cost something."""
    network, shape = _on_meta(spec), (batch, frames, spec.channels, height, width)
    with torch.no_grad(), torch.device("meta"):
        conditions = Conditions()
        if spec.text_width is not None:
            conditions = conditions.replace(
                text_states=torch.empty(batch, TEXT_TOKENS, spec.text_width),
                text_mask=torch.empty(batch, TEXT_TOKENS, dtype=torch.bool),
            )
        if spec.low_res:
            conditions = conditions.replace(
                low_res=torch.empty(shape), low_res_logsnr=torch.empty(batch)
            )
        if spec.guidance_weight:
            conditions = conditions.replace(guidance_weight=torch.empty(batch))
        network(torch.empty(shape), torch.empty(batch), conditions)
