"""Features and scores on disk, so that an evaluation that was stopped goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from imagen_video.cascade.weights_file import write_tensors
from imagen_video.media.atomic import replacing


def kept(path: Path, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Load named tensors, or make and keep them.

    Args:
        path: a safetensors file; a damaged one is made again.
        make: computes them.

    Raises:
        ResourceError: if the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError):
        pass
    tensors = {name: tensor.contiguous() for name, tensor in make().items()}
    with replacing(path) as temporary:
        write_tensors(tensors, temporary)
    return tensors
