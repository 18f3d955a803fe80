"""Safetensors files, written one tensor at a time and read in parts.

    8 bytes     length of the header, little-endian
    header      JSON: name -> dtype, shape, begin and end of its bytes
    bytes       of every tensor, one after the other

safetensors' own writer wants all tensors in memory at once; here the largest is enough. A part of a
tensor is read without the rest, so a process of a split network reads its share only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from imagen_video.errors import DataError
from imagen_video.training.sharding import held, local

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class TensorWriter:
    """Writes a file whose tensors are known by shape and come one after the other.

    An error is kept until `digest`: while one process writes, all of them gather the tensors, and
    none may stop in between.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        """Write the header.

        Args:
            path: a new file.
            tensors: what will be added, in this order; only names, dtypes and shapes are read.
        """
        self._path = path
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._problem: OSError | None = None
        header, end = {}, 0
        for name, tensor in tensors.items():
            begin, end = end, end + tensor.numel() * tensor.element_size()
            header[name] = {
                "dtype": DTYPES[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [begin, end],
            }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._write(len(text).to_bytes(8, "little") + text)

    def add(self, tensor: Tensor) -> None:
        """Write the next tensor."""
        data = tensor.detach().contiguous().cpu().reshape(-1)
        self._write(data.view(torch.uint8).numpy().data)

    def close(self) -> None:
        """Finish the file, and let it reach the disk."""
        if self._file is None:
            return
        try:
            with self._file:
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as error:
            self._problem = self._problem or error

    def digest(self) -> str:
        """Return the SHA-256 of the finished file.

        Raises:
            OSError: what went wrong since the start, say a full disk.
        """
        if self._problem is not None:
            raise self._problem
        return self._digest.hexdigest()

    def _write(self, data: bytes | memoryview) -> None:
        if self._problem is not None:
            return
        try:
            if self._file is None:
                self._file = self._path.open("wb")
            self._file.write(data)
            self._digest.update(data)
        except OSError as error:
            self._problem = error


def stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the tensors of a file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def fill_tensors(path: Path, tensors: Mapping[str, Tensor], *, others_too: bool = False) -> None:
    """Read a file into tensors that are there, each process its own part.

    Args:
        path: the file.
        tensors: what to fill; the names and shapes must be exactly those of the file.
        others_too: the file may hold further tensors, which are left alone.

    Raises:
        DataError: naming what is missing, too many or of another shape. Nothing is changed then.
        OSError: if the file cannot be read.
    """
    from safetensors import safe_open

    stored = stored_shapes(path)
    problems = [f"{name} is missing" for name in sorted(set(tensors) - set(stored))]
    if not others_too:
        problems += [f"{name} is unknown" for name in sorted(set(stored) - set(tensors))]
    problems += [
        f"{name} has shape {stored[name]}, not {tuple(tensor.shape)}"
        for name, tensor in tensors.items()
        if name in stored and stored[name] != tuple(tensor.shape)
    ]
    if problems:
        raise DataError(
            str(path),
            "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" * (len(problems) > 5)),
            "exactly the tensors of this network and optimiser",
            "resume with the spec of the run, or use another run folder",
        )
    with torch.no_grad(), safe_open(path, framework="pt") as file:
        for name, tensor in tensors.items():
            ours = local(tensor)
            if not tensor.ndim:
                ours.copy_(file.get_tensor(name))
            elif ours.numel():  # a tensor of few rows leaves some processes without any
                ours.copy_(file.get_slice(name)[held(tensor)])
